"""Waits: a step that rests until one of its arms is taken. Each arm leaves, or stays.

What arrives before the wait opens is held, and claimed here: for this run, or by correlation, under a (name, key) whose
rendezvous row both sides look up, so that neither can miss the other. A wait in a halted thread takes nothing but its times; what
comes for it meanwhile is kept.

`OpenStep.waits` of a wait: keys by arm, `?` and arm for a condition that stays and held when last looked at, and data merged
while it was halted.
"""

from __future__ import annotations

from typing import Any

from pelton.errors import Code
from pelton.kernel.machine.draft import Again, Draft, Refusal, Spawn, StepFailed, StepFailure
from pelton.kernel.machine.records import change_record
from pelton.kernel.machine.scene import Scene, evaluate
from pelton.kernel.machine.tokens.flow import assign, finish, holds
from pelton.kernel.machine.tokens.held import claim, events_for
from pelton.kernel.machine.tokens.limits import restart
from pelton.kernel.machine.tokens.times import AGAIN, clock, drop_time, move_times, set_time, time_of
from pelton.kernel.model.process import AtTime, OnCondition, OnEvent, OnMerge, OnTrigger, Wait, variables_of
from pelton.kernel.model.state import Bit, OpenStep, State, StepStatus
from pelton.kernel.model.transition import CloseCorrelations, OpenCorrelation

MERGED = "merged"


def open_wait(draft: Draft, node: Wait, row: OpenStep) -> None:
    """Opens a wait whose input has been evaluated; takes an arm at once when one is due already."""
    row.started = draft.now
    draft.add(row)
    arm_all(draft, node, row)


def arm_all(draft: Draft, node: Wait, row: OpenStep, *, times: bool = True, resumed: bool = False) -> None:
    """Looks for what there is already, arm by arm, and sets the times. `times` False: they are set, or have been. `resumed`: a
    halt ends; what has become true since is taken, but not what was taken before."""
    for index, arm in enumerate(node.arms):
        scene = Scene(draft, row, row.input, row.thread)
        if isinstance(arm, AtTime):
            due = evaluate(arm.at, scene) if times else None
            if due is None:
                continue
            if due <= draft.now and not arm.stays:
                take_arm(draft, node, row, index, None)
                return
            arm_time(draft, row, index, arm, int(due))
        elif isinstance(arm, OnCondition):
            if look_at(draft, node, row, index, arm) and not arm.stays:
                return
        elif isinstance(arm, OnEvent):
            if claim_events(draft, node, row, index, arm, scene):
                return
        elif isinstance(arm, OnMerge) and resumed and take_kept_merge(draft, node, row, index, arm):
            return


def arm_time(draft: Draft, row: OpenStep, index: int, arm: AtTime, due: int) -> None:
    set_time(draft, row, str(index), due, after=due, fixed=arm.fixed)
    row.due = soonest(row)


def soonest(row: OpenStep) -> int:
    return min((due.at for arm, due in (row.times or {}).items() if arm.isdigit() and due.at), default=0)


def look_at(draft: Draft, node: Wait, row: OpenStep, index: int, arm: OnCondition) -> bool:
    """Takes an arm whose condition holds; one that stays, only when it did not hold before."""
    true = holds(evaluate(arm.when, Scene(draft, row, row.input, row.thread)))
    before = False
    if arm.stays:
        place = f"?{index}"
        before = bool((row.waits or {}).get(place))
        if true != before:
            row = draft.edit(row)
            row.waits = {**(row.waits or {}), place: true}
    if true and not before:
        take_arm(draft, node, row, index, None)
    return true


def claim_events(draft: Draft, node: Wait, row: OpenStep, index: int, arm: OnEvent, scene: Scene) -> bool:
    """Takes events that arrived earlier: one, or as many as there are for an arm that stays. True when the wait has left."""
    if arm.key is not None:
        key = str(evaluate(arm.key, scene))
        row.bits |= Bit.KEYED
        row.waits = {**(row.waits or {}), str(index): key}
        draft.effects.append(OpenCorrelation(row.n, arm.event, key))
    for held, counted in events_for(draft, row, index, arm):
        claim(draft, held, row.n, counted=counted)
        take_arm(draft, node, row, index, held.body)
        if not arm.stays:
            return True
    return False


# ---- halts, and further attempts


def arm_again(draft: Draft, row: OpenStep) -> None:
    """An open step whose thread was halted goes on. A wait looks again for what it waits for: it took nothing meanwhile.

    Times went on, and were taken, unless the step stops on a halt: then what was left of them counts from now on.
    """
    node = draft.node_of(row)
    if node.on_halt == "cancel" or row.bits & Bit.AWAITS_THREADS:
        return
    if row.bits & Bit.AGAIN:
        if not time_of(row, AGAIN).at:
            draft.worklist.append(Again(row.n))
    elif isinstance(node, Wait):
        row = draft.edit(row)
        if row.bits & Bit.KEYED:
            draft.effects.append(CloseCorrelations(row.n))
        try:
            arm_all(draft, node, row, times=set_anew(draft, node, row), resumed=True)
        except StepFailure as error:
            draft.worklist.append(broken(row, error))
            return
        if row.n not in draft.open_rows:
            return
    if node.on_halt == "stop":
        if row.times or row.lease:
            row = move_times(draft, row, node)
    else:
        ring_again(draft, row)
    if isinstance(node, Wait):
        row.due = soonest(row) if row.times else row.due


def set_anew(draft: Draft, node: Wait, row: OpenStep) -> bool:
    """Whether the times of a wait are computed anew after a halt: of one that an earlier version opened, which kept none."""
    if row.times is not None or not row.bits & Bit.TIMED or node.on_halt != "stop":
        return False
    row.k += 1
    row.due = 0
    return True


def ring_again(draft: Draft, row: OpenStep) -> None:
    """What was due during the halt, and left it to an event that another step has taken since, is due now."""
    for arm, due in (row.times or {}).items():
        if 0 < due.at <= draft.now:
            row = draft.edit(row)
            set_time(draft, row, arm, due.at, after=due.after, fixed=due.fixed)


def broken(row: OpenStep, error: StepFailure) -> StepFailed:
    return StepFailed(row.n, error.failure, int(StepStatus.FAILED if error.failure.retriable else StepStatus.FAILED_FOR_GOOD))


def disarm(draft: Draft, row: OpenStep) -> None:
    """A wait rests until its next attempt begins; what limits all attempts stays."""
    for arm in row.times or {}:
        if arm != "total":
            drop_time(draft, row, arm)
    if row.bits & Bit.KEYED:
        draft.effects.append(CloseCorrelations(row.n))
    row.bits = row.bits & ~Bit.KEYED | Bit.AGAIN
    row.waits, row.due = None, 0


def begin_again(draft: Draft, n: int) -> None:
    """The next attempt of a wait begins: all arms and limits as for a new one."""
    seen = draft.open(n)
    if seen is None or not seen.bits & Bit.AGAIN or draft.halted(seen.thread):
        return
    node = draft.node_of(seen)
    row = draft.edit(seen)
    row.bits &= ~Bit.AGAIN
    row.started = row.updated = draft.now
    if not isinstance(node, Wait):
        return
    restart(draft, node, row, "limit", draft.now)
    try:
        arm_all(draft, node, row)
    except StepFailure as error:
        draft.worklist.append(broken(row, error))


# ---- taking


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
    if isinstance(arm, AtTime):
        if arm.every:
            due = time_of(row, str(index))
            set_time(draft, row, str(index), draft.now + arm.every, after=due.after, fixed=due.fixed)
        row.due = soonest(row)


def open_waits(draft: Draft) -> list[tuple[Wait, OpenStep]]:
    """Waits that may be taken: open, in threads that are not halted."""
    found: list[tuple[Wait, OpenStep]] = []
    for row in draft.all_open():
        if row.state == State.WAIT and not row.bits & (Bit.AWAITS_THREADS | Bit.AGAIN) and not draft.halted(row.thread):
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
    """Checks the waits whose conditions, or times, read a variable that was written."""
    written = {name for _, name in draft.variables}
    names = {slot for name in written for slot in draft.process.conditions.get(name, ())}
    if not names:
        return
    for row in draft.all_open():
        if row.slot not in names or row.n in draft.ended or row.state != State.WAIT or row.bits & Bit.AGAIN:
            continue
        node = draft.node_of(row)
        if isinstance(node, Wait):
            look_again(draft, node, row, written)


def look_again(draft: Draft, node: Wait, row: OpenStep, written: set[str]) -> None:
    """Variables that an open wait reads were written. While it is halted, only its times follow them."""
    halted = draft.halted(row.thread)
    try:
        for index, arm in enumerate(node.arms):
            left = False
            if isinstance(arm, OnCondition) and not halted:
                left = look_at(draft, node, row, index, arm) and not arm.stays
            elif isinstance(arm, AtTime) and not written.isdisjoint(variables_of(arm)):
                left = change_time(draft, node, row, index, arm)
            if left:
                return
            row = draft.open_rows.get(row.n, row)
    except StepFailure as error:
        draft.worklist.append(broken(row, error))


def change_time(draft: Draft, node: Wait, row: OpenStep, index: int, arm: AtTime) -> bool:
    """Follows a time that has moved. True when it has come, and the wait has left."""
    due = evaluate(arm.at, Scene(draft, row, row.input, row.thread))
    known = time_of(row, str(index))
    if due is not None and due == known.after:
        return False
    if due is None:
        if known.at:
            row = draft.edit(row)
            drop_time(draft, row, str(index))
            row.due = soonest(row)
        return False
    if due <= draft.now and not arm.stays and not draft.halted(row.thread):
        take_arm(draft, node, row, index, None)
        return True
    row = draft.edit(row)
    late = 0 if arm.fixed else draft.now - clock(draft, row, node)  # a clock that stands began before now
    set_time(draft, row, str(index), int(due) - late, after=int(due), fixed=arm.fixed)
    row.due = soonest(row)
    return False


def take_merge_arms(draft: Draft, changes: dict[str, Any]) -> bool:
    """Offers merged data to the waits; a halted one keeps it for when it resumes. True when a wait has left because of it."""
    left = False
    for row in draft.all_open():
        if row.state != State.WAIT or row.bits & Bit.AGAIN or row.n in draft.ended:
            continue
        node = draft.node_of(row)
        if not isinstance(node, Wait):
            continue
        halted = draft.halted(row.thread)
        for index, arm in enumerate(node.arms):
            if not isinstance(arm, OnMerge):
                continue
            if halted:
                mine = draft.edit(row)
                waits = mine.waits or {}
                mine.waits = {**waits, MERGED: {**waits.get(MERGED, {}), **changes}}
                break
            scene = Scene(draft, row, changes, row.thread)
            if arm.when is None or holds(evaluate(arm.when, scene)):
                take_arm(draft, node, row, index, changes)
                left = left or not arm.stays
                break
    return left


def take_kept_merge(draft: Draft, node: Wait, row: OpenStep, index: int, arm: OnMerge) -> bool:
    """Takes an arm for data that was merged while the wait was halted. True when the wait has left."""
    changes = (row.waits or {}).get(MERGED)
    if changes is None:
        return False
    scene = Scene(draft, row, changes, row.thread)
    if arm.when is not None and not holds(evaluate(arm.when, scene)):
        return False
    row.waits = {place: value for place, value in row.waits.items() if place != MERGED}
    take_arm(draft, node, row, index, changes)
    return not arm.stays
