"""Taking a finished run back: retry what failed, start over, or run again from one step.

A rewind opens a new era. Numbers that it takes back become a void range of the head, which every slot read skips; nothing is
deleted. Joins, scopes and calls that ended because of what is undone are reopened under their own numbers; steps that
failed get a new attempt. Tokens that were in transit when the run ended, and so left no trace, are found by looking for
steps that lead to nothing. Whatever a failed step had led to, since its failure was put off, is not done again.

Cost: see `frames`; an operator's action, never part of a run's own course.
"""

from __future__ import annotations

from collections.abc import Iterable
from copy import copy

from pelton.errors import Code
from pelton.kernel.expressions.base import Expression
from pelton.kernel.machine.draft import UNMARKED, Draft, Refusal, ScopeEmptied, StepFailed, StepFailure, Token, token_at
from pelton.kernel.machine.many import for_each
from pelton.kernel.machine.rewind.frames import Frame, Survey
from pelton.kernel.machine.rewind.reopening import (
    new_attempt,
    reenter,
    reopen_row,
    reopen_run,
    replace_start,
    rewrite,
    void_from,
)
from pelton.kernel.machine.rewind.threads import HALTS, halt_again, revive_thread, take_back
from pelton.kernel.machine.rewind.ways import (
    arrived,
    branches_of_step,
    exits,
    first_steps,
    is_dropped,
    is_put_off,
    lacks_ends,
    leads_on,
    rule_of,
    silent_branches,
)
from pelton.kernel.machine.scene import Scene, evaluate
from pelton.kernel.machine.tokens.failures import defer_failure
from pelton.kernel.machine.tokens.flow import count_join, finish, leave, open_branches, wait_to_leave
from pelton.kernel.machine.tokens.handlers import start_handler
from pelton.kernel.machine.tokens.lifecycle import enter_root, failure_of, set_deadline
from pelton.kernel.machine.tokens.thread_joins import open_thread_join
from pelton.kernel.model.process import Choice, Fork, Join, Node
from pelton.kernel.model.reads import LastPlaceKey
from pelton.kernel.model.signals import ChildReopened, Rewind
from pelton.kernel.model.state import END, START, Bit, OpenStep, RunStatus, State, Step, StepStatus, ThreadStatus
from pelton.kernel.model.transition import SignalRun


def rewind(draft: Draft, signal: Rewind) -> None:
    if signal.to == "failed":
        retry_failed(draft, signal.children)
    elif signal.to == "start":
        restart(draft, signal)
    elif signal.to == "step":
        rerun(draft, signal)
    else:
        raise Refusal(Code.INVALID, f'a rewind goes to "failed", "start" or "step", not to {signal.to!r}')


def restart(draft: Draft, signal: Rewind) -> None:
    reopen_run(draft, signal.definition)
    draft.cut = 1
    replace_start(draft, signal)
    take_back(draft, 0)
    void_from(draft, 1)
    if draft.process.positions:
        draft.edit_thread(0).position = 0
    draft.first = draft.head.next_n
    draft.last = None
    enter_root(draft)


def rerun(draft: Draft, signal: Rewind) -> None:
    target = draft.step(signal.n) if signal.n else None
    if not isinstance(target, Step) or target.slot in (START, END):
        raise Refusal(Code.NO_STEP, f"the run has no step {signal.n}")
    put_off = draft.head.deferred
    reopen_run(draft, signal.definition)
    if not target.fragment and target.slot not in draft.process.nodes and not draft.head.flags & UNMARKED:
        raise Refusal(Code.INVALID, f"version {draft.process.version} of {draft.process.name!r} has no step {target.slot!r}")
    draft.cut = signal.n
    again = Return(Survey(draft, target))
    replace_start(draft, signal)
    take_back(draft, signal.n)
    void_from(draft, signal.n + 1)
    set_deadline(draft)
    if draft.process.positions:
        count_on(draft, [0, *again.threads], signal.n + 1)
    again.open_again()
    token = reenter(draft, target, signal)
    again.resume_tokens()
    if token not in draft.worklist:  # what it is in goes, as a join has no use for it
        draft.reuse, draft.given = 0, None
        draft.reopened.discard(target.n)
    keep_put_off(draft, put_off, signal.n)


def count_on(draft: Draft, threads: Iterable[int], n: int) -> None:
    """The positions in threads go on from those of the steps below `n`, which are kept."""
    for no, last in for_each(threads, lambda no: (no, draft.reads.answer(LastPlaceKey(no, n)))):
        draft.edit_thread(no).position = last + 1


def retry_failed(draft: Draft, children: bool) -> None:
    again = Return(Survey(draft), children=children)
    put_off = draft.head.deferred
    if not again.finds_any() and not put_off:
        raise Refusal(Code.NOTHING_TO_RETRY, "no step of the run has failed or was cancelled")
    reopen_for_retry(draft)
    again.open_again()
    again.resume_tokens()
    retry_put_off(draft, put_off)


def revive(draft: Draft, signal: ChildReopened) -> None:
    """A child was reopened: reopens the call that had ended, and with it this run."""
    step = draft.step(signal.n)
    if not isinstance(step, Step) or step.child != signal.child:
        raise Refusal(Code.STEP_ENDED, "the calling step is open, or has a different child now")
    again = Return(Survey(draft), revived=step.n)
    # A call that succeeded, or was forgiven, has released its token: it cannot do so twice.
    if step.n not in again.chosen:
        raise Refusal(Code.NOT_ENDED, "the caller has moved on without this child")
    put_off = draft.head.deferred
    reopen_for_retry(draft)
    again.open_again()
    again.resume_tokens()
    retry_put_off(draft, put_off)


def reopen_for_retry(draft: Draft) -> None:
    reopen_run(draft)
    draft.cut = draft.head.next_n
    set_deadline(draft)
    end = draft.step(draft.head.next_n - 1)
    if end is not None and end.slot == END:
        draft.reopened.add(end.n)


def keep_put_off(draft: Draft, n: int, cut: int) -> None:
    """A failure that was put off before what is taken back still counts at the run's end."""
    step = draft.step(n) if 0 < n < cut and not draft.head.deferred else None
    if isinstance(step, Step) and not step.bits & Bit.RETRIED and n not in draft.reopened:
        draft.head.deferred = n


def retry_put_off(draft: Draft, n: int) -> None:
    """The failed step for which the run failed in the end may have been passed again since: it has another attempt even so."""
    step = draft.step(n) if n else None
    if isinstance(step, Step) and n not in draft.reopened and not step.bits & Bit.RETRIED:
        new_attempt(draft, step, gone_on=True)


class Return:
    """Brings the tokens of what was surveyed back. `children`: a failed call has its child taken back instead of another attempt;
    `revived`: the step whose child has been. `chosen`: numbers of the steps that are open again, or have another attempt."""

    def __init__(self, survey: Survey, outermost: Iterable[Frame] = (), *, children: bool = False, revived: int = 0) -> None:
        self.draft = survey.draft
        self.survey = survey
        self.target = survey.target
        self.frames = frames = survey.read(list(outermost))
        self.children = children
        self.revived = revived
        self.inner = {frame.row.n: frame for frame in frames if frame.row is not None}
        self.threads = {frame.thread: frame for frame in frames if frame.owner < 0}
        self.chosen: set[int] = set()
        for frame in frames:
            self.choose(frame)

    def choose(self, frame: Frame) -> None:
        for step in frame.ascending():
            if step.n in self.inner or self.survey.goes_on(frame, step):
                self.chosen.add(step.n)
                frame.places[step.slot] = step.n if self.reopens(step) else self.draft.head.next_n
            else:
                frame.places[step.slot] = step.n
        if self.target is not None and (self.target.scope, self.target.it) == (frame.owner, frame.it):
            frame.places[self.target.slot] = self.target.n

    def finds_any(self) -> bool:
        """Whether anything failed or was cut off: a step, a thread, or a token that was in transit."""
        if self.chosen or any(frame.row is None and frame.owner < 0 for frame in self.frames):
            return True
        if self.draft.head.status == RunStatus.COMPLETED:
            return False
        return any(self.is_lost(frame, step) for frame, step in self.everything())

    def is_lost(self, frame: Frame, step: Step) -> bool:
        node = self.draft.node_of(step)
        if isinstance(node, Fork):
            names, fragment = branches_of_step(self.draft, node, step)
            return not all(arrived(self.draft, name, fragment, step.n, frame.places) for name in names)
        if step.slot in frame.dropped:
            return False
        moved_on = StepStatus(step.status).successful or step.bits & Bit.HANDLED
        return bool(moved_on) and not leads_on(self.draft, node, step, frame.places)

    def reopens(self, step: Step) -> bool:
        """Whether a chosen step is opened again under its own number; else it has another attempt."""
        if step.n in self.inner or step.n == self.revived:
            return True
        node = self.draft.node_of(step)
        if step.state == State.JOIN:
            return isinstance(node, Join) and node.threads is None
        if step.state == State.CALL:
            return self.children and bool(step.child) and not step.bits & Bit.THREAD
        return step.state == State.SCOPE

    # ---- rows

    def open_again(self) -> None:
        """Threads and rows, from the outside in."""
        revived = [revive_thread(self.draft, frame.thread) for frame in self.frames if frame.owner < 0]
        for thread in revived:
            above = self.survey.lineage.parent_of(thread)
            if above != thread.parent:  # its parent has ended well, and would have left it behind
                thread.sees = thread.parent if thread.sees < 0 else thread.sees
                self.draft.move_thread(thread, above)
            self.draft.edit_thread(max(thread.parent, 0)).children += 1
        for frame in self.frames:
            if frame.owner < 0 and frame.row is not None and frame.row.state == State.SCOPE:
                self.draft.grow(frame.row.n)
            for step in frame.ascending():
                if step.n in self.chosen and self.reopens(step):
                    self.open_row(frame, step)

    def open_row(self, frame: Frame, step: Step) -> None:
        draft = self.draft
        inner = self.inner.get(step.n)
        k = inner.it if inner is not None and inner.owner > 0 else None
        row = reopen_row(draft, step, k, int(Bit.GONE_ON) if self.has_gone_on(frame, step) else 0)
        if step.state == State.CALL and not step.bits & Bit.THREAD and step.n != self.revived:
            draft.effects.append(SignalRun(step.child, Rewind(to="failed", children=True, strict=False)))
        row.bits &= ~int(Bit.OPTIONAL_FAILED | Bit.DEFERRED_FAILED)

    def has_gone_on(self, frame: Frame, step: Step) -> bool:
        """Whether the token of a step that failed has moved on, and what it came to is still there."""
        if not (is_put_off(self.draft, step) or step.bits & Bit.GONE_ON):
            return False
        node = self.draft.node_of(step)
        return not exits(node, step) or leads_on(self.draft, node, step, frame.places)

    # ---- tokens

    def resume_tokens(self) -> None:
        draft = self.draft
        for frame, step in self.everything():
            if step.n in self.chosen and step.n not in draft.reopened:
                new_attempt(draft, step, gone_on=self.has_gone_on(frame, step))
        for frame, step in self.everything():
            if self.survey.is_skipped(frame, step):
                pass_over(draft, step)
        for frame in self.frames:
            if frame.owner < 0 and not self.has_started(frame):
                draft.grow(frame.owner)
                draft.worklist.append(Token(frame.entry, frame.thread, frame.owner, 0, fragment=frame.fragment))
        lost = [(frame, step) for frame, step in self.everything() if step.n not in draft.reopened]
        for_each(lost, lambda each: self.find_token(*each))
        self.count_joins()
        for frame in self.frames:
            thread = draft.thread(frame.thread) if frame.owner < 0 else None
            if thread is not None and thread.handles in HALTS:
                halt_again(draft, draft.edit_thread(thread.no), started=self.has_started(frame))
        self.find_empty()

    def everything(self) -> Iterable[tuple[Frame, Step]]:
        found = [(frame, step) for frame in self.frames for step in frame.ascending()]
        return sorted(found, key=lambda pair: pair[1].n)

    def has_started(self, frame: Frame) -> bool:
        return any(slot in frame.places for slot in first_steps(self.draft, frame.entry, frame.fragment))

    def find_token(self, frame: Frame, step: Step) -> None:
        """Moves the token of a step on if it is nowhere."""
        draft = self.draft
        node = draft.node_of(step)
        put_off = is_put_off(draft, step)
        if put_off:
            defer_failure(draft, step)
        if (
            is_dropped(step)
            or step.slot in frame.dropped
            or (not StepStatus(step.status).successful and not put_off and not step.bits & Bit.HANDLED)
        ):
            return
        if isinstance(node, Fork):
            self.find_branches(frame, step, *branches_of_step(draft, node, step), step.n)
        elif isinstance(node, Join) and self.target is not None and lacks_ends(draft, node, step):
            count_join(draft, node, reopen_row(draft, step))
        elif self.is_being_handled(node, step):
            start_or_await(self, node, step)
        elif not leads_on(draft, node, step, frame.places):
            draft.grow(step.scope)
            follow(draft, node, step)
        else:
            names = silent_branches(draft, exits(node, step), step.fragment)
            there = [slot for name in names for slot in first_steps(draft, name, step.fragment)]
            marks = [mark_of(draft.step(n)) for slot in there if (n := frame.places.get(slot, -1)) > step.n]
            if marks:
                self.find_branches(frame, step, names, step.fragment, max(marks))

    def find_branches(self, frame: Frame, step: Step, names: tuple[str, ...], fragment: int, origin: int) -> None:
        """Sends a token into the branches of a fork that nothing is there of. The rest is as for `flow.open_branches`."""
        draft = self.draft
        lost = [name for name in names if not arrived(draft, name, fragment, step.n, frame.places)]
        draft.grow(step.scope, len(lost))
        open_branches(draft, names, lost, token_at(step, step.slot)._replace(origin=origin), fragment)

    def is_being_handled(self, node: Node, step: Step) -> bool:
        if not step.bits & Bit.HANDLED:
            return False
        rule = rule_of(node, step)
        if rule is None or rule.action != "body":
            return False
        thread = self.survey.lineage.handler_of(step)
        return thread is None or thread.no in self.threads or thread.status != ThreadStatus.COMPLETED

    # ---- owners

    def count_joins(self) -> None:
        """Reopened joins count anew."""

        def count(n: int) -> None:
            row = self.draft.open_rows[n]
            node = self.draft.node_of(row)
            if row.state != State.JOIN or row.left or not isinstance(node, Join):
                return
            if node.threads is None:
                count_join(self.draft, node, row)
            else:
                self.count_threads(node, node.threads, row)

        for_each([n for n, row in self.draft.open_rows.items() if row.state == State.JOIN], count)

    def count_threads(self, node: Join, threads: Expression, row: OpenStep) -> None:
        """A join around the target, which is in a handler of it, waits for its threads anew."""
        draft = self.draft
        handlers = self.survey.lineage.handlers_for(row.n, self.threads)
        try:
            open_thread_join(draft, node, row, evaluate(threads, Scene(draft, row, row.input, row.thread)), handlers)
        except StepFailure as error:
            draft.worklist.append(StepFailed(row.n, error.failure, int(StepStatus.FAILED_FOR_GOOD)))

    def find_empty(self) -> None:
        """Owners without a token: scopes go on to their next iteration; threads end, and calls of threads that have ended."""
        draft = self.draft
        for row in list(draft.open_rows.values()):
            if row.state == State.SCOPE and not row.left:
                draft.worklist.append(ScopeEmptied(row.n))
            elif row.state == State.CALL and row.bits & Bit.THREAD:
                thread = draft.thread(row.child)
                if thread is not None and thread.status == ThreadStatus.COMPLETED:
                    finish(draft, row, thread.output)
        for frame in self.frames:
            thread = draft.thread(frame.thread) if frame.owner < 0 else None
            if thread is not None and not thread.open:
                draft.worklist.append(ScopeEmptied(frame.owner))


def mark_of(row: OpenStep | Step | None) -> int:
    """The mark of the fork that a row is in a branch of, or that it joins."""
    return 0 if row is None else row.k if row.state == State.JOIN else row.fork


def start_or_await(again: Return, node: Node, step: Step) -> None:
    """The failure of a step was being handled: by a thread that goes on, or else by a new one."""
    draft = again.draft
    rule = rule_of(node, step)
    thread = again.survey.lineage.handler_of(step)
    assert rule is not None
    draft.grow(step.scope)
    if thread is not None and thread.no in again.threads:
        wait_to_leave(draft, node, step, skip_assigns=True)
    else:
        start_handler(draft, node, step, rule.to, failure_of(step))


def pass_over(draft: Draft, step: Step) -> None:
    """The token of a failed step moves on, as if the failure had been handled."""
    old = copy(step)
    old.bits |= int(Bit.HANDLED)
    rewrite(draft, old)
    draft.grow(step.scope)
    leave(draft, draft.node_of(step), old, skip_assigns=True)


def follow(draft: Draft, node: Node, step: Step) -> None:
    """Moves the token of an ended step on, the way it went before."""
    place = copy(step)
    place.bits &= ~int(Bit.GONE_ON)
    place.previous = 0
    names = exits(node, step)
    if step.bits & Bit.HANDLED:
        rule = rule_of(node, step)
        handled = rule is not None and rule.action == "body"
        leave(draft, node, place, to=None if handled else names[0], skip_assigns=handled)
    elif isinstance(node, Choice) and node.select is not None:
        text = evaluate(node.select, Scene(draft, step, step.input, step.thread))
        leave(draft, node, place, to=node.cases.get(str(text), node.default))
    elif len(names) == 1 and names[0] not in {edge.to for edge in node.next}:
        leave(draft, node, place, to=names[0])
    else:
        leave(draft, node, place)
