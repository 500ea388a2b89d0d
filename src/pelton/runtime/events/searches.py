"""The searches of one event: what its handlers' commands for all matching runs are for.

The store is read ahead, while events that came before are still to act. When the event's turn has come, the records that have
changed since are looked at in memory (`runtime.cache.record_log`), so what an earlier event did is seen without a commit in
between. Where other servers write too, the store is read when the turn has come and everything before is committed, and the
commit checks what was found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from msgspec import to_builtins

from pelton.errors import PeltonError
from pelton.kernel.expressions.base import JSON
from pelton.kernel.model.state import Record
from pelton.runtime.api import EventEffect, MatchCommand
from pelton.runtime.cache.lookups import SearchResult
from pelton.runtime.cache.runs import RunEntry
from pelton.runtime.commit.suspend import Suspend
from pelton.runtime.commit.unit_of_work import UnitOfWork
from pelton.store.group import Lookup

DIRECT = 32  # commands of one event that are carried out in its own group
SEARCHES = 3  # how often a search is made again whose runs have changed since, where other servers write too
WATCHED = 8  # attributes of a search that are watched for changes
LOOKED = 32  # open runs that are looked at for the reason why none matches
NEAREST = 3
TRACED = 20  # parts of a test

CommandPlace = tuple[str, int, int]  # handler, number of its action, number of the action's command


class StoreSearch(NamedTuple):
    """What the store had at some time after the mark."""

    mark: int
    records: Sequence[Record]
    more: bool


class Near(NamedTuple):
    """Some open runs of the process, where none was found; `more`: there are others."""

    records: Sequence[Record]
    more: bool


class EventSearches:
    __slots__ = ("_marks", "_ns", "_outside", "_rests", "_unit", "_workspace", "found")

    def __init__(self, unit: UnitOfWork, ns: str, marks: list[int]) -> None:
        """`marks`: of the event's searches under way, over all attempts."""
        self._unit = unit
        self._workspace = unit.workspace
        self._outside = unit.answers.outside
        self._ns = ns
        self._marks = marks
        self._rests: dict[int, RunEntry] = {}  # runs that do not match because of a change that may be lost
        self.found: dict[CommandPlace, SearchResult] = {}

    def is_read(self, place: CommandPlace) -> bool:
        return ("open", *place) in self._outside

    def ahead(self, place: CommandPlace) -> list[int]:
        """Runs that will probably be signalled."""
        found = self._outside["open", *place]
        return [] if isinstance(found, PeltonError) else [record.run for record in found.records[:DIRECT]]

    async def read(self, place: CommandPlace, command: MatchCommand) -> None:
        workspace, ns, outside = self._workspace, self._ns, self._outside
        if workspace.shared:
            await self._read_settled(place, command)
        else:
            mark = workspace.record_log.begin()
            self._marks.append(mark)
            records, more = await workspace.finder.read(ns, command.process, command.where, command.conjuncts)
            outside["open", *place] = StoreSearch(mark, records, more)
        found = outside["open", *place]
        if not isinstance(found, PeltonError) and not found.records:
            outside["near", *place] = Near(*await workspace.finder.some(ns, command.process, LOOKED))

    async def _read_settled(self, place: CommandPlace, command: MatchCommand) -> None:
        workspace, ns = self._workspace, self._ns
        moves, revisions = await workspace.begin_lookups(watched(ns, command))
        try:
            records, more = await workspace.finder.open(ns, command.process, command.where, command.conjuncts)
            self._outside["open", *place] = SearchResult(records, moves, revisions, more)
        except PeltonError as error:
            self._outside["open", *place] = error

    # ---- when the event's turn has come

    def settle(self, matches: Iterable[tuple[CommandPlace, MatchCommand]]) -> None:
        """Decides for which runs the commands are: as all events before this one have left them. Raises Suspend."""
        for place, command in matches:
            found = self._outside["open", *place]
            if isinstance(found, StoreSearch):
                self._look(place, command, found)
            elif isinstance(found, SearchResult):
                self._check(place, command, found)
        runs = [record.run for result in self.found.values() for record in result.records[:DIRECT]]
        loads = self._unit.missing(runs[:DIRECT])
        if loads:
            raise Suspend(loads=loads)

    def _look(self, place: CommandPlace, command: MatchCommand, found: StoreSearch) -> None:
        log = self._workspace.record_log
        if not log.holds(found.mark):
            self._again(place, command)
        passes = self._workspace.finder.passes
        records = {record.run: record for record in found.records}
        try:
            for changed in log.find(self._ns, command.process, command.conjuncts, list(records)):
                if changed.entry.stale:
                    raise Suspend(wait=changed.entry)
                records.pop(changed.entry.key, None)
                current = changed.current
                if current is not None and current.live and passes(command.where, current):
                    records[current.run] = current
                elif any(record.live and quietly(command.where, record) for record in changed.older):
                    self._rests[changed.entry.key] = changed.entry
            for record in found.records:
                if records.get(record.run) is record:
                    passes(command.where, record)  # it may be one that only was not to be decided ahead
        except PeltonError as error:
            self._outside["failed", *place] = error
            return
        self._outside.pop(("failed", *place), None)
        self.found[place] = SearchResult([records[run] for run in sorted(records)], {}, {}, found.more)

    def _again(self, place: CommandPlace, command: MatchCommand) -> None:
        del self._outside["open", *place]
        raise Suspend(fetch=lambda: self.read(place, command))

    def _check(self, place: CommandPlace, command: MatchCommand, found: SearchResult) -> None:
        """Has the search made again, a few times, if what it found has changed since."""
        self.found[place] = found
        again = self._outside.get(("again", *place), 0)
        if again >= SEARCHES:
            return
        near = SearchResult(found.records[:DIRECT], found.moves, found.revisions)
        if self._unit.still_found(near) is None:
            self._outside["again", *place] = again + 1
            self._again(place, command)

    def result(self, place: CommandPlace) -> SearchResult:
        """Raises PeltonError if the search has failed."""
        for name in ("failed", "open"):
            error = self._outside.get((name, *place))
            if isinstance(error, PeltonError):
                raise error
        return self.found[place]

    def finish(self) -> None:
        """Has the event lost together with whatever it rests on. Raises Suspend or NextBatch."""
        for entry in self._rests.values():
            self._unit.rest_on_change(entry)

    # ---- why nothing was found

    def explain(self, place: CommandPlace, command: MatchCommand, effect: EventEffect) -> None:
        near: Near = self._outside.get(("near", *place), Near((), False))
        found = self._outside["open", *place]
        log = self._workspace.record_log
        records = {record.run: record for record in (*near.records, *found.records[:LOOKED])}
        records |= {record.run: record for record in log.some(self._ns, command.process, LOOKED)}
        for run in list(records):
            known = log.known(run)
            current = known.current if known is not None else records[run]
            if current is None or not current.live:
                del records[run]
            else:
                records[run] = current
        what = f": {command.condition}" if command.condition else ""
        count = len(records)
        counted = "there is none" if not count else f"looked at {count}{' of them' if near.more else ''}"
        effect.outcome = "unmatched"
        effect.detail = f"no open run of {command.process!r} matches{what}; {counted}"
        output: dict[str, JSON] = {"condition": command.condition, "looked": count, "more": near.more}
        nearest = self._nearest(command, records.values())
        if nearest:
            output["nearest"] = nearest
            first: Any = nearest[0]
            decided = [f"{text[:150]} is false" for text, _, result, *_ in first["trace"] if not result][:1]
            effect.detail += f"; nearest is {first['run']}" + (f", where {decided[0]}" if decided else "")
        effect.detail = effect.detail[:2000]
        effect.output = output

    def _nearest(self, command: MatchCommand, records: Iterable[Record]) -> list[JSON]:
        if command.trace is None:
            return []
        traced: list[tuple[float, int, Any]] = []
        for record in records:
            with suppress(Exception):  # a test that fails here has its own error where it counts
                trace = list(command.trace(record))[:TRACED]
                passed = sum(each.result for each in trace)
                traced.append((-passed / max(len(trace), 1), record.run, to_builtins(trace)))
        traced.sort(key=lambda each: each[:2])
        return [{"run": self._workspace.codec.run_id(run), "trace": trace} for _, run, trace in traced[:NEAREST]]


def quietly(where: Callable[[Record], bool], record: Record) -> bool:
    try:
        return where(record)
    except Exception:
        return True  # it would have been found as a failure


def watched(ns: str, command: MatchCommand) -> list[Lookup]:
    """Attributes one of which a run must come to have before it can match; none if no few of them will do."""
    for conjunct in command.conjuncts:
        if 0 < len(conjunct) <= WATCHED and not any(prefix for _, _, prefix in conjunct):
            return [Lookup(ns, name, text) for name, text, _ in conjunct]
    return []
