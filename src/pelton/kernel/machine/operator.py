"""What an operator may do to a run: terminate it, skip a step, set variables, upgrade it to another version.

Each function applies one signal to a draft, and raises Refusal when it cannot be applied. Pauses are in `pauses.py`, rewinds in
`rewind.py`.
"""

from __future__ import annotations

from pelton.errors import Code
from pelton.kernel.machine.draft import SKIPPED, SKIPS, Draft, Refusal
from pelton.kernel.machine.pauses import check_thread
from pelton.kernel.machine.records import change_record, delete_record, moment_of, record_rules
from pelton.kernel.machine.tokens.lifecycle import end_run
from pelton.kernel.model.process import Fork
from pelton.kernel.model.reads import ProcessKey
from pelton.kernel.model.signals import (
    BY_PARENT,
    Amend,
    Retire,
    RunNow,
    SetVars,
    Skip,
    Terminate,
    Upgrade,
)
from pelton.kernel.model.state import Bit, Failure, RunStatus, State


def terminate(draft: Draft, signal: Terminate) -> None:
    name = BY_PARENT if signal.by_parent else "terminated"
    failure = Failure(name, "cancelled", signal.reason, None, False)
    end_run(draft, RunStatus.TERMINATED, signal.reason, failure, follow_up=signal.follow_up)


def skip(draft: Draft, signal: Skip) -> None:
    if signal.slot not in draft.process.nodes:
        raise Refusal(Code.NO_STEP, f"process {draft.process.name!r} has no step {signal.slot!r}")
    node = draft.process.nodes[signal.slot]
    if isinstance(node, Fork):
        raise Refusal(Code.INVALID, f"step {signal.slot!r} starts branches that are waited for; skip the steps in them instead")
    if not node.skippable:
        raise Refusal(Code.INVALID, f"step {signal.slot!r} cannot be skipped")
    if draft.newest(signal.slot) is not None:
        raise Refusal(Code.STEP_ENDED, f"step {signal.slot!r} has already started; only a step that has not can be skipped")
    draft.head.flags |= SKIPS
    draft.variables[0, SKIPPED + signal.slot] = {"input": signal.input, "output": signal.output}


def set_vars(draft: Draft, signal: SetVars) -> None:
    check_thread(draft, signal.thread)
    for name, value in signal.changes.items():
        before = draft.var(signal.thread, name) if signal.append and isinstance(value, list) else None
        joined = before[0] + value if before and isinstance(before[0], list) else value
        draft.set_var(signal.thread, name, joined)


def upgrade(draft: Draft, signal: Upgrade) -> None:
    process = draft.reads.answer(ProcessKey(signal.definition))
    if process is None:
        raise Refusal(Code.NOT_FOUND, "the version to upgrade to does not exist")
    known = draft.process
    if (process.name, process.language) != (known.name, known.language):
        raise Refusal(Code.INVALID, f"{process.name!r} is no version of {known.name!r}, which the run is of")
    if (process.records is None) != (known.records is None):
        has, had = ("no record", "one") if process.records is None else ("a record", "none")
        raise Refusal(Code.INVALID, f"version {process.version} of {process.name!r} has {has}, and the run has {had}")
    for row in draft.all_open():
        if row.fragment or row.bits & Bit.DYNAMIC:
            fork = draft.step(row.fragment or row.k)
            made = f"made by {fork.slot if fork is not None else 'a fork'!r} for this run alone"
            raise Refusal(Code.INVALID, f"step {row.slot!r} is open and was {made}; upgrade the run when it has ended")
        if row.slot not in process.nodes:
            raise Refusal(Code.INVALID, f"version {process.version} of {process.name!r} has no step {row.slot!r}, which is open")
        if type(process.nodes[row.slot]) is not type(draft.node_of(row)):
            what = f"version {process.version} of {process.name!r} has another kind of step {row.slot!r}, which is open"
            raise Refusal(Code.INVALID, what)
    draft.process = process
    draft.head.definition = signal.definition


def run_now(draft: Draft, signal: RunNow) -> None:
    for row in draft.all_open():
        if row.state == State.WORK and row.due > draft.now and not row.lease:
            mine = draft.edit(row)
            mine.due = mine.updated = draft.now


def amend(draft: Draft, signal: Amend) -> None:
    """The record of a finished run may change too; that opens a new era of the run."""
    draft.moment = moment_of(draft, signal)
    change_record(draft, signal.changes, draft.moment)
    if draft.head.status >= RunStatus.COMPLETED and draft.record_change is not None:
        draft.head.era += 1


def retire(draft: Draft, signal: Retire) -> None:
    draft.moment = moment_of(draft, signal)
    record_rules(draft)
    delete_record(draft)
    if draft.head.status < RunStatus.COMPLETED:
        end_run(draft, RunStatus.TERMINATED, signal.reason, Failure("deleted", "cancelled", signal.reason, None, False))
    else:
        draft.head.era += 1
