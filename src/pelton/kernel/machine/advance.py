"""`advance`: the one function that moves a run.

    advance(process, reads, signal, now) -> Transition | Refused | Need

It reads nothing but its arguments and changes nothing: the answer is a delta with effects as data, a refusal with its reason,
or the keys of what it still has to read, with which the caller calls again. It may be called several times for one signal, so it
counts nothing, reads no clock and makes no ids. The same reads, signal and time give the same answer, byte for byte.

A call applies the signal to a `Draft`, whose worklist is then worked off: tokens enter nodes, leave them, and are counted out of
scopes; failures climb. After FUEL activations the rest parks, and a `ContinueLater` effect asks for a Continue: no call is long.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from typing import Any

from pelton.errors import Code
from pelton.kernel.expressions.base import TOGETHER
from pelton.kernel.machine import arrivals, operator, pauses, timers
from pelton.kernel.machine.checkpoints import checkpoint
from pelton.kernel.machine.draft import (
    FUEL,
    Again,
    BranchesLost,
    CopiesLeft,
    Draft,
    FailureEscaped,
    LeavingFailed,
    Refusal,
    RowDropped,
    ScopeEmptied,
    Spawn,
    StepFailed,
    StepFailure,
    ThreadEnded,
    ThreadHalting,
    ThreadResumed,
    ThreadStill,
    Token,
)
from pelton.kernel.machine.legality import check
from pelton.kernel.machine.nodes import enter
from pelton.kernel.machine.records import apply_count, follow_status, settle_record
from pelton.kernel.machine.reports import report
from pelton.kernel.machine.rewind.rescue import rescue
from pelton.kernel.machine.rewind.rewinds import revive, rewind
from pelton.kernel.machine.searching import settle_search
from pelton.kernel.machine.tallies import settle_tallies
from pelton.kernel.machine.tokens import queues
from pelton.kernel.machine.tokens.branches import drop_losers
from pelton.kernel.machine.tokens.failures import drop_row, escape, fail, fail_leaving, spawn
from pelton.kernel.machine.tokens.halts import settle_halt
from pelton.kernel.machine.tokens.held import let_go
from pelton.kernel.machine.tokens.lifecycle import break_run, complete, end_run, start_run
from pelton.kernel.machine.tokens.parking import begin_halt, resume
from pelton.kernel.machine.tokens.scopes import scope_emptied
from pelton.kernel.machine.tokens.thread_ends import end_thread
from pelton.kernel.machine.tokens.thread_joins import tell_joins
from pelton.kernel.machine.tokens.waits import begin_again, check_conditions
from pelton.kernel.model.process import Process
from pelton.kernel.model.reads import Missing, RunReads
from pelton.kernel.model.signals import (
    Amend,
    AnySignal,
    ChildEnded,
    ChildReopened,
    ChildReplied,
    Continue,
    Count,
    EventArrived,
    FollowProcess,
    Merge,
    Offered,
    Pause,
    PutCheckpoint,
    Report,
    Rescue,
    Resume,
    Retire,
    Rewind,
    RunNow,
    SetVars,
    Skip,
    Start,
    Terminate,
    TimerFired,
    Trigger,
    Upgrade,
)
from pelton.kernel.model.state import THREADED, Failure, RunStatus, StepStatus
from pelton.kernel.model.transition import Need, Note, Refused, Transition

HANDLERS: dict[type, Callable[[Draft, Any], None]] = {
    Report: report,
    PutCheckpoint: checkpoint,
    EventArrived: arrivals.event,
    Offered: queues.offered,
    Trigger: arrivals.fire_trigger,
    Merge: arrivals.merge,
    Amend: operator.amend,
    Retire: operator.retire,
    Count: apply_count,
    TimerFired: timers.timer,
    ChildEnded: arrivals.child_ended,
    ChildReopened: revive,
    ChildReplied: arrivals.child_replied,
    Continue: arrivals.continue_after_fuel,
    Pause: pauses.pause,
    Resume: pauses.resume_run,
    FollowProcess: pauses.follow_process,
    Terminate: operator.terminate,
    Rewind: rewind,
    Rescue: rescue,
    Skip: operator.skip,
    SetVars: operator.set_vars,
    Upgrade: operator.upgrade,
    RunNow: operator.run_now,
}
# Signals about what has happened already: nobody could ask again.
BLAMES_ITS_STEP = frozenset({Report, TimerFired, ChildEnded, ChildReplied, Continue})
MOST_KEYS = 5_000  # asked for at once
MOST_LOOKS = 64  # rounds in which written variables may make conditions true that write variables


def advance(process: Process, reads: RunReads, signal: AnySignal, now: int) -> Transition | Refused | Need:
    """The transition that a signal causes. A tolerant signal that cannot be applied gives a transition with a Note alone.

    When its reads are spent, a signal is applied as far as they go, and the rest follows in the next commit. What cannot even
    begin so, or must not be put off, fails: the step whose expression reads too much, or else the run. Nothing waits for ever.
    """
    spent = reads.spent
    if spent is None:
        return decide(process, reads, signal, now, None)
    if spent.last:
        return give_up(process, reads, signal, now, spent.what)
    probe = Allowance(FUEL)
    found = decide(process, reads, signal, now, probe)
    if not isinstance(found, Need):
        return found
    may_wait = process.out_of_fuel != "fail"
    if probe.used > 1 and may_wait:
        part = decide(process, reads, signal, now, Allowance(probe.used - 1))
        if isinstance(part, Transition):
            return part
    return decide(process, reads, signal, now, Allowance(max(probe.used, 1) if may_wait else FUEL, thrifty=True))


class Allowance:
    """A way to decide a signal whose reads are spent: with so much fuel, and whether an expression fails that needs more."""

    __slots__ = ("draft", "fuel", "thrifty")

    def __init__(self, fuel: int, thrifty: bool = False) -> None:
        self.fuel = fuel
        self.thrifty = thrifty
        self.draft: Draft | None = None

    @property
    def used(self) -> int:
        """The fuel that was used until something was missing."""
        draft = self.draft
        if draft is None:
            return 0
        return self.fuel - (draft.fuel if draft.reached < 0 else draft.reached)

    def limit(self, draft: Draft) -> None:
        self.draft = draft
        draft.fuel = self.fuel
        draft.thrifty = self.thrifty


def decide(
    process: Process, reads: RunReads, signal: AnySignal, now: int, allowance: Allowance | None
) -> Transition | Refused | Need:
    TOGETHER.begin()
    try:
        if isinstance(signal, Start):
            draft = start_run(process, reads, signal, now)
            pauses.start_under(draft, signal)
            if allowance is not None:
                allowance.limit(draft)
            if signal.trigger is not None:
                drain(draft)
                check(signal.trigger, draft.head.status)
                arrivals.fire_trigger(draft, signal.trigger)
        else:
            head = reads.head()
            if head is None:
                raise Refusal(Code.NOT_FOUND, "the run does not exist")
            check(signal, head.status)
            draft = Draft(process, reads, copy(head), now)
            if allowance is not None:
                allowance.limit(draft)
            HANDLERS[type(signal)](draft, signal)
            if head.status >= RunStatus.COMPLETED and draft.head.status < RunStatus.COMPLETED:
                pauses.follow_process(draft)  # it goes on after its end, if its process lets it
        return finished(draft)
    except Missing as missing:
        return Need(missing.keys)
    except StepFailure as failure:
        if type(signal) in BLAMES_ITS_STEP:
            return blame(process, reads, signal, now, failure.failure, allowance is not None and allowance.thrifty)
        return refuse(reads, signal, Code.EXPRESSION, failure.failure.message, [], now)
    except Refusal as refusal:
        return refuse(reads, signal, refusal.code, refusal.detail, refusal.trace, now)
    finally:
        TOGETHER.end()


def finished(draft: Draft) -> Transition:
    drain(draft)
    if draft.process.records is not None and draft.process.records.follows is not None:
        follow_status(draft)
    if draft.record_change is not None or draft.created:
        settle_record(draft)
    if draft.variables and draft.process.searchable:
        settle_search(draft)
    if draft.counts:
        settle_tallies(draft)
    return draft.transition()


def blame(
    process: Process, reads: RunReads, signal: Any, now: int, failure: Failure, thrifty: bool
) -> Transition | Refused | Need:
    """The signal says what has happened already, so it is not refused: the step that it is about fails, or else the run."""
    try:
        head = reads.head()
        assert head is not None
        draft = Draft(process, reads, copy(head), now)
        draft.thrifty = thrifty
        n = getattr(signal, "n", 0)
        row = draft.open(n) if n > 0 else None
        if row is not None:
            draft.worklist.append(StepFailed(row.n, failure, int(StepStatus.FAILED_FOR_GOOD)))
        else:
            draft.worklist.append(FailureEscaped(0, 0, failure, 0, int(StepStatus.FAILED_FOR_GOOD)))
        return finished(draft)
    except Missing as missing:
        return Need(missing.keys)


def give_up(process: Process, reads: RunReads, signal: AnySignal, now: int, what: str) -> Transition | Refused | Need:
    """Not even what a failure needs is within bounds: the run fails, or the caller who asks for something is refused."""
    failure = Failure("too large", "technical", f"the run needs {what} for one signal", None, False)
    head = reads.head()
    ends = type(signal) in BLAMES_ITS_STEP and head is not None
    if not ends:
        return refuse(reads, signal, Code.TOO_LARGE, failure.message, [], now)
    try:
        assert head is not None
        check(signal, head.status)
        draft = Draft(process, reads, copy(head), now)
        draft.thrifty = True
        break_run(draft, failure, 0, RunStatus.FAILED)
        return finished(draft)
    except Missing as missing:
        return Need(missing.keys)
    except Refusal as refusal:
        return refuse(reads, signal, refusal.code, refusal.detail, refusal.trace, now)


def refuse(reads: RunReads, signal: AnySignal, code: Code, detail: str, trace: list[Any], now: int) -> Transition | Refused:
    head = reads.head()
    if signal.strict or head is None:
        return Refused(code, detail, trace)
    # The revision rises even so: a decision that depended on other runs must not be made twice concurrently.
    head = copy(head)
    head.rev += 1
    return Transition(head, effects=[Note(code, detail)])


def drain(draft: Draft) -> None:
    """Works off the worklist, then ends the run when its last token is gone and no thread lives; a paused one stays until it is
    resumed."""
    looks = 0
    written = 0
    while True:
        run_worklist(draft)
        if not draft.process.conditions or len(draft.variables) == written or looks >= MOST_LOOKS:
            break
        written = len(draft.variables)
        looks += 1
        check_conditions(draft)
        if not draft.worklist:
            break
    head = draft.head
    if head.open == 0 and head.status == RunStatus.RUNNING and not has_children(draft):
        complete(draft)


def has_children(draft: Draft) -> bool:
    """Whether threads of a run without a token live: those that an operator has paused, and what halts for them."""
    root = draft.thread(0) if draft.head.flags & THREADED else None
    return root is not None and root.children > 0


def run_worklist(draft: Draft) -> None:
    """Works off the worklist. Where something has not been read the rest is still tried, so that all of it is asked for at once.

    The result of such a trial means nothing, and neither do its errors: the draft is dropped.
    """
    missing: list[Any] = []
    while True:
        try:
            run_items(draft)
            break
        except Missing as more:
            if not missing:
                draft.reached = draft.fuel
            missing += more.keys
            if len(missing) > MOST_KEYS or draft.stranded:
                break
        except Exception:
            if not missing:
                raise
            break
    if missing:
        raise Missing(*dict.fromkeys(missing))


def run_items(draft: Draft) -> None:
    worklist = draft.worklist
    while worklist:
        if draft.fuel <= 0:
            if draft.process.out_of_fuel == "fail" and draft.head.status != RunStatus.PAUSED:
                reason = "too many steps followed one another without a wait"
                end_run(draft, RunStatus.FAILED, reason, Failure("out of fuel", "technical", reason, None, False))
                return
            draft.strand()
            if not worklist:
                return
        item = worklist.popleft()
        if type(item) is Token:
            if draft.process.most_transitions and circles(draft, item.node):
                return
            enter(draft, item)
        else:
            follow(draft, item)


def circles(draft: Draft, node: str) -> bool:
    """Counts a token into a node. True when that was once too often without a wait in between: the run has failed."""
    visits = draft.visits[node] = draft.visits.get(node, 0) + 1
    most = draft.process.most_transitions
    if visits <= most or draft.head.status == RunStatus.PAUSED:  # in a paused run tokens only park
        return False
    reason = f"{node!r} was entered more than {most} times without a wait"
    end_run(draft, RunStatus.FAILED, reason, Failure("out of fuel", "technical", reason, None, False))
    return True


FOLLOW: dict[type, Callable[[Draft, Any], None]] = {
    RowDropped: drop_row,
    BranchesLost: lambda draft, item: drop_losers(draft, item.n),
    Spawn: spawn,
    LeavingFailed: fail_leaving,
    ThreadHalting: begin_halt,
    ThreadStill: settle_halt,
    ThreadResumed: resume,
    ThreadEnded: tell_joins,
    Again: lambda draft, item: begin_again(draft, item.n),
    CopiesLeft: lambda draft, item: let_go(draft, item.row),
}


def follow(draft: Draft, item: Any) -> None:
    try:
        if isinstance(item, StepFailed):
            fail(draft, item)
        elif isinstance(item, ScopeEmptied):
            if item.scope > 0:
                scope_emptied(draft, item.scope)
            else:
                end_thread(draft, -item.scope)
        elif isinstance(item, FailureEscaped):
            escape(draft, item)
        else:
            FOLLOW[type(item)](draft, item)
    except StepFailure as error:
        # Nothing is left that could fail instead: the run itself fails.
        draft.worklist.append(FailureEscaped(0, 0, error.failure, 0, int(StepStatus.FAILED_FOR_GOOD)))
