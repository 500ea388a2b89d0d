"""Waits: a step that stands still until one of its arms is taken. Each arm leaves, or stays.

What arrives before the wait opens is held and claimed here: for this run, or under a (name, key) that both sides look up as a
row of their own, so that neither can miss the other.
"""

from __future__ import annotations

from typing import Any

from pelton.errors import Code
from pelton.kernel.machine.draft import Refusal, Spawn, Turn
from pelton.kernel.machine.flow import assign, finish, holds
from pelton.kernel.machine.records import change
from pelton.kernel.machine.scene import Scene, evaluate
from pelton.kernel.model.process import AtTime, OnCondition, OnEvent, OnMerge, OnTrigger, Wait
from pelton.kernel.model.reads import Held, HeldKey
from pelton.kernel.model.state import Bit, OpenStep, State
from pelton.kernel.model.transition import Claim, CloseWaitKeys, OpenWaitKey, SetTimer


def open_wait(turn: Turn, node: Wait, row: OpenStep) -> None:
    """Opens a wait whose input has been evaluated; takes an arm at once when one is due already."""
    row.started = turn.now
    turn.add(row)
    arm_all(turn, node, row)


def arm_all(turn: Turn, node: Wait, row: OpenStep, times: bool = True) -> None:
    for index, arm in enumerate(node.arms):
        scene = Scene(turn, row, row.input, row.thread)
        if isinstance(arm, AtTime):
            if not times:
                continue
            due = evaluate(arm.at, scene)
            if due is None:
                continue
            if due <= turn.now and not arm.stays:
                take(turn, node, row, index, None)
                return
            set_timer(turn, row, index, int(due))
        elif isinstance(arm, OnCondition):
            row.bits |= Bit.CONDITION
            if holds(evaluate(arm.when, scene)):
                take(turn, node, row, index, None)
                return
        elif isinstance(arm, OnEvent) and claim_event(turn, node, row, index, arm, scene):
            return


def set_timer(turn: Turn, row: OpenStep, index: int, due: int) -> None:
    row.bits |= Bit.TIMED
    row.due = min(row.due, due) if row.due else due
    turn.effects.append(SetTimer(row.n, str(index), row.k, due))


def claim_event(turn: Turn, node: Wait, row: OpenStep, index: int, arm: OnEvent, scene: Scene) -> bool:
    """Looks for an event that came earlier. True when it was there and its arm leaves."""
    if arm.key is None:
        if not turn.head.held:
            return False
        key = ""
    else:
        key = str(evaluate(arm.key, scene))
        row.bits |= Bit.KEYED
        row.waits = {**(row.waits or {}), str(index): key}
        turn.effects.append(OpenWaitKey(row.n, arm.event, key))
    for held in turn.facts.answer(HeldKey(arm.event, key)):
        if claimed(turn, held) or not fits(held.thread, held.position, row):
            continue
        claim(turn, held, row.n, counted=arm.key is None)
        take(turn, node, row, index, held.body)
        if not arm.stays:
            return True
    return False


def fits(thread: int, position: int, row: OpenStep) -> bool:
    """Whether an event addressed to a thread and a place in it may go to this step."""
    return (thread < 0 or thread == row.thread) and (position < 0 or position == row.n)


def claimed(turn: Turn, held: Held) -> bool:
    return any(isinstance(effect, Claim) and effect.id == held.id for effect in turn.effects)


def claim(turn: Turn, held: Held, n: int, *, counted: bool) -> None:
    turn.effects.append(Claim(held.id, n))
    if counted:
        turn.head.held -= 1


def rearm(turn: Turn, row: OpenStep) -> None:
    """A wait whose thread was halted looks again at what it waits for: nothing was taken meanwhile.

    Its times went on, and were taken, unless it stops on a halt: then they are computed anew.
    """
    node = turn.node(row.slot)
    if not isinstance(node, Wait) or node.on_halt == "cancel":
        return
    times = node.on_halt == "stop"
    row = turn.edit(row)
    if times:
        row.k += 1
        row.due = 0
    if row.bits & Bit.KEYED:
        turn.effects.append(CloseWaitKeys(row.n))
    arm_all(turn, node, row, times)


def take(turn: Turn, node: Wait, row: OpenStep, index: int, payload: Any) -> None:
    """An arm is taken: its assignments are made, and the step ends unless the arm stays."""
    arm = node.arms[index]
    row = turn.edit(row) if row.n not in turn.open_rows else row
    scene = Scene(turn, row, payload, row.thread)
    if arm.assigns:
        assign(turn, arm.assigns, scene)
    if not arm.stays:
        finish(turn, row, payload, to=arm.to or None)
        return
    row.updated = turn.now
    if arm.body:
        turn.agenda.append(Spawn(arm.body, row.thread, {"INPUT": payload}))
    if isinstance(arm, AtTime) and arm.every:
        row.due = 0
        set_timer(turn, row, index, turn.now + arm.every)


def open_waits(turn: Turn) -> list[tuple[Wait, OpenStep]]:
    """Waits that may be taken: open, in threads that are not halted."""
    found: list[tuple[Wait, OpenStep]] = []
    for row in turn.all_open():
        if row.state == State.WAIT and not row.bits & Bit.AWAITS_THREADS and not turn.halted(row.thread):
            node = turn.node(row.slot)
            if isinstance(node, Wait):
                found.append((node, row))
    return found


def trigger(turn: Turn, name: str, changes: dict[str, Any]) -> None:
    """Tries a trigger: the changes are made, then the arms are tried in order. None holds: refused, with what was false."""
    trace: list[Any] = []
    known = False
    if turn.process.records is not None:
        assert turn.moment is not None
        change(turn, changes, turn.moment)
    else:
        for variable, value in changes.items():
            turn.set_var(0, variable, value)
    for node, row in open_waits(turn):
        for index, arm in enumerate(node.arms):
            if not isinstance(arm, OnTrigger) or arm.trigger != name:
                continue
            known = True
            scene = Scene(turn, row, changes, row.thread)
            said = [text for check in arm.checks if (text := evaluate(check, scene))]
            if said:
                trace += [{"arm": index, "check": text} for text in said]
                continue
            if arm.guard is not None:
                value = evaluate(arm.guard, scene)
                if not holds(value):
                    why = getattr(arm.guard, "why", None)
                    told = {"arm": index, "guard": getattr(arm.guard, "text", ""), "value": value}
                    trace.append(told if why is None else {**told, "why": why(scene)})
                    continue
            take(turn, node, row, index, changes)
            return
    if not known:
        places = ", ".join(repr(row.slot) for _, row in open_waits(turn)) or "nothing open"
        raise Refusal(Code.GUARD, f"trigger {name!r} leads nowhere from {places}", trace)
    raise Refusal(Code.GUARD, f"trigger {name!r} is not allowed as things are: {reasons(trace)}", trace)


def reasons(trace: list[Any]) -> str:
    """What held the arms of a trigger back, for people."""
    found: list[str] = []
    for each in trace:
        why = each.get("why") or {}
        text = each.get("check") or why.get("message")
        if not text:
            parts = [f"{part} saw {value!r}"[:200] for part, value, result in why.get("trace", ()) if not result]
            text = f"the guard {each['guard']!r} does not hold" + (f" ({', '.join(parts)})" if parts else "")
        found.append(text)
    return "; ".join(dict.fromkeys(found))[:1000]


def look_at_conditions(turn: Turn) -> None:
    """Variables have been written: waits whose conditions read them look again."""
    names = {slot for _, name in turn.variables for slot in turn.process.conditions.get(name, ())}
    if not names:
        return
    for node, row in open_waits(turn):
        if row.slot not in names or row.n in turn.ended:
            continue
        for index, arm in enumerate(node.arms):
            if isinstance(arm, OnCondition) and holds(evaluate(arm.when, Scene(turn, row, None, row.thread))):
                take(turn, node, row, index, None)
                break


def merged(turn: Turn, changes: dict[str, Any]) -> None:
    for node, row in open_waits(turn):
        for index, arm in enumerate(node.arms):
            if isinstance(arm, OnMerge):
                scene = Scene(turn, row, changes, row.thread)
                if arm.when is None or holds(evaluate(arm.when, scene)):
                    take(turn, node, row, index, changes)
                    break
