"""What is left of a run where its tokens stood, read by index: the newest step of each place of what was still going on.

A frame is one owner of tokens: the root thread, another thread, or one iteration of a scope. Frames are read from the outside in,
and only those that matter: of a loop of 20,000 iterations the last one, of a scope that ended well none, unless what is taken
back has been inside it.

Cost: as many reads as the frames have nodes, whatever the length of the run; two rounds of reads for each level of nesting.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pelton.errors import Code
from pelton.kernel.machine.draft import Draft, Refusal
from pelton.kernel.machine.many import for_each
from pelton.kernel.machine.nearest import started_by
from pelton.kernel.machine.rewind.threads import HALTS, Lineage, restorable
from pelton.kernel.machine.rewind.ways import (
    body_slots,
    dropped_nodes,
    first_steps,
    is_dropped,
    is_dynamic,
    is_put_off,
    is_unfinished,
    merges_of,
    scope_body,
)
from pelton.kernel.model.reads import Missing, NewestBelowKey, PlaceBelowKey
from pelton.kernel.model.state import END, START, Bit, OpenStep, State, Step, StepStatus, Thread

KEYS_AT_ONCE = 4_000


class Frame:
    """One owner. `owner` as Token.scope; `above`: the frame that its scope step or its thread's owner is in; `row`: that step.
    `closed`: it ended well, so that it matters only if something inside is `lost`."""

    __slots__ = (
        "above",
        "closed",
        "dropped",
        "entry",
        "fragment",
        "handles",
        "it",
        "live",
        "lost",
        "older",
        "owner",
        "places",
        "row",
        "steps",
        "thread",
    )

    def __init__(self, owner: int, it: int, thread: int, entry: str, above: Frame | None, row: Step | None, closed: bool) -> None:
        self.owner = owner
        self.it = it
        self.thread = thread
        self.entry = entry
        self.above = above
        self.row = row
        self.fragment = 0  # what `entry` is named in
        self.closed = closed
        self.handles = False  # something for the thread of the frame above, which is not over without it
        self.lost = False
        self.live = False
        self.steps: dict[str, Step] = {}
        self.older: list[Step] = []  # cut off at the place of a newer one: two tokens had come to one node
        self.dropped: set[str] = set()  # nodes of branches that lost to others
        self.places: dict[str, int] = {}  # number of the newest step of each slot, of those that will be there

    def ascending(self) -> list[Step]:
        return sorted([*self.steps.values(), *self.older], key=lambda step: step.n)


class Survey:
    """`target`: what is run again; without one, whatever failed is. Steps from `Draft.cut` on are taken back."""

    def __init__(self, draft: Draft, target: Step | None = None, skipped: int = -1) -> None:
        self.draft = draft
        self.skipped = skipped  # the thread whose failed step is left behind instead of being tried again; -1 = none
        self.target = target
        self.lineage = Lineage(draft, target)
        self.path: dict[int, int] = {}  # scope steps around the target → the iteration that it is in
        self.slots: dict[str, tuple[str, ...]] = {}
        self.frames: list[Frame] = []
        self.merges = merges_of(draft.process)
        if target is not None:
            self.follow(target)

    def follow(self, step: Step) -> None:
        """What contains the target, from the inside out."""
        scope, it, thread = step.scope, step.it, step.thread
        while scope or thread:
            if scope > 0:
                above = self.draft.step(scope)
                if not isinstance(above, Step):
                    raise Refusal(Code.NO_STEP, f"the iteration of step {step.n} is no longer kept")
                self.path[above.n] = it
                scope, it, thread = above.scope, above.it, above.thread
                continue
            mine = self.draft.thread(thread)
            if mine is None:
                raise Refusal(Code.NO_STEP, f"the thread of step {step.n} is no longer kept")
            self.lineage.path.add(thread)
            owner = self.draft.step(mine.owner) if mine.owner else None
            failed = self.draft.step(mine.handled) if mine.handles == "failure" else None
            if isinstance(failed, Step) and failed.scope == mine.owner:  # of a scope: in the iteration of what it handles
                scope, it, thread = failed.scope, failed.it, failed.thread
            elif isinstance(owner, Step):
                self.path[owner.n] = owner.k
                scope, it, thread = owner.scope, owner.it, owner.thread
            else:
                parent = self.lineage.parent_of(mine)
                scope, it, thread = -parent, 0, parent

    # ---- reading

    def read(self, outermost: list[Frame]) -> list[Frame]:
        """The frames that go on, from the outside in."""
        level = outermost or [Frame(0, 0, 0, self.draft.process.entry, None, None, closed=False)]
        while level:
            self.read_level(level)
            self.frames += level
            level = self.next_level(level)
        for frame in reversed(self.frames):
            if frame.lost and frame.closed and frame.above is not None and (frame.row is not None or frame.handles):
                frame.above.lost = True
        for frame in self.frames:
            frame.live = frame.above is None or (frame.above.live and (not frame.closed or frame.lost) and self.is_there(frame))
        return [frame for frame in self.frames if frame.live]

    def read_level(self, frames: list[Frame]) -> None:
        missing: list[Any] = []
        for frame in frames:
            try:
                self.read_frame(frame)
            except Missing as more:
                missing += more.keys
                if len(missing) > KEYS_AT_ONCE:
                    break
        if missing:
            raise Missing(*dict.fromkeys(missing))

    def read_frame(self, frame: Frame) -> None:
        draft = self.draft
        slots = self.slots.get(frame.entry)
        if slots is None:
            slots = body_slots(draft, frame.entry, frame.fragment, frame.owner, frame.it)
            if not is_dynamic(draft):
                self.slots[frame.entry] = slots
        found = for_each(slots, lambda slot: draft.at(slot, frame.owner, frame.it))
        for step in found:
            if isinstance(step, Step) and step.slot not in (START, END) and not self.is_target(step):
                frame.steps[step.slot] = step
            elif isinstance(step, OpenStep):
                frame.places[step.slot] = step.n
        for_each([step for step in frame.steps.values() if step.slot in self.merges], lambda step: self.read_older(frame, step))
        frame.dropped = dropped_nodes(draft, frame.steps)
        if frame.closed and draft.cut:
            newest = for_each(slots, lambda slot: draft.reads.at(slot, frame.owner, frame.it))
            frame.lost = frame.lost or any(row is not None and row.n >= draft.cut for row in newest)

    def read_older(self, frame: Frame, step: Step) -> None:
        """Steps before the newest of a place that were cut off like it."""
        while True:
            older = self.draft.reads.answer(PlaceBelowKey(step.slot, step.scope, step.it, step.n))
            if not isinstance(older, Step) or older in frame.older or not is_unfinished(self.draft, older):
                return
            frame.older.append(older)
            step = older

    def is_target(self, step: Step) -> bool:
        """Whether a step is at the place of the target: it is the target, or an attempt before it."""
        target = self.target
        return target is not None and (step.slot, step.scope, step.it) == (target.slot, target.scope, target.it)

    def is_there(self, frame: Frame) -> bool:
        """False for a thread of which nothing is left, and whose row does not say when it was started."""
        thread = self.draft.thread(frame.thread) if frame.owner < 0 and self.target is not None else None
        return thread is None or bool(thread.born or frame.steps or thread.no in self.lineage.path)

    # ---- the way in

    def next_level(self, frames: list[Frame]) -> list[Frame]:
        found: list[Frame] = []
        for inner in for_each(frames, self.inside):
            found += inner
        return found

    def inside(self, frame: Frame) -> list[Frame]:
        found: list[Frame] = []
        for each in for_each(frame.ascending(), lambda step: list(self.inside_step(frame, step))):
            found += each
        if frame.owner <= 0:
            for thread in self.lineage.spawned(frame.thread):
                found += self.thread_frame(frame, thread, None)
        return found

    def inside_step(self, frame: Frame, step: Step) -> Iterable[Frame]:
        handler = self.lineage.handler_of(step) if step.bits & Bit.HANDLED else None
        if handler is not None and step.n not in self.path:
            return self.thread_frame(frame, handler, None)
        if step.state == State.CALL and step.bits & Bit.THREAD:
            thread = self.draft.thread(step.child)
            if thread is not None and thread.owner == step.n:
                return self.thread_frame(frame, thread, step)
            return ()
        if step.state == State.JOIN and step.n in self.path:  # around the handler of a thread that it waits for
            return [each for thread in self.lineage.of_scope(step) for each in self.thread_frame(frame, thread, step)]
        if step.state != State.SCOPE:
            return ()
        node = scope_body(self.draft, step)
        if node is None:
            return [each for thread in self.lineage.of_scope(step) for each in self.thread_frame(frame, thread, step)]
        closed = not self.goes_on(frame, step)
        if closed and not self.may_have_lost(step.ended):
            return ()
        it = self.path[step.n] if step.n in self.path else self.iteration_left(step, node.body)
        inner = Frame(step.n, it, step.thread, node.body, frame, step, closed)
        inner.lost = it < step.k
        inner.fragment = step.fragment
        return [inner]

    def thread_frame(self, frame: Frame, thread: Thread, row: Step | None) -> list[Frame]:
        goes_on = thread.no in self.lineage.path or (
            restorable(thread) and (row is None or self.goes_on(frame, row)) and self.lineage.may_go_on(thread)
        )
        if not goes_on and not self.may_have_lost(thread.ended):
            return []
        inner = Frame(-thread.no, 0, thread.no, thread.body, frame, row, not goes_on)
        inner.handles = thread.handles in HALTS
        starter = self.draft.step(started_by(thread)) if is_dynamic(self.draft) else row
        inner.fragment = starter.fragment if starter is not None else 0
        return [inner]

    def may_have_lost(self, ended: int) -> bool:
        """Whether something that ended then can contain steps that are taken back."""
        return self.target is not None and ended >= self.target.opened

    def iteration_left(self, step: Step, body: str) -> int:
        """The last iteration of a scope of which something is left."""
        draft = self.draft
        if not draft.cut or not step.k or not self.may_have_lost(step.ended):
            return step.k
        slots = sorted(first_steps(draft, body, step.fragment))
        newest = for_each(slots, lambda slot: draft.reads.answer(NewestBelowKey(slot, draft.cut)))
        inside: list[int] = [row.it for row in newest if row is not None and row.scope == step.n]
        if inside:
            return max(inside)
        if not any(row is not None and row.n > step.n for row in newest):
            return 0
        # The newest ones are of the same scope in another thread: look for the iterations one by one, halving.
        low, high = 0, step.k
        while low < high:
            middle = (low + high + 1) // 2
            places = for_each(slots, lambda slot, it=middle: draft.at(slot, step.n, it))  # type: ignore[misc]
            low, high = (middle, high) if any(places) else (low, middle - 1)
        return low

    # ---- what becomes of a step

    def is_skipped(self, frame: Frame, step: Step) -> bool:
        """Whether a step is the one that failed in the thread that goes on behind it; not a scope that failed because of it."""
        if frame.thread != self.skipped or step.status == StepStatus.CANCELED or not is_unfinished(self.draft, step):
            return False
        return step.state != State.SCOPE or scope_body(self.draft, step) is None

    def goes_on(self, frame: Frame, step: Step) -> bool:
        """Whether a step is open again, or has another attempt."""
        if step.n in self.path:
            return True
        if self.is_skipped(frame, step):
            return False
        put_off = is_put_off(self.draft, step)
        if step.slot in frame.dropped:
            return put_off and self.target is None
        if step.bits & Bit.RETRIED or is_unfinished(self.draft, step) or is_dropped(step):
            return True
        return put_off and self.target is None
