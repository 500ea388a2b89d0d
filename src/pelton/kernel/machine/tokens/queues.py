"""Queues: waits of any runs under one (name, key), of which a `Take` step takes the first, or the last.

A place in a queue is a wait with a keyed arm that `offers` something. Who takes one has looked at it in its own commit, and the
taken run goes on in that commit too: so each is taken once. A Take step that finds nobody may rest; it then waits for the same
key under a name of its own, and who comes into the queue tells the one of those that has waited longest.

A resting step that is told may have changed its mind by then. It tells the next, and so does one that has taken somebody while
more are there: as long as there are both places and takers, one of the takers knows.

`OpenStep.waits` of a resting Take step: the key, and what the one that it takes receives.
"""

from __future__ import annotations

from copy import copy
from typing import Any

from pelton.kernel.machine.draft import Draft, StepFailure, Token
from pelton.kernel.machine.scene import Scene, evaluate
from pelton.kernel.machine.tokens.flow import finish
from pelton.kernel.model.process import OnEvent, Process, Take, Wait
from pelton.kernel.model.reads import HeldKey, RoomKey, RunReads, TakerKey, Waiter, WaiterKey
from pelton.kernel.model.signals import EventArrived, Offered
from pelton.kernel.model.state import Bit, Failure, OpenStep, RunStatus, State
from pelton.kernel.model.transition import OpenCorrelation, SignalRun

TAKERS = "take:"  # before a queue's name: that under which its takers wait
NOBODY = "nobody waits"  # the failure of a Take step
KEY, BODY = "key", "body"


# ---- taking


def put_off(draft: Draft, token: Token, node: Take) -> bool:
    """Lets a token come again in the next commit: when this one has no room for a further run, or when the run itself has just
    come into that queue, which nobody sees before."""
    if draft.reads.answer(RoomKey(len(taken(draft)))):
        try:
            key = str(evaluate(node.key, Scene(draft, None, None, token.thread, at=token)))
        except StepFailure:
            return False  # it fails once it is a step
        if not any(isinstance(each, OpenCorrelation) and (each.name, each.key) == (node.event, key) for each in draft.effects):
            return False
    draft.park(token, Bit.STRANDED)
    draft.ask_to_continue()
    return True


def take_or_rest(draft: Draft, node: Take, row: OpenStep, key: str, body: Any) -> None:
    """Called for a step that has just opened. Raises StepFailure when nobody waits."""
    if take(draft, node, row, key, body):
        return
    if node.empty == "edge":
        finish(draft, row, None, to=node.to)
    elif node.empty == "fail":
        raise StepFailure(Failure(NOBODY, "business", f"nobody waits in the queue {node.event!r} {key!r}", None, False))
    else:
        row.bits |= Bit.KEYED
        row.waits = {KEY: key, BODY: body}
        draft.reads.answer(HeldKey(TAKERS + node.event, key))  # so that whoever comes finds it
        draft.effects.append(OpenCorrelation(row.n, TAKERS + node.event, key, row.started))


def taken(draft: Draft) -> list[tuple[int, int]]:
    """Whom this transition has taken so far."""
    sent = (effect for effect in draft.effects if type(effect) is SignalRun and effect.together)
    return [(effect.key, effect.signal.n) for effect in sent if isinstance(effect.signal, EventArrived)]


def take(draft: Draft, node: Take, row: OpenStep, key: str, body: Any) -> bool:
    """False when nobody waits."""
    but = taken(draft)
    while True:
        found: Waiter | None = draft.reads.answer(WaiterKey(node.event, key, node.last, tuple(but)))
        if found is None:
            return False
        but.append((found.run, found.n))
        if found.run != draft.head.key or place_of(draft, found.n, node.event, key) is not None:
            break  # of this run itself it is only known how it was
    signal = EventArrived(id=0, name=node.event, key=key, body=body, n=found.n, strict=False)
    draft.effects.append(SignalRun(found.run, signal, together=True))
    output = {"run": draft.reads.codec.run_id(found.run), "n": found.n, "data": found.data}
    row = draft.edit(row) if row.n not in draft.open_rows else row
    finish(draft, row, output)
    return True


def take_again(draft: Draft, node: Take, row: OpenStep) -> None:
    """A resting step goes on after a halt: nobody has told it anything meanwhile."""
    signal = Offered(n=row.n, name=node.event, key=row.waits[KEY])
    if not draft.reads.answer(RoomKey(len(taken(draft)))):
        draft.effects.append(SignalRun(draft.head.key, signal, later=True))
    elif take(draft, node, row, row.waits[KEY], row.waits[BODY]):
        pass_on(draft, signal)


def offered(draft: Draft, signal: Offered) -> None:
    if not draft.reads.answer(RoomKey(0)):
        draft.effects.append(SignalRun(draft.head.key, signal, later=True))
        return
    row = draft.open(signal.n) if draft.head.status in (RunStatus.RUNNING, RunStatus.PAUSED) else None
    node = resting(draft, row, signal.name, signal.key)
    if row is not None and node is not None:
        take(draft, node, row, signal.key, row.waits[BODY])
    pass_on(draft, signal)


def pass_on(draft: Draft, signal: Offered) -> None:
    """Tells the next who waits to take from this queue, if there is still somebody in it."""
    other = draft.reads.answer(TakerKey(signal.name, signal.key, (draft.head.key, signal.n)))
    if other is not None and draft.reads.answer(WaiterKey(signal.name, signal.key, False, tuple(taken(draft)))) is not None:
        draft.effects.append(SignalRun(other[0], Offered(n=other[1], name=signal.name, key=signal.key)))


# ---- coming


def tell_taker(draft: Draft, name: str, key: str) -> None:
    """Somebody has come into a queue: tells who waits longest to take from it, once in a transition."""
    sent = (effect.signal for effect in draft.effects if type(effect) is SignalRun)
    if any(isinstance(signal, Offered) and (signal.name, signal.key) == (name, key) for signal in sent):
        return
    other = draft.reads.answer(TakerKey(name, key))
    if other is None:  # unless a step of this very transition does
        opened = (each for each in draft.effects if isinstance(each, OpenCorrelation))
        other = next(((draft.head.key, each.n) for each in opened if (each.name, each.key) == (TAKERS + name, key)), None)
    if other is not None:
        draft.effects.append(SignalRun(other[0], Offered(n=other[1], name=name, key=key)))


# ---- what others see


def place_of(draft: Draft, n: int, name: str, key: str) -> tuple[OnEvent, OpenStep] | None:
    """The arm by which step n is in a queue; None when it is not, or is halted."""
    row = draft.open(n)
    if row is None or row.state != State.WAIT or row.bits & (Bit.AWAITS_THREADS | Bit.AGAIN) or draft.halted(row.thread):
        return None
    node = draft.node_of(row)
    arms = node.arms if isinstance(node, Wait) else ()
    for index, arm in enumerate(arms):
        if isinstance(arm, OnEvent) and arm.offers is not None and arm.event == name and (row.waits or {}).get(str(index)) == key:
            return arm, row
    return None


def resting(draft: Draft, row: OpenStep | None, name: str, key: str) -> Take | None:
    """The node of a step that waits to take from a queue; None when it does not, or is halted."""
    if row is None or row.state != State.WAIT or not row.bits & Bit.KEYED or draft.halted(row.thread):
        return None
    node = draft.node_of(row)
    return node if isinstance(node, Take) and node.event == name and row.waits[KEY] == key else None


def look(process: Process, reads: RunReads, now: int) -> Draft | None:
    """A draft to look at a run with, of which nothing is kept; None when it has ended, or has not begun."""
    head = reads.head()
    if head is None or head.status not in (RunStatus.RUNNING, RunStatus.PAUSED):
        return None
    return Draft(process, reads, copy(head), now)


def offer_of(process: Process, reads: RunReads, n: int, name: str, key: str, now: int) -> Waiter | None:
    """What step n of a run offers to who takes it from a queue; None when it is not to be had. Raises Missing."""
    draft = look(process, reads, now)
    found = place_of(draft, n, name, key) if draft is not None else None
    if draft is None or found is None:
        return None
    arm, row = found
    assert arm.offers is not None
    try:
        return Waiter(draft.head.key, n, evaluate(arm.offers, Scene(draft, row, row.input, row.thread)))
    except StepFailure:
        return None


def rests(process: Process, reads: RunReads, n: int, name: str, key: str, now: int) -> bool:
    """Whether step n of a run waits to take from a queue. Raises Missing."""
    draft = look(process, reads, now)
    return draft is not None and resting(draft, draft.open(n), name, key) is not None
