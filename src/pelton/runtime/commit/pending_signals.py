"""Durable signals under way: rows of the store, from the commit that wrote them to the commit that holds their effect.

Invariants: a row is in progress at most once; it leaves the store together with its effect, or stays there parked with the
reason; temporary trouble is no reason to park it. A row that is a job goes to the service of durable jobs.

Cost: one number per signal in progress; at most a page of rows is read at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

import structlog

from pelton.errors import PeltonError
from pelton.runtime.commit.agent import Agent
from pelton.runtime.commit.durable import Durable, decode_signal
from pelton.runtime.commit.requests import SignalRequest
from pelton.runtime.commit.workspace import Workspace
from pelton.runtime.supervision import insist
from pelton.store.group import Group
from pelton.store.rows import PendingSignalRow, ResultRow, TallyRow

log = structlog.get_logger("pelton.runtime")

PAGE = 10_000
AGAIN = 1.0  # seconds after which a durable signal that could not be applied is tried again


class JobHooks(Protocol):
    """Who carries out durable jobs (rows of the store that are not signals)."""

    def added(self, row: PendingSignalRow) -> None:
        """Called after the commit that holds the row, or when a starting server finds it."""
        ...


class PendingSignals:
    def __init__(self, workspace: Workspace, agent: Agent) -> None:
        self.jobs: JobHooks | None = None
        self._workspace = workspace
        self._agent = agent
        self._underway: set[int] = set()
        self._full = False  # there are more in the store
        self.mine: Callable[[int], bool] | None = None  # where others write too: whether a row is this server's to take up

    def __len__(self) -> int:
        """Number of durable signals in progress."""
        return len(self._underway)

    def take_up(self, row: PendingSignalRow) -> None:
        """Applies a durable signal in the next batch, or when it is due."""
        if row.parked or row.id in self._underway:
            return
        if row.job:
            if self.jobs is not None:
                self.jobs.added(row)
            return
        self._underway.add(row.id)
        delay = row.due - self._workspace.store.now()
        if delay > 0:
            asyncio.get_running_loop().call_later(delay / 1000, self._begin, row)
        else:
            self._begin(row)

    def _begin(self, row: PendingSignalRow) -> None:
        try:
            body = decode_signal(row.signal)
            kept = body if type(body) is Durable else Durable(body)
        except Exception as error:  # written by another version, or damaged
            parked = PendingSignalRow(
                self._workspace.keys(), row.run, row.signal, row.due, row.tries, row.job, f"unreadable: {error}"[:1000]
            )
            log.error("a durable signal is unreadable and was set aside", run=row.run, exc_info=error)
            self._replace(row.id, parked)
            return
        self._agent.enqueue(SignalRequest(row.run, kept.signal, self._done, kept.ns, row.id, kept.hops, kept.many, kept.ancestor))

    def _done(self, request: SignalRequest) -> None:
        if request.error is None or request.committed is not None:
            self._underway.discard(request.pending)
            if request.error is not None:
                log.info(
                    "a durable signal changed nothing", run=request.run, code=request.error.code, detail=request.error.message
                )
            if self._full and not self._underway:
                self._agent.spawn(insist("durable signals", self.recover))

    def crossed(self, rows: Sequence[TallyRow], ids: Sequence[int] | None) -> None:
        """Takes up what the store has written since marks were crossed; None: it is not known, so that it is looked for."""
        if ids is None:
            self._agent.spawn(insist("durable signals", self.recover))
            return
        for row in rows if ids else ():
            for then in (row.reached, row.fallen):
                if then is not None and then.id in ids:
                    self.take_up(then)

    async def recover(self) -> None:
        """Takes up the durable signals that an earlier server left behind, or one that is gone. Further pages follow when these
        are done."""
        rows = await self._workspace.store.pending_signals(PAGE)
        self._full = len(rows) >= PAGE
        for row in rows:
            if self.mine is None or self.mine(row.id):
                self.take_up(row)

    def given_up(self, request: SignalRequest, error: PeltonError) -> None:
        """The signal stays in the store: it is retried later if the trouble may be temporary, otherwise it is parked."""
        workspace, agent = self._workspace, self._agent
        if error.retryable:
            if not agent.stopping:
                again = SignalRequest(
                    request.run,
                    request.signal,
                    self._done,
                    request.ns,
                    request.pending,
                    request.hops,
                    request.many,
                    request.ancestor,
                )
                agent.wait(again, AGAIN)
            return
        pending, row = request.pending, request.parked(workspace.keys(), workspace.store.now(), f"{error.code}: {error.message}")
        log.error("a durable signal was parked", run=request.run, reason=row.parked)
        self._replace(pending, row, request.result(row.due, False) if request.many else None)

    def _replace(self, pending: int, row: PendingSignalRow, result: ResultRow | None = None) -> None:
        def fill(group: Group) -> None:
            group.pending_done.append(pending)
            group.pending_signals.append(row)
            if result is not None:
                group.results.append(result)

        self._agent.write(fill).add_done_callback(lambda done: done.cancelled() or done.exception())
        self._underway.discard(pending)
