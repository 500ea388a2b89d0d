"""What follows when a step fails: another attempt, a rule of its node, or the end of what owns it."""

from __future__ import annotations

from pelton.kernel.machine.draft import Broken, Failed, Lost, StepFailure, Token, Turn
from pelton.kernel.machine.flow import cancel, finish, leave, retire, settle
from pelton.kernel.machine.lifecycle import break_run
from pelton.kernel.machine.scene import mix
from pelton.kernel.machine.threads import break_thread, empty, handle
from pelton.kernel.model.process import Node, Retry, Rule
from pelton.kernel.model.state import Bit, Failure, OpenStep, State, Step, StepStatus

FINAL = (StepStatus.FAILED_FOR_GOOD, StepStatus.CANCELED)


def fail(turn: Turn, item: Failed) -> None:
    row = turn.open(item.n)
    if row is None:
        return
    node = turn.node(row.slot)
    if may_retry(turn, node, row, item):
        retry(turn, node, row, item)
    else:
        conclude(turn, node, row, item)


def may_retry(turn: Turn, node: Node, row: OpenStep, item: Failed) -> bool:
    rule = node.retry
    if rule is None or row.attempt >= rule.count or not item.failure.retriable or item.status in FINAL:
        return False
    total = node.limits.total
    return total is None or turn.now - row.first < total.after


def delay_of(rule: Retry, run: int, n: int, attempt: int) -> int:
    """Milliseconds before the attempt after `attempt` may begin."""
    delay = float(rule.delay)
    if rule.logic == "linear":
        delay *= rule.factor * (attempt + 1)
    elif rule.logic == "exponential":
        delay *= rule.factor ** min(attempt, 64)
    wait = int(min(delay, rule.cap) if rule.cap else min(delay, 1e15))
    return wait + (mix(run, n, attempt) % (rule.jitter + 1) if rule.jitter else 0)


def retry(turn: Turn, node: Node, row: OpenStep, item: Failed) -> None:
    rule = node.retry
    assert rule is not None
    due = turn.now + delay_of(rule, row.run, row.n, row.attempt)
    if rule.as_new_step:
        turn.end(row, StepStatus(item.status), item.output, item.failure.message, item.failure.name, int(Bit.RETRIED))
        turn.agenda.append(Token(node.name, row.thread, row.scope, row.it, row.attempt + 1, row.n, row.first, due))
        return
    row = turn.edit(row)
    row.attempt += 1
    row.updated, row.due = turn.now, due
    row.lease, row.worker, row.started = 0, "", 0
    row.output, row.reason = None, item.failure.message


def conclude(turn: Turn, node: Node, row: OpenStep, item: Failed) -> None:
    """No further attempt: the first rule that matches decides."""
    failure = item.failure
    rule = next((rule for rule in node.on_failure if rule.matches(failure)), None)
    action = rule.action if rule is not None else "propagate"
    if action == "continue":
        finish(turn, row, item.output, StepStatus.COMPLETED_WITH_ERRORS, failure.message)
        return
    handled = int(Bit.HANDLED) if action in ("edge", "body") else 0
    step = turn.end(row, StepStatus(item.status), item.output, failure.message, failure.name, handled)
    turn.fact("step.failed", step.n, {"slot": step.slot, "reason": failure.message})
    if action == "abort":
        break_run(turn, failure, step.n)
    elif action == "propagate":
        turn.agenda.append(Broken(step.scope, step.thread, failure, step.n, item.status))
    else:
        go_on(turn, node, step, failure, rule)


def go_on(turn: Turn, node: Node, step: Step, failure: Failure, rule: Rule | None) -> None:
    assert rule is not None
    settle(turn, step)
    try:
        if rule.action == "defer":
            put_off(turn, step)
            leave(turn, node, step)
        elif rule.action == "edge":
            leave(turn, node, step, to=rule.to)
        else:
            handle(turn, node, step, rule.to, failure)
    except StepFailure as error:
        turn.agenda.append(Broken(step.scope, step.thread, error.failure, step.n, int(StepStatus.FAILED_FOR_GOOD)))


def put_off(turn: Turn, step: Step) -> None:
    """The failure counts when the last token of what owns the step is gone."""
    if step.scope > 0:
        row = turn.open(step.scope)
        if row is not None:
            row = turn.edit(row)
            row.bits |= Bit.DEFERRED_FAILED
            row.reason = row.reason or step.reason
    elif step.scope < 0:
        thread = turn.edit_thread(-step.scope)
        thread.failure, thread.reason = thread.failure or step.failure, thread.reason or step.reason
    elif not turn.head.deferred:
        turn.head.deferred = step.n


def broken(turn: Turn, item: Broken) -> None:
    """A failure has reached what owns the failed step: all that is inside goes, and the owner fails in its turn."""
    if item.scope == 0:
        break_run(turn, item.failure, item.n)
    elif item.scope < 0:
        break_thread(turn, -item.scope, item.failure, item.n)
    else:
        row = turn.open(item.scope)
        if row is None:
            return
        empty(turn, row.n, item.failure.message)
        row = turn.edit(row)
        assert row.state == State.SCOPE
        row.left = 0
        turn.agenda.append(Failed(row.n, item.failure, item.status))


def lose(turn: Turn, item: Lost) -> None:
    """A row that is not wanted any more goes, with all that is inside it."""
    row = turn.open(item.n)
    if row is None:
        return
    if row.state == State.SCOPE or row.bits & Bit.THREAD:
        empty(turn, row.n, item.reason)
        row = turn.edit(row)
    cancel(turn, row, item.reason)
    retire(turn, row.scope)
