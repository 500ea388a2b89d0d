"""Taking a finished run back: retry what failed, start over, or run again from one step.

A rewind opens a new era. Numbers that it takes back become a void range of the head, which every slot read skips; nothing is
deleted. Joins, scopes and calls that ended because of what is undone are reopened under their own numbers; steps that
failed get a new attempt. Tokens that were in transit when the run ended, and so left no trace, are found by looking for
successful steps that lead to nothing (`regrow`).

Cost: reads the run's steps once, at most MOST; an operator's action, never part of a run's own course.
"""

from __future__ import annotations

from copy import copy

from msgspec import to_builtins

from pelton.errors import Code
from pelton.kernel.machine.draft import Draft, Refusal, ScopeEmptied, Token, token_at
from pelton.kernel.machine.legality import UNSUCCESSFUL, change_run, change_thread
from pelton.kernel.machine.records import current_record
from pelton.kernel.machine.tokens.flow import awaited, count_join, leave, needed, open_branches, passage
from pelton.kernel.machine.tokens.lifecycle import enter_root, set_deadline
from pelton.kernel.model.process import Assign, Choice, End, Fork, Join, Node, Raise, targets
from pelton.kernel.model.reads import EndedKey, ProcessKey
from pelton.kernel.model.signals import ChildReopened, Rewind
from pelton.kernel.model.state import END, START, Bit, OpenStep, RunStatus, State, Step, StepStatus, ThreadStatus
from pelton.kernel.model.transition import Purge, SignalRun

MOST = 10_000  # steps that a rewind looks at
MOST_VOIDS = 8
DEALT_WITH = int(Bit.RETRIED | Bit.HANDLED)


def rewind(draft: Draft, signal: Rewind) -> None:
    if signal.to == "failed":
        retry_failed(draft, signal.children)
    elif signal.to == "start":
        restart(draft, signal)
    elif signal.to == "step":
        rerun(draft, signal)
    else:
        raise Refusal(Code.INVALID, f'a rewind goes to "failed", "start" or "step", not to {signal.to!r}')


def reopen_run(draft: Draft, definition: int = 0) -> None:
    """Reopens the head of a finished run, in a new era."""
    head = draft.head
    if draft.process.records is not None and current_record(draft) is None:
        raise Refusal(Code.NOT_FOUND, "the run's record has been deleted, so it cannot be reopened")
    if definition and definition != head.definition:
        process = draft.reads.answer(ProcessKey(definition))
        if process is None:
            raise Refusal(Code.NOT_FOUND, "the version to continue with does not exist")
        draft.process = process
        head.definition = definition
    change_run(head, RunStatus.RUNNING)
    head.ended, head.deferred = 0, 0
    head.era += 1
    head.retried = draft.now
    if head.parent and head.parent_n:
        draft.effects.append(SignalRun(head.parent, ChildReopened(n=head.parent_n, child=head.key, era=head.era)))
    root = draft.thread(0)
    if root is not None:
        root = draft.edit_thread(0)
        root.reasons, root.children = (), 0
        if root.status != ThreadStatus.RUNNING:
            change_thread(root, ThreadStatus.RUNNING)


def void_from(draft: Draft, low: int) -> None:
    """Numbers from `low` on are taken back."""
    head = draft.head
    high = head.next_n
    kept = [(a, min(b, low)) for a, b in head.voids if a < low]
    if kept and kept[-1][1] == low:
        kept[-1] = (kept[-1][0], high)
    else:
        kept.append((low, high))
    while len(kept) > MOST_VOIDS:
        a, b = kept.pop(0)
        draft.effects.append(Purge(a, b))
    head.voids = tuple(kept)


def replace_start(draft: Draft, signal: Rewind) -> None:
    if signal.input is None and signal.meta is None:
        return
    start = draft.newest(START)
    assert isinstance(start, Step)
    start = copy(start)
    if signal.input is not None:
        start.output = signal.input
    if signal.meta is not None:
        start.input = to_builtins(signal.meta) or None
    rewrite(draft, start)


def rewrite(draft: Draft, step: Step) -> None:
    """An ended step of the store is replaced."""
    draft.reopened.add(step.n)
    last = draft.last
    draft.record(step)
    draft.last = last


def restart(draft: Draft, signal: Rewind) -> None:
    reopen_run(draft, signal.definition)
    draft.cut = 1
    replace_start(draft, signal)
    void_from(draft, 1)
    draft.first = draft.head.next_n
    draft.last = None
    enter_root(draft)


# ---- from one step


def rerun(draft: Draft, signal: Rewind) -> None:
    target = draft.step(signal.n) if signal.n else None
    if not isinstance(target, Step) or target.slot in (START, END):
        raise Refusal(Code.NO_STEP, f"the run has no step {signal.n}")
    steps = survivors(draft, 1, signal.n)
    frames = frames_of(draft, target)
    cut_off = cancelled(steps, frames)
    refuse_threads(cut_off)
    reopen_run(draft, signal.definition)
    if target.slot not in draft.process.nodes and not draft.all_fragments():
        raise Refusal(Code.INVALID, f"version {draft.process.version} of {draft.process.name!r} has no step {target.slot!r}")
    draft.cut = signal.n
    replace_start(draft, signal)
    void_from(draft, signal.n + 1)
    set_deadline(draft)
    for frame, it in reversed(frames):
        reopen_row(draft, frame, k=it)
    reenter(draft, target, signal)
    for step in cut_off:
        if step.state in (State.JOIN, State.SCOPE):
            reopen_row(draft, step)
        else:
            new_attempt(draft, step)
    regrow(draft, [s for s in steps if s.n not in draft.reopened], target)
    recount(draft)


def cancelled(steps: list[Step], frames: list[tuple[Step, int]]) -> list[Step]:
    """Other steps that the end of the run cut off: what waits for them would wait forever."""
    places = {0: 0} | {frame.n: it for frame, it in frames}
    newest = {(step.slot, step.scope, step.it): step for step in steps}
    found: list[Step] = []
    for step in newest.values():
        if step.status != StepStatus.CANCELED or step.bits & DEALT_WITH or step.n in places:
            continue
        if places.get(step.scope) == step.it or step.thread:
            found.append(step)
            if step.state == State.SCOPE:
                places[step.n] = step.k
    return sorted(found, key=lambda step: step.n)


def survivors(draft: Draft, low: int, high: int) -> list[Step]:
    """Ended steps with these numbers, ascending. Raises Refusal when there are too many."""
    steps: list[Step] = list(draft.reads.answer(EndedKey(low, high, MOST + 1)))
    if len(steps) > MOST:
        raise Refusal(Code.INVALID, f"the run has more than {MOST} steps; restart it instead")
    steps.sort(key=lambda step: step.n)
    draft.survivors = {(step.slot, step.scope, step.it): step for step in steps}
    return steps


def frames_of(draft: Draft, step: Step) -> list[tuple[Step, int]]:
    """The scope steps that contain a step, innermost first, each with the iteration that the step belongs to."""
    frames: list[tuple[Step, int]] = []
    scope, it = step.scope, step.it
    while scope > 0:
        above = draft.step(scope)
        if not isinstance(above, Step):
            raise Refusal(Code.NO_STEP, f"the iteration of step {step.n} is no longer kept")
        frames.append((above, it))
        scope, it = above.scope, above.it
    if scope < 0:
        raise Refusal(Code.INVALID, "a run cannot be rerun from a step inside a thread; name the step that started the thread")
    return frames


def reopen_row(draft: Draft, step: Step, k: int | None = None) -> OpenStep:
    """An ended step is open again under its own number; the token counts in its owner."""
    row = OpenStep(
        run=step.run,
        n=step.n,
        slot=step.slot,
        state=step.state,
        scope=step.scope,
        it=step.it,
        thread=step.thread,
        attempt=step.attempt,
        previous=step.previous,
        opened=step.opened,
        updated=draft.now,
        first=step.first,
        input=step.input,
        output=step.output if step.state == State.SCOPE else None,
        k=step.k if k is None else k,
        child=step.child,
        started=step.started,
        bits=step.bits & int(Bit.THREAD | Bit.BUILT_IN),
        fork=step.fork,
        fragment=step.fragment,
    )
    draft.reopened.add(step.n)
    draft.ended.pop(step.n, None)
    draft.add(row)
    draft.grow(step.scope)
    return row


def reenter(draft: Draft, target: Step, signal: Rewind) -> None:
    """Enters the named step again, under its own number."""
    draft.reopened.add(target.n)
    draft.grow(target.scope)
    draft.reuse = target.n
    draft.given = signal.step_input
    # What it publishes must not look like a repeat of what it published before.
    attempt = target.attempt + 1 if target.state == State.EMIT else 0
    origin = target.k if target.state == State.JOIN else 0
    draft.worklist.append(token_at(target, target.slot)._replace(attempt=attempt, origin=origin))


# ---- what failed


def retry_failed(draft: Draft, children: bool) -> None:
    steps = survivors(draft, 1, draft.head.next_n)
    newest: dict[tuple[str, int, int], Step] = {}
    for step in steps:
        if step.slot != END:
            newest[step.slot, step.scope, step.it] = step
    bad = unforgiven([s for s in newest.values() if s.status in UNSUCCESSFUL and not s.bits & DEALT_WITH])
    if not bad:
        raise Refusal(Code.NOTHING_TO_RETRY, "no step of the run has failed or was cancelled")
    refuse_threads(bad)
    reopen_run(draft)
    draft.cut = draft.head.next_n
    set_deadline(draft)
    drop_end(draft, steps)
    owners = [s for s in bad if s.state in (State.JOIN, State.SCOPE)]
    for step in sorted(owners, key=lambda s: s.n):
        reopen_row(draft, step)
    for step in sorted(bad, key=lambda s: s.n):
        if step in owners:
            continue
        if step.state == State.CALL and children and step.child and not step.bits & Bit.THREAD:
            reopen_row(draft, step)
            draft.effects.append(SignalRun(step.child, Rewind(to="failed", children=True, strict=False)))
        else:
            new_attempt(draft, step)
    regrow(draft, [s for s in steps if s.n not in draft.reopened], None)
    recount(draft)


def unforgiven(bad: list[Step]) -> list[Step]:
    """Without the steps inside scopes that ended successfully even so. Ascending."""
    kept: dict[int, Step] = {}
    for step in sorted(bad, key=lambda s: s.n):
        if step.scope <= 0 or step.scope in kept:
            kept[step.n] = step
    return list(kept.values())


def refuse_threads(bad: list[Step]) -> None:
    """Refuses what was open inside threads when the run ended: it cannot be restored."""
    for step in bad:
        if step.thread or step.bits & Bit.THREAD:
            raise Refusal(
                Code.INVALID,
                f"step {step.slot!r} was open in a thread when the run ended; restart the run, or rerun it from an earlier step",
            )


def revive(draft: Draft, signal: ChildReopened) -> None:
    """A child was reopened: reopens the call that had ended, and with it this run."""
    step = draft.step(signal.n)
    if not isinstance(step, Step) or step.child != signal.child:
        raise Refusal(Code.STEP_ENDED, "the calling step is open, or has a different child now")
    steps = survivors(draft, 1, draft.head.next_n)
    newest = {(s.slot, s.scope, s.it): s for s in steps if s.slot != END}
    bad = unforgiven([s for s in newest.values() if s.status in UNSUCCESSFUL and not s.bits & DEALT_WITH])
    # A call that succeeded, or was forgiven, has released its token: it cannot do so twice.
    if step.n not in {s.n for s in bad}:
        raise Refusal(Code.NOT_ENDED, "the caller has moved on without this child")
    refuse_threads([step, *bad])
    reopen_run(draft)
    draft.cut = draft.head.next_n
    set_deadline(draft)
    drop_end(draft, steps)
    bad = [s for s in bad if s.n != step.n]
    for other in bad:
        if other.state in (State.JOIN, State.SCOPE):
            reopen_row(draft, other)
    reopen_row(draft, step)
    for other in bad:
        if other.n not in draft.reopened:
            new_attempt(draft, other)
    regrow(draft, [s for s in steps if s.n not in draft.reopened], None)
    recount(draft)


def drop_end(draft: Draft, steps: list[Step]) -> None:
    """Takes back the step that recorded the end of the run."""
    for step in steps:
        if step.slot == END:
            draft.reopened.add(step.n)
            steps.remove(step)
            return


def new_attempt(draft: Draft, step: Step) -> None:
    old = copy(step)
    old.bits |= int(Bit.RETRIED)
    rewrite(draft, old)
    draft.grow(step.scope)
    token = token_at(step, step.slot)
    draft.worklist.append(token._replace(attempt=step.attempt + 1, previous=step.n, first=step.first))


def recount(draft: Draft) -> None:
    """Reopened joins count anew; scopes without a token decide whether to iterate."""
    for row in list(draft.open_rows.values()):
        if row.state == State.JOIN and not row.left:
            node = draft.node(row.slot)
            if isinstance(node, Join):
                row.bits &= ~int(Bit.OPTIONAL_FAILED | Bit.DEFERRED_FAILED)
                count_join(draft, node, row)
        elif row.state == State.SCOPE and not row.left:
            draft.worklist.append(ScopeEmptied(row.n))


# ---- lost tokens


def regrow(draft: Draft, steps: list[Step], target: Step | None) -> None:
    """Finds successful steps whose token moved on to something that was taken back, and moves it again."""
    places: dict[tuple[str, int, int], int] = {}
    for step in steps:
        places[step.slot, step.scope, step.it] = step.n
    for row in draft.open_rows.values():
        places[row.slot, row.scope, row.it] = max(row.n, places.get((row.slot, row.scope, row.it), 0))
    if target is not None:
        places[target.slot, target.scope, target.it] = target.n
    for item in draft.worklist:
        if isinstance(item, Token):
            places[item.node, item.scope, item.it] = draft.head.next_n
    live = {0, *(row.n for row in draft.open_rows.values() if row.state == State.SCOPE)}
    for step in steps:
        if step.n in draft.reopened or step.status in UNSUCCESSFUL or step.scope not in live:
            continue
        if step.scope > 0 and step.it != draft.open_rows[step.scope].k:
            continue
        node = draft.node(step.slot)
        if isinstance(node, Fork):
            regrow_fork(draft, node, step, places)
        elif isinstance(node, Join) and lacks_ends(draft, node, step):
            reopen_join(draft, node, step)
        elif not leads_on(draft, node, step, places):
            draft.grow(step.scope)
            leave(draft, node, step)


def regrow_fork(draft: Draft, node: Fork, step: Step, places: dict[tuple[str, int, int], int]) -> None:
    branches = node.branches or (draft.all_fragments()[node.name].branches if node.name in draft.all_fragments() else ())
    lost = [
        name
        for name in branches
        if not any(places.get((slot, step.scope, step.it), -1) > step.n for slot in first_traced(draft, name))
    ]
    draft.grow(step.scope, len(lost))
    open_branches(draft, branches, lost, token_at(step, step.slot)._replace(origin=step.n))


def lacks_ends(draft: Draft, node: Join, step: Step) -> bool:
    """Whether a finished join no longer has enough ends, after what was taken back."""
    slots = awaited(draft, node)
    ended = sum(isinstance(other, Step) and not other.bits & Bit.RETRIED for other in passage(draft, step, slots))
    return needed(node, len(slots), ended) > 0


def reopen_join(draft: Draft, node: Join, step: Step) -> None:
    row = reopen_row(draft, step)
    count_join(draft, node, row)


def leads_on(draft: Draft, node: Node, step: Step, places: dict[tuple[str, int, int], int]) -> bool:
    """Whether the way on from a step leads to a step that is still there."""
    if isinstance(node, End | Raise):
        return True
    names = {slot for name in ways(node) for slot in first_traced(draft, name)}
    if not names:
        return True
    return any(places.get((slot, step.scope, step.it), -1) > step.n for slot in names)


def ways(node: Node) -> list[str]:
    if isinstance(node, Choice | Fork):
        return targets(node)
    return [edge.to for edge in node.next if edge.to] + [rule.to for rule in node.on_failure if rule.action == "edge"]


def first_traced(draft: Draft, name: str) -> set[str]:
    """The traced nodes that a token at `name` may reach next, through silent ones."""
    found: set[str] = set()
    seen: set[str] = set()
    pending = [name]
    while pending:
        name = pending.pop()
        if name in seen:
            continue
        seen.add(name)
        node = draft.node(name)
        if node.trace or not isinstance(node, Choice | Assign | Fork):
            found.add(name)
        else:
            pending += targets(node)
    return found
