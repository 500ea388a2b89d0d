"""Looks for a run by its name, for the run that is being advanced.

That a run has the name rests on the revision of that run, which loses it by ending only. That none has it is a condition of the
group (`Group.unnamed`). Runs that are given the name in the batch being gathered are seen, though no store has them yet; what
is still on its way to the store makes the group lost. A look waits for no commit: it may be made by someone who holds locks that
the commit needs.

What was decided on for another run, and is refused by it, becomes an answer of the request, which is then performed once more. An
answer holds for the revision of the run that gave it. Each refusal is met once, so a request is performed again at most as often
as it reaches runs by name.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any, Protocol

from pelton.kernel.model.process import Process
from pelton.kernel.model.reads import Missing, NamedKey, NamedRun, RecordKey, RefusalKey, VarsKey
from pelton.kernel.model.signals import Count
from pelton.kernel.model.state import Run, RunStatus
from pelton.kernel.model.transition import Refused, SignalRun, StartRun, Transition
from pelton.runtime.cache.reads import Answers, CachedReads
from pelton.runtime.cache.runs import RunEntry
from pelton.runtime.commit.group_builder import has_freed
from pelton.runtime.commit.rests import Rests
from pelton.runtime.commit.suspend import Suspend
from pelton.runtime.commit.workspace import Workspace
from pelton.runtime.names import KEY_KIND
from pelton.store.rows import RunKeyRow

Name = tuple[str, str, str, str]  # namespace, kind, process, text


class ChangedRun(Protocol):
    @property
    def entry(self) -> RunEntry: ...
    @property
    def transition(self) -> Transition: ...


class Naming(Protocol):
    """A unit of work, as a look needs it."""

    reader: CachedReads
    answers: Answers
    workspace: Workspace
    rests: Rests
    named: list[RunKeyRow]
    made: dict[int, RunEntry]
    asked: deque[tuple[Run, StartRun | SignalRun]]

    @property
    def changes(self) -> Sequence[ChangedRun]: ...
    @property
    def namespace(self) -> str: ...
    def entry(self, key: int) -> RunEntry | None: ...
    def process_of(self, entry: RunEntry) -> Process: ...


def is_decided(effect: object) -> bool:
    """Whether it is what its sender has decided on: it comes first, and in the same commit."""
    return effect.together if type(effect) is SignalRun else type(effect) is StartRun and bool(effect.name)


def answer(unit: Naming, key: NamedKey | RefusalKey) -> Any:
    if isinstance(key, RefusalKey):
        known = unit.answers.named
        return known.get(_place(unit, unit.reader.entry.key, key.n, key.run)) if known is not None else None
    name = (unit.namespace, KEY_KIND, key.process, key.text)
    if any(isinstance(effect, StartRun) and effect.name == key.text for _, effect in unit.asked):
        return NamedRun(0, RunStatus.EXPECTED, busy=True)
    run = _here(unit, name) or _found(unit, name)
    entry = _entry(unit, run) if run else None
    if run and entry is unit.reader.entry and entry.head is None:
        return NamedRun(run, RunStatus.RUNNING)  # it has the name from its first transition on, which is this
    if run and (entry is None or entry.head is None):
        raise _read(unit, name)
    if entry is None or entry.head is None:
        unit.rests.names.add(name)
        return None
    if has_freed(entry.head):
        if all(change.entry is not entry for change in unit.changes) and entry is not unit.reader.entry:
            raise Suspend(wait=entry) if entry.pins else _read(unit, name)
        unit.reader.reads[run] = entry.head.rev  # it has ended in this very unit: the name is free in the same commit
        return None
    unit.reader.reads[run] = entry.head.rev
    busy = any(effect.key == run for _, effect in unit.asked)
    variables, record = _data(unit, entry) if key.data else (None, None)
    return NamedRun(run, RunStatus(entry.head.status), busy, variables, record)


def refused(unit: Naming, sender: Run, n: int, run: int, answer: Refused) -> None:
    """Takes the unit back, and lets the request be performed again with the refusal."""
    place = _place(unit, sender.key, n, run)
    known = _known(unit)
    if place in known:
        return
    known[place] = str(answer.code), answer.detail
    raise Suspend(fetch=_nothing)


def _place(unit: Naming, sender: int, n: int, run: int) -> tuple[int, int, int, int]:
    entry = unit.made.get(run) or unit.workspace.cache.peek(run)
    return sender, n, run, entry.head.rev if entry is not None and entry.head is not None else -1


def _known(unit: Naming) -> dict[Any, Any]:
    if unit.answers.named is None:
        unit.answers.named = {}
    return unit.answers.named


def _here(unit: Naming, name: Name) -> int:
    """The run that is given the name in this unit or batch; 0 = none."""
    mine = next((row.run for row in unit.named if (row.ns, row.kind, row.process, row.text) == name), 0)
    return mine or unit.workspace.open_batch.run_named(name)


def _found(unit: Naming, name: Name) -> int:
    run: int | None = _known(unit).get(name)
    if run is None:
        raise _read(unit, name)
    return run


def _read(unit: Naming, name: Name) -> Suspend:
    known, workspace = _known(unit), unit.workspace

    async def read() -> None:
        runs = await workspace.store.run_keys(*name, True)
        known[name] = runs[0] if runs else 0

    return Suspend(fetch=read)


async def _nothing() -> None:
    return None


def _entry(unit: Naming, run: int) -> RunEntry | None:
    return unit.reader.entry if run == unit.reader.entry.key else unit.entry(run)


def _data(unit: Naming, entry: RunEntry) -> tuple[dict[str, Any] | None, Any]:
    if entry is unit.reader.entry:
        return None, None
    process = unit.process_of(entry)
    workspace = unit.workspace
    reads = CachedReads.of_one(workspace.codec, workspace.keys).of(entry, unit.answers)
    try:
        record = reads.answer(RecordKey()) if process.records is not None else None
        return dict(reads.answer(VarsKey(0))), record.body if record is not None else None
    except Missing as missing:
        raise Suspend(entry, missing.keys) from None


def is_one_with(effect: StartRun | SignalRun) -> bool:
    """Whether a start or a signal may not come in a later commit than what sent it."""
    return is_decided(effect) or (type(effect) is SignalRun and type(effect.signal) is Count)
