"""Waits: a step that rests until one of its arms is taken. Each arm leaves, or stays.

What arrives before the wait opens is held, and claimed here: for this run, or by correlation, under a (name, key) whose
rendezvous row both sides look up, so that neither can miss the other. A wait in a halted thread takes nothing but its times; what
comes for it meanwhile is kept.

`OpenStep.waits` of a wait: keys by arm, `?` and arm for a condition that stays and held when last looked at, data merged
while it was halted, and `copy:` and name and key for the sticky event that it has got.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from pelton.errors import Code
from pelton.kernel.expressions.base import in_words
from pelton.kernel.machine.draft import UNMARKED, Again, Draft, Refusal, Spawn, StepFailed, StepFailure
from pelton.kernel.machine.many import for_each, place_of
from pelton.kernel.machine.records import change_record
from pelton.kernel.machine.scene import Scene, evaluate
from pelton.kernel.machine.tokens.flow import assign, finish, holds
from pelton.kernel.machine.tokens.held import claim, events_for, take_copy
from pelton.kernel.machine.tokens.limits import restart
from pelton.kernel.machine.tokens.queues import take_again, tell_taker
from pelton.kernel.machine.tokens.times import AGAIN, clock, drop_time, move_times, set_time, time_of
from pelton.kernel.model.process import AtTime, OnCondition, OnEvent, OnMerge, OnTrigger, Take, Wait, variables_of
from pelton.kernel.model.reads import Missing
from pelton.kernel.model.state import FRAGMENTED, Bit, OpenStep, State, StepStatus
from pelton.kernel.model.transition import CloseCorrelations, OpenCorrelation

MERGED = "merged"

MOST_TRACED = 100  # arms of which a refused trigger says why


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
    key = ""
    if arm.key is not None:
        key = str(evaluate(arm.key, scene))
        row.bits |= Bit.KEYED
        row.waits = {**(row.waits or {}), str(index): key}
        draft.effects.append(OpenCorrelation(row.n, arm.event, key, row.started if arm.offers is not None else 0))
    for held, counted in events_for(draft, row, index, arm):
        if held.sticky:
            take_copy(draft, row, held, held.id)
        else:
            claim(draft, held, row.n, counted=counted)
        take_arm(draft, node, row, index, held.body)
        if not arm.stays:
            return True
    if arm.key is not None and arm.offers is not None:
        tell_taker(draft, arm.event, key)
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
    elif isinstance(node, Take):
        take_again(draft, node, row)
        if row.n not in draft.open_rows:
            return
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
        every = arm.every if isinstance(arm.every, int) else int(evaluate(arm.every, scene) or 0)
        if every:
            due = time_of(row, str(index))
            set_time(draft, row, str(index), draft.now + every, after=due.after, fixed=due.fixed)
        row.due = soonest(row)


def wait_pages(draft: Draft, kind: str, name: str) -> Iterator[list[OpenStep]]:
    """The waits that have an arm of this kind and name (see Process.arms), by thread and number, in pages. In a run with nodes
    that its process lacks these may be among them, so there all that is open is looked at."""
    if draft.head.flags & (FRAGMENTED | UNMARKED):
        yield sorted((row for row in draft.all_open() if row.n > 0), key=place_of)
    else:
        yield from draft.wait_pages(draft.process.arms.get((kind, name), ()))


def open_waits(draft: Draft, kind: str, name: str) -> Iterator[list[tuple[Wait, OpenStep]]]:
    """Those of them that may be taken: open, in threads that are not halted."""
    for page in wait_pages(draft, kind, name):
        found = for_each(page, lambda row: still_open(draft, row))
        yield [pair for pair in found if pair is not None]


def still_open(draft: Draft, row: OpenStep) -> tuple[Wait, OpenStep] | None:
    """A wait that was read, as it is now; None when it can no longer be taken."""
    return None if draft.halted(row.thread) else waiting_at(draft, row)


def waiting_at(draft: Draft, row: OpenStep) -> tuple[Wait, OpenStep] | None:
    """The same, whether or not its thread is halted."""
    mine = draft.open_rows.get(row.n)
    if mine is None:
        if row.n in draft.closed or row.n >= draft.first:
            return None
        mine = row
    if mine.state != State.WAIT or mine.bits & (Bit.AWAITS_THREADS | Bit.AGAIN):
        return None
    node = draft.node_of(mine)
    return (node, mine) if isinstance(node, Wait) else None


def first_that(pairs: Iterable[tuple[Wait, OpenStep]], take: Callable[[Wait, OpenStep], bool]) -> bool:
    """Offers something to each wait of a page until one takes it. Where something has not been read the others of the page are
    tried too, so that all of it is asked for at once; but none after such a one may take anything."""
    missing: list[Any] = []
    for node, row in pairs:
        try:
            if take(node, row):
                break
        except Missing as more:
            missing += more.keys
        except Exception:
            if not missing:
                raise
            break
    else:
        if not missing:
            return False
    if missing:
        raise Missing(*dict.fromkeys(missing))
    return True


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

    def take(node: Wait, row: OpenStep) -> bool:
        nonlocal known
        for index, arm in enumerate(node.arms):
            if not isinstance(arm, OnTrigger) or arm.trigger != name:
                continue
            known = True
            scene = Scene(draft, row, changes, row.thread)
            refusals = [text for check in arm.checks if (text := evaluate(check, scene))]
            if refusals:
                trace.extend({"arm": index, "check": text} for text in refusals[: MOST_TRACED - len(trace)])
                continue
            if arm.guard is not None:
                value = evaluate(arm.guard, scene)
                if not holds(value):
                    if len(trace) < MOST_TRACED:
                        why = getattr(arm.guard, "why", None)
                        entry = {"arm": index, "guard": getattr(arm.guard, "text", ""), "value": value}
                        trace.append(entry if why is None else {**entry, "why": why(scene)})
                    continue
            take_arm(draft, node, row, index, changes)
            return True
        return False

    for page in open_waits(draft, "trigger", name):
        if first_that(page, take):
            return
    if not known:
        raise Refusal(Code.GUARD, f"trigger {name!r} leads nowhere from {whereabouts(draft)}", trace)
    raise Refusal(Code.GUARD, f"trigger {name!r} is not allowed in the present state: {refusal_texts(trace)}", trace)


def whereabouts(draft: Draft) -> str:
    """Where the run waits, for people: the first few places."""
    waits = [name for name, node in draft.process.nodes.items() if isinstance(node, Wait)]
    page = next(draft.wait_pages(waits), [])
    found = [row.slot for row in page if still_open(draft, row) is not None]
    return ", ".join(repr(slot) for slot in found) or "nothing open"


def refusal_texts(trace: list[Any]) -> str:
    """Why the arms of a trigger were not taken, for people."""
    found: list[str] = []
    for each in trace:
        why = each.get("why") or {}
        text = each.get("check") or why.get("message")
        if not text:
            parts = [f"{part[:100]} saw {in_words(value)}" for part, value, result in why.get("trace", ()) if not result]
            text = f"the guard {each['guard']!r} does not hold" + (f" ({', '.join(parts)})" if parts else "")
        found.append(text)
    return "; ".join(dict.fromkeys(found))[:1000]


def check_conditions(draft: Draft) -> None:
    """Checks the waits whose conditions, or times, read a variable that was written."""
    written = {name for _, name in draft.variables}
    names: dict[int, set[str]] = {}
    for no, name in draft.variables:
        slots = draft.process.conditions.get(name)
        if slots:
            names.setdefault(no, set()).update(slots)

    def look(row: OpenStep) -> None:
        pair = waiting_at(draft, row)
        if pair is not None:
            look_again(draft, *pair, written)

    for_each(readers(draft, names), look)


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


def readers(draft: Draft, names: dict[int, set[str]]) -> Iterator[OpenStep]:
    """The open steps at given slots of given threads and of those below them, by thread and number."""
    live: dict[int, set[str]] = {}
    for no, slots in names.items():
        live.setdefault(first_live(draft, no), set()).update(slots)
    if 0 in live:
        for page in draft.wait_pages(live.pop(0)):
            yield from page
    seen: set[tuple[int, str]] = set()
    todo = deque(sorted(live.items()))
    while todo:
        no, slots = todo.popleft()
        slots = {slot for slot in slots if (no, slot) not in seen}
        seen.update((no, slot) for slot in slots)
        if slots:
            yield from (row for row in draft.rows_of(no) if row.slot in slots and row.n > 0)
            todo.extend((child.no, slots) for child in draft.child_threads(no))


def first_live(draft: Draft, no: int) -> int:
    """The thread, or when it has ended, the first above it that has not: what sees its variables is below that."""
    thread = draft.thread(no) if no > 0 else None
    while thread is not None and thread.no > 0 and not thread.live:
        no = max(thread.parent, 0)
        thread = draft.thread(no) if no > 0 else None
    return no


def take_merge_arms(draft: Draft, changes: dict[str, Any]) -> bool:
    """Offers merged data to the waits; a halted one keeps it for when it resumes. True when a wait has left because of it."""
    rows = (row for page in wait_pages(draft, "merge", "") for row in page)
    return any(for_each(rows, lambda row: offer_merge(draft, row, changes)))


def offer_merge(draft: Draft, row: OpenStep, changes: dict[str, Any]) -> bool:
    """True when the wait has left because of it."""
    pair = waiting_at(draft, row)
    if pair is None:
        return False
    node, row = pair
    for index, arm in enumerate(node.arms):
        if not isinstance(arm, OnMerge):
            continue
        if draft.halted(row.thread):
            mine = draft.edit(row)
            waits = mine.waits or {}
            mine.waits = {**waits, MERGED: {**waits.get(MERGED, {}), **changes}}
            return False
        scene = Scene(draft, row, changes, row.thread)
        if arm.when is None or holds(evaluate(arm.when, scene)):
            take_arm(draft, node, row, index, changes)
            return not arm.stays
    return False


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
