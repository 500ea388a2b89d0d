"""What must hold after every transition, whatever the process and the signal. See `check_run`.

Ownership of a token: `scope` > 0 is the number of the owning scope step, < 0 a thread (negated), 0 the root thread.
"""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from msgspec import json

from pelton.kernel.machine.draft import RESTING
from pelton.kernel.model.process import AtTime, Join, Node, OnEvent, Scope, Wait
from pelton.kernel.model.signals import Continue, Start
from pelton.kernel.model.state import END, START, Bit, Halt, OpenStep, RunStatus, State, Step, StepStatus, Thread, ThreadStatus
from pelton.kernel.model.transition import ContinueLater, Transition

if TYPE_CHECKING:
    from tests.kernel.memory import Rows
    from tests.kernel.world import World


def check_run(world: World, rows: Rows, change: Transition) -> None:
    head = rows.run
    ended = RunStatus(head.status).ended
    assert head.open == len(rows.open), f"head counts {head.open} open rows, there are {len(rows.open)}"
    # What a paused run or thread ends with rests until that is resumed, so it may have nothing open.
    rests = head.status == RunStatus.PAUSED or any(thread.resting is not None for thread in rows.threads.values())
    assert ended == (not rows.open) or (rests and not rows.open), f"{RunStatus(head.status).name}, {len(rows.open)} open"
    root = rows.threads.get(0)
    resting = root is not None and root.resting is not None
    assert resting == bool(head.flags & RESTING)
    assert not resting or head.status == RunStatus.PAUSED, f"an end rests in a run that is {RunStatus(head.status).name}"
    assert head.status != RunStatus.EXPECTED
    assert (head.ended > 0) == ended
    if ended:
        assert not rows.timers, f"an ended run has timers: {rows.timers}"
        assert not rows.keys, f"an ended run has wait keys: {rows.keys}"
        assert not any(isinstance(effect, ContinueLater) for effect in change.effects), "an ended run is to be resumed"
    assert len(head.voids) <= 8
    if world.thorough:
        touched = list(rows.open.values())
        check_owners(world, rows)
        check_leftovers(rows)
        check_threads(world, rows)
        check_times(world, rows)
        check_places(world, rows)
    else:
        touched = [rows.open[row.n] for row in [*change.opened, *change.changed] if row.n in rows.open]
    for step in change.ended:
        check_step(world, step)
    for row in touched:
        assert row.n < head.next_n
        assert row.n != 0
        assert row.run == head.key
        check_way_out(world, rows, row)
    check_record(world, rows)


def check_record(world: World, rows: Rows) -> None:
    """Each value holds from when the one before ended, and what is found by attributes is what the current one says."""
    rules = world.definitions[rows.run.definition].records
    if rules is None:
        assert rows.record is None
        return
    values = [*(record for record, _ in rows.past), *([rows.record] if rows.record is not None else [])]
    ends = [until for _, until in rows.past]
    assert values, "a run that keeps a record has none and had none"
    assert [record.number for record in values] == list(range(1, len(values) + 1))
    assert all(record.run == rows.run.key for record in values)
    assert all(record.live == rules.live(record.body) for record in values)
    assert [record.since for record in values[1:]] == ends[: len(values) - 1], "values do not follow one another without a gap"
    assert all(record.since < until for record, until in rows.past), "a value that never held"
    for before, after in pairwise(values):
        assert exactly(before.body) != exactly(after.body), f"value {after.number} is the one before once more"
    wanted = set(rules.attributes(rows.record.body)) if rows.record is not None else set()
    assert rows.attributes == wanted, f"found by {rows.attributes}, its record says {wanted}"


def exactly(body: Any) -> bytes:
    """True is not 1 in a document, and 1 is not 1.0; the order of members is nothing."""
    return json.encode(body, order="sorted")


def check_places(world: World, rows: Rows) -> None:
    """A place of a thread is that of one step and its attempts, and the thread goes on behind the last."""
    if not world.definitions[rows.run.definition].positions:
        return
    places: dict[tuple[int, int], OpenStep | Step] = {}
    for row in rows.steps():
        if row.slot in {START, END} or (row.position < 0 and not places):
            continue  # also what an earlier version opened, which counted none
        assert row.position >= 0, f"step {row.n} at {row.slot} has no place"
        before = places.get((row.thread, row.position))
        assert before is None or (before.slot == row.slot and before.bits & Bit.RETRIED), f"{before} and {row} share a place"
        places[row.thread, row.position] = row
        assert row.position < rows.threads[row.thread].position


def check_counters(world: World) -> None:
    """A run counts its children by what their records are counted as."""
    wanted: dict[int, Counter[str]] = {}
    for rows in world.runs.values():
        rules = world.definitions[rows.run.definition].records
        if rows.run.parent in world.runs and rules is not None and rules.counted is not None and rows.record is not None:
            kind = rules.counted(rows.record.body)
            if kind:
                wanted.setdefault(rows.run.parent, Counter())[kind] += 1
    for _, signal in world.later:
        if isinstance(signal, Start) and signal.parent and not signal.parent_n:
            wanted.setdefault(signal.parent, Counter())[""] += 1
    for key in world.runs:
        assert world.counts(key) == wanted.get(key, {}), (
            f"run {key} counts {world.counts(key)}, its children are {wanted.get(key)}"
        )


def check_step(world: World, step: Step) -> None:
    StepStatus(step.status)
    assert step.ended <= world.now
    assert step.opened <= step.ended
    assert step.first <= step.opened


def threads_of(world: World, rows: Rows, row: OpenStep) -> bool:
    """Whether a scope's body runs in threads: then it counts those, not tokens."""
    node = node_of(world, rows, row)
    return isinstance(node, Scope) and (node.parallel or node.thread)


def check_owners(world: World, rows: Rows) -> None:
    """Every open row is counted once in its owner."""
    inside = Counter(row.scope for row in rows.open.values())
    for owner in inside:
        if owner > 0:
            row = rows.open.get(owner)
            assert row is not None, f"tokens in scope {owner}, which is not open"
            assert row.state == State.SCOPE
    for row in rows.open.values():
        if row.state == State.SCOPE and threads_of(world, rows, row):
            live = live_threads(rows, row.n)
            assert row.left == len(live), f"scope {row.n} {row.slot} counts {row.left} threads, live are {live}"
        elif row.state == State.SCOPE:
            assert row.left == inside[row.n], (
                f"scope {row.n} {row.slot} counts {row.left} tokens inside, there are {inside[row.n]}"
            )
        if row.scope < 0:
            thread = rows.threads.get(-row.scope)
            assert thread is not None, f"{row} is owned by a thread that has no row"
            assert row.thread == -row.scope
            assert thread.status < ThreadStatus.COMPLETED, f"{row} is open in a thread that has ended"
        elif row.scope == 0:
            assert row.thread == 0
    children = Counter(thread.parent for thread in rows.threads.values() if thread.no and not ThreadStatus(thread.status).ended)
    for thread in rows.threads.values():
        if thread.no:
            assert thread.open == inside[-thread.no], f"thread {thread.no} counts {thread.open}, there are {inside[-thread.no]}"
        if not RunStatus(rows.run.status).ended and not ThreadStatus(thread.status).ended:
            assert thread.children == children[thread.no], (
                f"thread {thread.no}: {thread.children} children, {children[thread.no]} live"
            )
        if thread.reasons and not ThreadStatus(thread.status).ended and not RunStatus(rows.run.status).ended:
            assert thread.status in {ThreadStatus.HALTING, ThreadStatus.HALTED}, f"{thread} has reasons and runs"
        assert len(set(thread.reasons)) == len(thread.reasons)


def check_threads(world: World, rows: Rows) -> None:
    """Every thread has something to do, something to wait for, or has ended with all that was in it."""
    if RunStatus(rows.run.status).ended:
        alive = [thread.no for thread in rows.threads.values() if thread.no and not ThreadStatus(thread.status).ended]
        assert not alive, f"the run has ended, its threads {alive} have not"
        return
    tokens = Counter(row.thread for row in rows.open.values())
    for thread in rows.threads.values():
        if ThreadStatus(thread.status).ended:
            assert thread.resting is None, f"thread {thread.no} has ended, and an end rests in it"
            assert not tokens[thread.no], f"thread {thread.no} has ended, {tokens[thread.no]} rows are open in it"
            continue
        if thread.no:
            handled = any(kind in {Halt.HANDLING, Halt.INTERRUPTED} for kind, _ in thread.reasons)
            paused = (Halt.OPERATOR, 0) in thread.reasons
            assert paused or thread.resting is None, f"an end rests in thread {thread.no}, which is not paused"
            assert tokens[thread.no] or handled or paused or rows.run.flags & RESTING, f"thread {thread.no} lives without a token"
            assert not thread.owner or thread.owner in rows.open, f"thread {thread.no} lives, its owner {thread.owner} does not"
            check_halted_from_above(rows, thread)
        check_halting(world, rows, thread)
        for kind, by in thread.reasons:
            if kind == Halt.NOT_YET:
                assert rows.threads[by].busy, f"thread {thread.no} waits for thread {by}, which is at rest"
            elif kind in {Halt.HANDLING, Halt.INTERRUPTED}:
                handler = rows.threads.get(by)
                assert handler is not None, f"thread {thread.no} is halted by thread {by}, which does not exist"
                assert not ThreadStatus(handler.status).ended, f"thread {thread.no} is halted by thread {by}, which has ended"


def check_halting(world: World, rows: Rows, thread: Thread) -> None:
    """A thread is halting as long as something in it is let finish, or a child of it does not stand still."""
    if not thread.reasons:
        return
    due = [row.n for row in rows.open.values() if row.thread == thread.no and must_finish(world, rows, row)]
    moving = [t.no for t in rows.threads.values() if t.parent == thread.no and t.no and moves_on(rows, t)]
    what = f"thread {thread.no} is {ThreadStatus(thread.status).name}, counts {thread.busy}: let finish {due}, moving {moving}"
    assert thread.busy == len(due) + len(moving), what
    assert thread.busy or thread.status == ThreadStatus.HALTED, what


def moves_on(rows: Rows, thread: Thread) -> bool:
    """Whether the parent of a thread has to wait until it stands still."""
    live = not ThreadStatus(thread.status).ended
    return live and thread.handles not in {"failure", "interrupt"} and not stands_still(rows, thread)


def stands_still(rows: Rows, thread: Thread) -> bool:
    handlers = [rows.threads[by] for kind, by in thread.reasons if kind in {Halt.HANDLING, Halt.INTERRUPTED}]
    return thread.status == ThreadStatus.HALTED and all(stands_still(rows, handler) for handler in handlers)


def check_halted_from_above(rows: Rows, thread: Thread) -> None:
    """What halts a thread halts those that it started, but not who handles its failure or its interrupt. A paused run stands."""
    above = rows.threads[max(thread.parent, 0)]
    assert not ThreadStatus(above.status).ended, f"thread {thread.no} lives, its parent {above.no} does not"
    handles = thread.handles in {"failure", "interrupt"}
    handling = {Halt.HANDLING, Halt.INTERRUPTED} if handles else set()
    applying = any(reason[0] not in handling for reason in above.reasons)
    halted = (Halt.PARENT, above.no) in thread.reasons
    assert halted == applying, f"thread {thread.no} is {thread.reasons}, thread {above.no} above it {above.reasons}"
    if handles and not any(kind == Halt.NOT_YET for kind, _ in thread.reasons):
        assert above.status == ThreadStatus.HALTED, f"thread {thread.no} handles what thread {above.no} has not yet halted for"
    if rows.run.status == RunStatus.PAUSED:
        assert thread.reasons, f"thread {thread.no} runs in a paused run"


def must_finish(world: World, rows: Rows, row: OpenStep) -> bool:
    node = node_of(world, rows, row)
    working = row.state in {State.WORK, State.CALL, State.EMIT} and not row.bits & Bit.THREAD
    return working and node is not None and node.on_halt == "finish"


def check_leftovers(rows: Rows) -> None:
    """What belongs to a step goes with it."""
    for n, arm in rows.timers:
        if n:
            row = rows.open.get(n)
            assert row is not None, f"a timer {arm} of {n}, which is not open"
            assert row.bits & Bit.TIMED, f"a timer {arm} of {n}, which does not know it"
    for n, name, _ in rows.keys:
        row = rows.open.get(n)
        assert row is not None, f"{n} waits for {name} but is not open"
        assert row.bits & Bit.KEYED


def node_of(world: World, rows: Rows, row: OpenStep) -> Node | None:
    """Found by what the row says of its node; of parked tokens, which are named where they came from, also around there."""
    process = world.definitions[rows.run.definition]
    acquired = world.acquired(rows, row.fragment) if row.fragment else None
    assert acquired is not None or not row.fragment, f"{row} is part of a fragment that is gone"
    while acquired is not None:
        if row.slot in acquired.fragment.nodes:
            return acquired.fragment.nodes[row.slot]
        assert row.n < 0, f"{row} is not part of its fragment"
        acquired = world.acquired(rows, acquired.parent) if acquired.parent else None
    unmarked = [each.fragment for n in rows.fragments if (each := world.acquired(rows, n)) is not None]
    return process.nodes.get(row.slot) or next((each.nodes[row.slot] for each in unmarked if row.slot in each.nodes), None)


def check_way_out(world: World, rows: Rows, row: OpenStep) -> None:
    """Every open row has a way to end."""
    node = node_of(world, rows, row)
    halted = row.thread in rows.threads and bool(rows.threads[row.thread].reasons)
    match row.state:
        case State.WORK:
            assert row.queue, f"work of no queue: {row}"
            assert not row.lease or row.polls > 0
        case State.WAIT:
            assert halted or wait_can_end(rows, row, node), f"a wait for nothing: {row}"
        case State.JOIN:
            check_join(world, rows, row, node)
        case State.SCOPE:
            assert row.left > 0 or rows.run.flags & RESTING, f"a scope with nothing inside: {row}"
            assert isinstance(node, Scope)
        case State.CALL:
            if row.bits & Bit.THREAD:
                thread = rows.threads.get(row.child)
                assert thread is not None
                assert not ThreadStatus(thread.status).ended or halted, f"a call of a thread that has ended: {row}"
            else:
                assert row.child, f"a call of nothing: {row}"
        case State.EMIT:
            assert node is not None
        case State.PARKED:
            assert row.n < 0
            resumes = halted or any(key == rows.key and isinstance(signal, Continue) for key, signal in world.later)
            assert resumes, f"parked for ever: {row}"
        case _:
            raise AssertionError(f"no such state: {row}")


def wait_can_end(rows: Rows, row: OpenStep, node: Node | None) -> bool:
    if row.bits & Bit.AWAITS_THREADS:
        return any(not ThreadStatus(thread.status).ended for thread in rows.threads.values() if thread.parent == row.thread)
    if not isinstance(node, Wait):
        return True
    if any(not isinstance(arm, AtTime | OnEvent) for arm in node.arms):
        return True
    if any(isinstance(arm, OnEvent) and arm.key is None for arm in node.arms):
        return True
    return any(n == row.n for n, _ in rows.timers) or any(n == row.n for n, _, _ in rows.keys)


def live_threads(rows: Rows, owner: int) -> list[Any]:
    return [thread for thread in rows.threads.values() if thread.owner == owner and not ThreadStatus(thread.status).ended]


def check_join(world: World, rows: Rows, row: OpenStep, node: Node | None) -> None:
    assert isinstance(node, Join)
    if rests(rows, row.thread):
        return  # what failed is not counted: the join goes with what owns it
    assert row.left > 0, f"a join that awaits nothing: {row}"
    if node.threads is not None or (not world.thorough and len(node.on) > 100):
        return
    slots = node.on
    for n in [row.k] if row.bits & Bit.DYNAMIC else [] if row.k else list(rows.fragments):
        acquired = world.acquired(rows, n)
        assert acquired is not None
        slots = acquired.fragment.joins.get(node.name, slots)
    final = 0
    for slot in slots:
        found = newest_counted(rows, row, rows.places.get((slot, row.scope, row.it), []))
        final += isinstance(found, Step) and not found.bits & Bit.RETRIED
    total = len(slots)
    want = total if node.rule == "all" else min(node.count if node.rule == "count" else 1, total)
    assert row.left == want - final, f"join {row.slot} counts {row.left}, {want} are wanted and {final} have ended"


def rests(rows: Rows, no: int) -> bool:
    """Whether a thread, or the run, ends when it is resumed."""
    thread = rows.threads.get(no)
    return bool(rows.run.flags & RESTING) or (thread is not None and thread.resting is not None)


def newest_counted(rows: Rows, join: OpenStep, numbers: list[int]) -> OpenStep | Step | None:
    """The newest of these steps that passed the same fork as the join, at the same time."""
    for n in reversed(numbers):
        step = rows.row(n)
        fragment = join.k if join.bits & Bit.DYNAMIC else join.fragment
        if step is not None and step.fragment == fragment and (not join.k or passed(rows, join.k, step)):
            return step
    return None


def passed(rows: Rows, fork: int, step: OpenStep | Step) -> bool:
    found = step.fork
    while found > fork:
        above = rows.row(found)
        if above is None:
            return True  # in a silent fork whose join is still to be opened
        found = above.fork
    return found == fork


def check_times(world: World, rows: Rows) -> None:
    """What a step is to be woken at has a timer of the same epoch, and every timer of a step is one that it knows of."""
    for row in rows.open.values():
        node = node_of(world, rows, row)
        halted = row.thread in rows.threads and bool(rows.threads[row.thread].reasons)
        for arm, due in (row.times or {}).items():
            known = rows.timers.get((row.n, arm))
            if due.at and not halted and not (arm == "queue" and row.started):
                assert known == (due.epoch, due.at), f"{row.slot} is to be woken by {arm!r} at {due.at}, its timer is {known}"
            assert known is None or node is None or known[0] <= due.epoch, f"a timer of {arm!r} that is not there yet: {known}"
