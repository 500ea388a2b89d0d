"""What follows when a step fails: another attempt, a rule of its node, or the end of what owns it."""

from __future__ import annotations

from pelton.kernel.machine.draft import (
    Again,
    Draft,
    FailureEscaped,
    LeavingFailed,
    RowDropped,
    Spawn,
    StepFailed,
    StepFailure,
    Token,
)
from pelton.kernel.machine.legality import FINAL
from pelton.kernel.machine.scene import mix
from pelton.kernel.machine.tokens import limits
from pelton.kernel.machine.tokens.attempts import carried, keep_attempt
from pelton.kernel.machine.tokens.flow import cancel, finish, leave, retire_token, settle
from pelton.kernel.machine.tokens.handlers import start_handler
from pelton.kernel.machine.tokens.lifecycle import break_run, break_run_by, failure_of
from pelton.kernel.machine.tokens.stops import clear_step, owns_something
from pelton.kernel.machine.tokens.thread_ends import break_thread
from pelton.kernel.machine.tokens.threads import set_failure, start_thread
from pelton.kernel.machine.tokens.times import AGAIN, clock, set_time, time_of
from pelton.kernel.machine.tokens.waits import disarm
from pelton.kernel.model.process import Node, Retry, Rule, Wait, Work
from pelton.kernel.model.state import Bit, Failure, OpenStep, State, Step, StepStatus, ThreadStatus


def fail(draft: Draft, item: StepFailed) -> None:
    row = draft.open(item.n)
    if row is None:
        return
    node = draft.node_of(row)
    if may_retry(draft, node, row, item):
        retry(draft, node, row, item)
    else:
        conclude(draft, node, row, item)


def may_retry(draft: Draft, node: Node, row: OpenStep, item: StepFailed) -> bool:
    rule = node.retry
    if rule is None or row.attempt >= rule.count or not item.failure.retriable or item.status in FINAL:
        return False
    return limits.total_left(draft, node, row)


def delay_of(rule: Retry, run: int, n: int, attempt: int) -> int:
    """Milliseconds before the attempt that follows `attempt` may start."""
    delay = float(rule.delay)
    if rule.logic == "linear":
        delay *= rule.factor * (attempt + 1)
    elif rule.logic == "exponential":
        delay *= rule.factor ** min(attempt, 64)
    wait = int(min(delay, rule.cap) if rule.cap else min(delay, 1e15))
    return wait + (mix(run, n, attempt) % (rule.jitter + 1) if rule.jitter else 0)


def retry(draft: Draft, node: Node, row: OpenStep, item: StepFailed) -> None:
    rule = node.retry
    assert rule is not None
    due = draft.now + delay_of(rule, row.run, row.n, row.attempt)
    # Work that was offered, and waits, are tried again in place; anything else has to be entered anew, and so takes a new number.
    if rule.as_new_step or item.unopened or not isinstance(node, Work | Wait):
        first = limits.first_of(row)
        step = draft.end(row, StepStatus(item.status), item.output, item.failure.message, item.failure.name, int(Bit.RETRIED))
        step.kind, step.content = item.failure.kind, item.failure.content
        draft.worklist.append(
            Token(
                node=node.name,
                thread=row.thread,
                scope=row.scope,
                it=row.it,
                attempt=row.attempt + 1,
                previous=row.n,
                first=first,
                due=due,
                fork=row.fork,
                fragment=row.k if row.bits & Bit.DYNAMIC else row.fragment,
                origin=row.k if row.state == State.JOIN else 0,
                position=row.position,
                tries=carried(row),
            )
        )
        return
    row = draft.edit(row)
    if row.state == State.WORK:
        keep_attempt(draft, row, item)
    row.attempt += 1
    row.updated, row.due = draft.now, due
    row.lease, row.worker, row.started = 0, "", 0
    row.output, row.reason = None, item.failure.message
    since = max(due - draft.now + clock(draft, row, node), 0)
    if row.state == State.WORK:
        limits.restart(draft, node, row, "queue", since)
        if time_of(row, "limit").fixed:
            limits.restart(draft, node, row, "limit", since)
        return
    disarm(draft, row)
    if due > draft.now:
        set_time(draft, row, AGAIN, since)
    else:
        draft.worklist.append(Again(row.n))


def conclude(draft: Draft, node: Node, row: OpenStep, item: StepFailed) -> None:
    """No further attempt: the first rule that matches decides."""
    failure = item.failure
    rule, action = rule_for(node, failure)
    if action == "continue":
        step = finish(draft, row, item.output, StepStatus.COMPLETED_WITH_ERRORS, failure.message)
        step.failure, step.kind, step.content = failure.name, failure.kind, failure.content
        return
    handled = int(Bit.HANDLED) if action in ("edge", "body") else int(Bit.PUT_OFF) if action == "defer" else 0
    step = draft.end(row, StepStatus(item.status), item.output, failure.message, failure.name, handled)
    step.kind, step.content = failure.kind, failure.content
    if action in ("defer", "edge", "body"):
        settle(draft, step)
    act_on(draft, node, step, failure, rule, action, item.status)


def rule_for(node: Node, failure: Failure) -> tuple[Rule | None, str]:
    """The first rule of a node that matches, and what is to be done."""
    rule = next((rule for rule in node.on_failure if rule.matches(failure)), None)
    return rule, rule.action if rule is not None else "propagate"


def fail_leaving(draft: Draft, item: LeavingFailed) -> None:
    """A step has done its part, but its way on failed: that is a failure of the step, with its rules. Joins have counted it."""
    step = draft.step(item.n)
    if not isinstance(step, Step) or not owner_is_there(draft, step):
        return
    node = draft.node_of(step)
    failure = item.failure
    rule, action = rule_for(node, failure)
    if step.n in draft.ended:  # one that was stored before a halt stays as it is
        step.status = int(StepStatus.COMPLETED_WITH_ERRORS if action == "continue" else StepStatus.FAILED_FOR_GOOD)
        step.reason, step.failure, step.kind, step.content = failure.message, failure.name, failure.kind, failure.content
        step.bits |= int(Bit.HANDLED) if action in ("edge", "body") else 0
    if action != "continue":
        act_on(draft, node, step, failure, rule, action, int(StepStatus.FAILED_FOR_GOOD))
        return
    try:
        leave(draft, node, step, skip_assigns=True)
    except StepFailure as error:
        draft.worklist.append(FailureEscaped(step.scope, step.thread, error.failure, step.n, int(StepStatus.FAILED_FOR_GOOD)))


def owner_is_there(draft: Draft, step: Step) -> bool:
    if step.scope > 0:
        return draft.open(step.scope) is not None
    thread = draft.thread(-step.scope) if step.scope else None
    return thread is None or thread.status < ThreadStatus.COMPLETED


def act_on(draft: Draft, node: Node, step: Step, failure: Failure, rule: Rule | None, action: str, status: int) -> None:
    """What follows for a step that has ended as failed."""
    draft.announce("step.failed", step.n, {"slot": step.slot, "reason": failure.message})
    if action == "abort":
        break_run_by(draft, failure, step)
    elif action == "propagate":
        draft.worklist.append(FailureEscaped(step.scope, step.thread, failure, step.n, status))
    else:
        follow_rule(draft, node, step, failure, rule)


def follow_rule(draft: Draft, node: Node, step: Step, failure: Failure, rule: Rule | None) -> None:
    assert rule is not None
    try:
        if rule.action == "defer":
            defer_failure(draft, step)
            leave(draft, node, step)
        elif rule.action == "edge":
            leave(draft, node, step, to=rule.to)
        else:
            start_handler(draft, node, step, rule.to, failure)
    except StepFailure as error:
        draft.worklist.append(FailureEscaped(step.scope, step.thread, error.failure, step.n, int(StepStatus.FAILED_FOR_GOOD)))


def defer_failure(draft: Draft, step: Step) -> None:
    """The failure counts when the last token of what owns the step is gone."""
    if step.scope > 0:
        row = draft.open(step.scope)
        if row is not None:
            row = draft.edit(row)
            if not row.bits & Bit.DEFERRED_FAILED:
                row.cause = step.n  # the first of them is what it fails with
            row.bits |= Bit.DEFERRED_FAILED
            row.reason = row.reason or step.reason
    elif step.scope < 0:
        thread = draft.edit_thread(-step.scope)
        if not thread.failure:
            set_failure(thread, failure_of(step))
    elif not draft.head.deferred:
        draft.head.deferred = step.n


def escape(draft: Draft, item: FailureEscaped) -> None:
    """A failure has reached what owns the failed step: everything inside is dropped, and then the owner fails too."""
    if item.scope == 0:
        break_run(draft, item.failure, item.n)
    elif item.scope < 0:
        break_thread(draft, -item.scope, item.failure, item.n)
    else:
        row = draft.open(item.scope)
        if row is None:
            return
        clear_step(draft, row, item.failure.message)
        row = draft.edit(row)
        assert row.state == State.SCOPE
        row.left = 0
        draft.worklist.append(StepFailed(row.n, item.failure, item.status))


def drop_row(draft: Draft, item: RowDropped) -> None:
    """Drops a row that is no longer wanted, with everything inside it."""
    row = draft.open(item.n)
    if row is None:
        return
    if owns_something(row):
        clear_step(draft, row, item.reason)
        row = draft.edit(row)
    cancel(draft, row, item.reason, int(Bit.DROPPED))
    retire_token(draft, row.scope)


def spawn(draft: Draft, item: Spawn) -> None:
    """Starts a thread for a step that goes on. One that cannot be started is that step's failure."""
    above = draft.thread(item.parent)
    if above is not None and above.status >= ThreadStatus.COMPLETED:
        return
    try:
        start_thread(draft, item.entry, item.parent, 0, variables=item.variables, fragment=item.fragment, starter=item.starter)
    except StepFailure as error:
        status = int(StepStatus.FAILED_FOR_GOOD)
        if draft.open(item.starter) is not None:
            draft.worklist.append(StepFailed(item.starter, error.failure, status))
        else:
            draft.worklist.append(FailureEscaped(-item.parent, item.parent, error.failure, item.starter, status))
