"""`advance`: the one function that moves a run.

    advance(process, facts, signal, now) -> Transition | Refused | Need

It reads nothing but its arguments and changes nothing: the answer is a delta with effects as data, a refusal with its reason,
or the keys of facts that are missing, with which the caller comes again. It may be called several times for one signal, so it
counts nothing, looks at no clock and makes no ids. The same facts, signal and time give the same answer, byte for byte.

A call takes the signal to a `Turn`, whose agenda then runs empty: tokens enter nodes, leave them, are counted out of scopes;
failures climb. After FUEL activations the rest parks and a `Resume` effect asks for a Continue, so no call is long.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from typing import Any

from pelton.errors import Code
from pelton.kernel.machine import operator
from pelton.kernel.machine.draft import Broken, Emptied, Failed, Lost, Parked, Refusal, Spawn, StepFailure, Token, Turn
from pelton.kernel.machine.failures import broken, fail, lose
from pelton.kernel.machine.lifecycle import begin, complete, end_run
from pelton.kernel.machine.nodes import enter
from pelton.kernel.machine.records import close_book, count
from pelton.kernel.machine.reports import report
from pelton.kernel.machine.rewind import revive, rewind
from pelton.kernel.machine.scopes import emptied
from pelton.kernel.machine.threads import parked, start_thread, thread_over
from pelton.kernel.machine.waits import look_at_conditions
from pelton.kernel.model.process import Process
from pelton.kernel.model.reads import Facts, Missing
from pelton.kernel.model.signals import (
    Amend,
    AnySignal,
    ChildEnded,
    ChildReopened,
    ChildReplied,
    Continue,
    Count,
    EventArrived,
    Extend,
    HurryUp,
    Merge,
    Pause,
    Report,
    Resume,
    Retire,
    Rewind,
    SetVars,
    Skip,
    Start,
    Terminate,
    TimerFired,
    Trigger,
    Upgrade,
)
from pelton.kernel.model.state import Failure, RunStatus, StepStatus, ThreadStatus
from pelton.kernel.model.transition import Need, Note, Refused, Transition

HANDLERS: dict[type, Callable[[Turn, Any], None]] = {
    Report: report,
    Extend: operator.extend,
    EventArrived: operator.event,
    Trigger: operator.fire_trigger,
    Merge: operator.merge,
    Amend: operator.amend,
    Retire: operator.retire,
    Count: count,
    TimerFired: operator.timer,
    ChildEnded: operator.child_ended,
    ChildReopened: revive,
    ChildReplied: operator.child_replied,
    Continue: operator.carry_on,
    Pause: operator.pause,
    Resume: operator.go_on,
    Terminate: operator.terminate,
    Rewind: rewind,
    Skip: operator.skip,
    SetVars: operator.set_vars,
    Upgrade: operator.upgrade,
    HurryUp: operator.hurry_up,
}
MOST_KEYS = 5_000  # asked for at once
MOST_LOOKS = 64  # rounds in which written variables may make conditions true that write variables


def advance(process: Process, facts: Facts, signal: AnySignal, now: int) -> Transition | Refused | Need:
    """The transition that a signal causes. A tolerant signal that cannot be applied gives a transition with a Note alone."""
    try:
        if isinstance(signal, Start):
            turn = begin(process, facts, signal, now)
            if signal.trigger is not None:
                drain(turn)
                operator.fire_trigger(turn, signal.trigger)
        else:
            head = facts.head()
            if head is None:
                raise Refusal(Code.NOT_FOUND, "there is no such run")
            turn = Turn(process, facts, copy(head), now)
            HANDLERS[type(signal)](turn, signal)
        drain(turn)
        if turn.book is not None or turn.created:
            close_book(turn)
        return turn.transition()
    except Missing as missing:
        return Need(missing.keys)
    except StepFailure as failure:
        return refuse(facts, signal, Code.EXPRESSION, failure.failure.message, [], now)
    except Refusal as refusal:
        return refuse(facts, signal, refusal.code, refusal.detail, refusal.trace, now)


def refuse(facts: Facts, signal: AnySignal, code: Code, detail: str, trace: list[Any], now: int) -> Transition | Refused:
    head = facts.head()
    if signal.strict or head is None:
        return Refused(code, detail, trace)
    # The revision rises all the same: a decision that was made by looking at other runs must not be made twice side by side.
    head = copy(head)
    head.rev += 1
    return Transition(head, effects=[Note(code, detail)])


def drain(turn: Turn) -> None:
    """Runs the agenda empty, then ends the run when its last token is gone."""
    looks = 0
    written = 0
    while True:
        run_agenda(turn)
        if not turn.process.conditions or len(turn.variables) == written or looks >= MOST_LOOKS:
            break
        written = len(turn.variables)
        looks += 1
        look_at_conditions(turn)
        if not turn.agenda:
            break
    head = turn.head
    if head.open == 0 and head.status in (RunStatus.RUNNING, RunStatus.PAUSED):
        complete(turn)


def run_agenda(turn: Turn) -> None:
    """Runs the agenda empty. Where a fact is missing the rest is tried all the same: what is missing is asked for at once.

    What such a trial comes to means nothing, its errors included: the turn is dropped.
    """
    missing: list[Any] = []
    while True:
        try:
            run_items(turn)
            break
        except Missing as more:
            missing += more.keys
            if len(missing) > MOST_KEYS or turn.stranded:
                break
        except Exception:
            if not missing:
                raise
            break
    if missing:
        raise Missing(*dict.fromkeys(missing))


def run_items(turn: Turn) -> None:
    agenda = turn.agenda
    while agenda:
        if turn.fuel <= 0:
            if turn.process.out_of_fuel == "fail":
                reason = "too many steps followed one another without a wait"
                end_run(turn, RunStatus.FAILED, reason, Failure("out of fuel", "technical", reason, None, False))
                return
            turn.strand()
            if not agenda:
                return
        item = agenda.popleft()
        if type(item) is Token:
            if turn.process.most_transitions and circles(turn, item.node):
                return
            enter(turn, item)
        else:
            follow(turn, item)


def circles(turn: Turn, node: str) -> bool:
    """Counts that a token enters a node. Once too often without a wait in between, the run fails: True."""
    visits = turn.visits[node] = turn.visits.get(node, 0) + 1
    most = turn.process.most_transitions
    if visits <= most:
        return False
    reason = f"{node!r} was entered more than {most} times without a wait"
    end_run(turn, RunStatus.FAILED, reason, Failure("out of fuel", "technical", reason, None, False))
    return True


def follow(turn: Turn, item: Any) -> None:
    try:
        if isinstance(item, Failed):
            fail(turn, item)
        elif isinstance(item, Emptied):
            if item.scope > 0:
                emptied(turn, item.scope)
            else:
                thread_over(turn, -item.scope)
        elif isinstance(item, Broken):
            broken(turn, item)
        elif isinstance(item, Parked):
            parked(turn, item)
        elif isinstance(item, Lost):
            lose(turn, item)
        elif isinstance(item, Spawn):
            above = turn.thread(item.parent)
            if above is None or above.status < ThreadStatus.COMPLETED:
                start_thread(turn, item.entry, item.parent, 0, variables=item.variables)
    except StepFailure as error:
        # Nothing is left that could fail in place of this: the run does.
        turn.agenda.append(Broken(0, 0, error.failure, 0, int(StepStatus.FAILED_FOR_GOOD)))
