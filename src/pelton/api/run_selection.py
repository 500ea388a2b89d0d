"""Which runs a list shows, or a job is for: one meaning of the filters for both."""

from __future__ import annotations

from collections.abc import Collection

from msgspec import json

from pelton.api.ids import run_key
from pelton.api.problems import bad
from pelton.kernel.model.state import Run, RunStatus
from pelton.models import RunFilterIn
from pelton.runtime.api import Engine
from pelton.runtime.caller import Caller
from pelton.runtime.names import KEY_KIND

CORRELATION = "correlation"  # kind of the run keys that correlation ids are
PAGE = 1_000
MOST_LOOKED_AT = 20_000  # runs that one answer goes through
MOST_SEARCHED = 1_000  # whose data is read for a text
_encoder = json.Encoder(enc_hook=str)


def status_number(text: str) -> int:
    """-1 for "". Raises PeltonError for a status that no run has."""
    if not text:
        return -1
    listed = [status.name for status in RunStatus if status is not RunStatus.EXPECTED]
    if text.upper() not in listed:
        raise bad("status", "no run has this status", f"use one of {', '.join(listed)}", text)
    return int(RunStatus[text.upper()])


class RunSelection:
    """`statuses`: only runs in one of these, whatever the filter says; empty = any."""

    def __init__(self, engine: Engine, caller: Caller, wanted: RunFilterIn, statuses: Collection[int] = ()) -> None:
        """Raises PeltonError for a filter that means nothing."""
        if wanted.since and wanted.until and wanted.since >= wanted.until:
            raise bad("until", "is not after `since`, so there are no such runs", "exchange them", wanted.until)
        self._engine = engine
        self._caller = caller
        self._wanted = wanted
        self._status = status_number(wanted.status)
        self._statuses = statuses
        self._text = wanted.text.lower()
        self._before = run_key(engine, wanted.before) if wanted.before else 0

    async def take(self, limit: int, newest: int = 0) -> tuple[list[Run], int]:
        """At most `limit` runs, newest first, none newer than `newest`; and the key below which there may be more, 0 = that was
        all. Raises PeltonError."""
        below = self._before
        if newest and not 0 < below <= newest:
            below = newest + 1
        if self._wanted.key:
            return await self._by_key(limit, below)
        found: list[Run] = []
        looked_at = searched = 0
        exact = not self._text and not self._statuses
        while len(found) < limit:
            wanted = min(PAGE, limit - len(found)) if exact else PAGE
            page = await self._page(below, wanted)
            for run in page:
                below = run.key
                if self._statuses and run.status not in self._statuses:
                    continue
                searched += 1
                if await self._has_text(run):
                    found.append(run)
                if len(found) == limit or (self._text and searched == MOST_SEARCHED):
                    return found, below
            looked_at += len(page)
            if len(page) < wanted:
                return found, 0
            if looked_at >= MOST_LOOKED_AT:
                break
        return found, below

    async def _page(self, before: int, limit: int) -> list[Run]:
        wanted = self._wanted
        return await self._engine.runs(
            self._caller,
            process=wanted.process,
            live=wanted.live,
            before=before,
            since=wanted.since,
            until=wanted.until,
            limit=limit,
            status=self._status,
            variables=list(wanted.variables.items()),
        )

    async def _by_key(self, limit: int, below: int) -> tuple[list[Run], int]:
        engine, caller, wanted = self._engine, self._caller, self._wanted
        keys: set[int] = set()
        for kind in (KEY_KIND, CORRELATION):
            keys.update(await engine.runs_named(caller, kind, wanted.process, wanted.key))
        found: list[Run] = []
        for key in sorted(keys, reverse=True):
            if below and key >= below:
                continue
            if len(found) == limit:
                return found, found[-1].key
            run = await engine.head(caller, key)
            if run is not None and self._admits(run) and await self._has_text(run):
                found.append(run)
        return found, 0

    def _admits(self, run: Run) -> bool:
        wanted, status = self._wanted, RunStatus(run.status)
        return (
            status is not RunStatus.EXPECTED
            and (wanted.live is None or wanted.live != status.ended)
            and self._status in {-1, run.status}
            and (not self._statuses or run.status in self._statuses)
            and run.created >= wanted.since
            and (not wanted.until or run.created < wanted.until)
        )

    async def _has_text(self, run: Run) -> bool:
        if not self._text:
            return True
        view = await self._engine.view(self._caller, run.key)
        if view is None:
            return False
        end = view.end
        data = [view.start.output, view.variables, end.output if end else None, end.reason if end else ""]
        return self._text in _encoder.encode(data).decode().lower()
