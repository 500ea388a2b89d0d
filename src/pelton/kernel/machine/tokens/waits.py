"""Waits: a step that rests until one of its arms is taken. Each arm leaves, or stays.

What arrives before the wait opens is held, and claimed here: for this run, or by correlation, under a (name, key) whose
rendezvous row both sides look up, so that neither can miss the other.
"""

from __future__ import annotations

from typing import Any

from pelton.errors import Code
from pelton.kernel.machine.draft import Draft, Refusal, Spawn
from pelton.kernel.machine.records import change_record
from pelton.kernel.machine.scene import Scene, evaluate
from pelton.kernel.machine.tokens.flow import assign, finish, holds
from pelton.kernel.model.process import AtTime, OnCondition, OnEvent, OnMerge, OnTrigger, Wait
from pelton.kernel.model.reads import Held, HeldKey
from pelton.kernel.model.state import Bit, OpenStep, State
from pelton.kernel.model.transition import Claim, CloseCorrelations, OpenCorrelation, SetTimer


def open_wait(draft: Draft, node: Wait, row: OpenStep) -> None:
    """Opens a wait whose input has been evaluated; takes an arm at once when one is due already."""
    row.started = draft.now
    draft.add(row)
    arm_all(draft, node, row)


def arm_all(draft: Draft, node: Wait, row: OpenStep, times: bool = True) -> None:
    for index, arm in enumerate(node.arms):
        scene = Scene(draft, row, row.input, row.thread)
        if isinstance(arm, AtTime):
            if not times:
                continue
            due = evaluate(arm.at, scene)
            if due is None:
                continue
            if due <= draft.now and not arm.stays:
                take_arm(draft, node, row, index, None)
                return
            set_timer(draft, row, index, int(due))
        elif isinstance(arm, OnCondition):
            if holds(evaluate(arm.when, scene)):
                take_arm(draft, node, row, index, None)
                return
        elif isinstance(arm, OnEvent) and claim_event(draft, node, row, index, arm, scene):
            return


def set_timer(draft: Draft, row: OpenStep, index: int, due: int) -> None:
    row.bits |= Bit.TIMED
    row.due = min(row.due, due) if row.due else due
    draft.effects.append(SetTimer(row.n, str(index), row.k, due))


def claim_event(draft: Draft, node: Wait, row: OpenStep, index: int, arm: OnEvent, scene: Scene) -> bool:
    """Looks for an event that arrived earlier. True when there was one and its arm leaves."""
    if arm.key is None:
        if not draft.head.held:
            return False
        key = ""
    else:
        key = str(evaluate(arm.key, scene))
        row.bits |= Bit.KEYED
        row.waits = {**(row.waits or {}), str(index): key}
        draft.effects.append(OpenCorrelation(row.n, arm.event, key))
    for held in draft.reads.answer(HeldKey(arm.event, key)):
        if is_claimed(draft, held) or not addressed_to(held.thread, held.position, row):
            continue
        claim(draft, held, row.n, counted=arm.key is None)
        take_arm(draft, node, row, index, held.body)
        if not arm.stays:
            return True
    return False


def addressed_to(thread: int, position: int, row: OpenStep) -> bool:
    """Whether an event addressed to a thread and a place in it may go to this step."""
    return (thread < 0 or thread == row.thread) and (position < 0 or position == row.n)


def is_claimed(draft: Draft, held: Held) -> bool:
    return any(isinstance(effect, Claim) and effect.id == held.id for effect in draft.effects)


def claim(draft: Draft, held: Held, n: int, *, counted: bool) -> None:
    draft.effects.append(Claim(held.id, n))
    if counted:
        draft.head.held -= 1


def arm_again(draft: Draft, row: OpenStep) -> None:
    """An open step whose thread was halted goes on. A wait looks again for what it waits for: it took nothing meanwhile.

    Its times went on, and were taken, unless it stops on a halt: then they are computed anew.
    """
    if row.state != State.WAIT or row.bits & Bit.AWAITS_THREADS:
        return
    node = draft.node_of(row)
    if not isinstance(node, Wait) or node.on_halt == "cancel":
        return
    times = node.on_halt == "stop"
    row = draft.edit(row)
    if times:
        row.k += 1
        row.due = 0
    if row.bits & Bit.KEYED:
        draft.effects.append(CloseCorrelations(row.n))
    arm_all(draft, node, row, times)


def take_arm(draft: Draft, node: Wait, row: OpenStep, index: int, payload: Any) -> None:
    """An arm is taken: its assignments are made, and the step ends unless the arm stays."""
    arm = node.arms[index]
    row = draft.edit(row) if row.n not in draft.open_rows else row
    scene = Scene(draft, row, payload, row.thread)
    if arm.assigns:
        assign(draft, arm.assigns, scene)
    if not arm.stays:
        row.k = -1 - index  # of an ended wait: the arm by which it left
        finish(draft, row, payload, to=arm.to or None)
        return
    row.updated = draft.now
    if arm.body:
        draft.worklist.append(Spawn(arm.body, row.thread, {"INPUT": payload}, row.fragment, row.n))
    if isinstance(arm, AtTime) and arm.every:
        row.due = 0
        set_timer(draft, row, index, draft.now + arm.every)


def open_waits(draft: Draft) -> list[tuple[Wait, OpenStep]]:
    """Waits that may be taken: open, in threads that are not halted."""
    found: list[tuple[Wait, OpenStep]] = []
    for row in draft.all_open():
        if row.state == State.WAIT and not row.bits & Bit.AWAITS_THREADS and not draft.halted(row.thread):
            node = draft.node_of(row)
            if isinstance(node, Wait):
                found.append((node, row))
    return found


def try_trigger(draft: Draft, name: str, changes: dict[str, Any]) -> None:
    """Tries a trigger: the changes are made, then the arms are tried in order. Raises Refusal when none holds."""
    trace: list[Any] = []
    known = False
    if draft.process.records is not None:
        assert draft.moment is not None
        change_record(draft, changes, draft.moment)
    else:
        for variable, value in changes.items():
            draft.set_var(0, variable, value)
    for node, row in open_waits(draft):
        for index, arm in enumerate(node.arms):
            if not isinstance(arm, OnTrigger) or arm.trigger != name:
                continue
            known = True
            scene = Scene(draft, row, changes, row.thread)
            refusals = [text for check in arm.checks if (text := evaluate(check, scene))]
            if refusals:
                trace += [{"arm": index, "check": text} for text in refusals]
                continue
            if arm.guard is not None:
                value = evaluate(arm.guard, scene)
                if not holds(value):
                    why = getattr(arm.guard, "why", None)
                    entry = {"arm": index, "guard": getattr(arm.guard, "text", ""), "value": value}
                    trace.append(entry if why is None else {**entry, "why": why(scene)})
                    continue
            take_arm(draft, node, row, index, changes)
            return
    if not known:
        places = ", ".join(repr(row.slot) for _, row in open_waits(draft)) or "nothing open"
        raise Refusal(Code.GUARD, f"trigger {name!r} leads nowhere from {places}", trace)
    raise Refusal(Code.GUARD, f"trigger {name!r} is not allowed in the present state: {refusal_texts(trace)}", trace)


def refusal_texts(trace: list[Any]) -> str:
    """Why the arms of a trigger were not taken, for people."""
    found: list[str] = []
    for each in trace:
        why = each.get("why") or {}
        text = each.get("check") or why.get("message")
        if not text:
            parts = [f"{part} saw {value!r}"[:200] for part, value, result in why.get("trace", ()) if not result]
            text = f"the guard {each['guard']!r} does not hold" + (f" ({', '.join(parts)})" if parts else "")
        found.append(text)
    return "; ".join(dict.fromkeys(found))[:1000]


def check_conditions(draft: Draft) -> None:
    """Checks the waits whose conditions read a variable that was written."""
    names = {slot for _, name in draft.variables for slot in draft.process.conditions.get(name, ())}
    if not names:
        return
    for node, row in open_waits(draft):
        if row.slot not in names or row.n in draft.ended:
            continue
        for index, arm in enumerate(node.arms):
            if isinstance(arm, OnCondition) and holds(evaluate(arm.when, Scene(draft, row, None, row.thread))):
                take_arm(draft, node, row, index, None)
                break


def take_merge_arms(draft: Draft, changes: dict[str, Any]) -> None:
    for node, row in open_waits(draft):
        for index, arm in enumerate(node.arms):
            if isinstance(arm, OnMerge):
                scene = Scene(draft, row, changes, row.thread)
                if arm.when is None or holds(evaluate(arm.when, scene)):
                    take_arm(draft, node, row, index, changes)
                    break
