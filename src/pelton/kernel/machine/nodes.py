"""What a token does when it enters a node, by kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import convert

from pelton.errors import Code
from pelton.kernel.expressions.base import Invalid
from pelton.kernel.machine.draft import FRAGMENTS, PRIORITY, SKIPS, Failed, Refusal, StepFailure, Token, Turn
from pelton.kernel.machine.flow import assign, complete_join, count_join, finish, fresh, leave, needed, retire
from pelton.kernel.machine.lifecycle import end_run, find_definition, meta_from, run_output
from pelton.kernel.machine.records import COMING, add, write
from pelton.kernel.machine.reports import claim_reports
from pelton.kernel.machine.scene import Scene, evaluate
from pelton.kernel.machine.scopes import open_scope
from pelton.kernel.machine.threads import start_thread
from pelton.kernel.machine.waits import open_wait
from pelton.kernel.model.process import Assign, Call, Choice, Emit, End, Fork, Join, Node, Raise, Scope, Send, Tell, Wait, Work
from pelton.kernel.model.reads import Missing, NewRunKey
from pelton.kernel.model.state import Bit, Failure, OpenStep, RunStatus, StartMeta, State, Step, StepStatus, ThreadStatus
from pelton.kernel.model.transition import UNSET, Publish, SetTimer, SignalRun, StartRun

FOREVER = (1 << 62) - 1  # a lease that is never lost
MOST_STARTS = 50  # of one Send in its own commit; the others follow


def enter(turn: Turn, token: Token) -> None:
    if turn.halted(token.thread):
        turn.park(token)
        return
    node = turn.node(token.node)
    turn.fuel -= node.fuel
    if type(node) is Fork and token.branch:
        branch_out(turn, node, node.branches or turn.all_fragments()[node.name].branches, token)
        return
    if not node.trace and type(node) in SILENT:
        try:
            SILENT[type(node)](turn, token, node)
            return
        except StepFailure as error:
            row = fresh(turn, token, node, State.WAIT)
            fail_entering(turn, row, error)
            return
    row = fresh(turn, token, node, STATES[type(node)])
    if turn.head.flags & SKIPS and node.skippable and skip(turn, node, row):
        return
    try:
        if turn.given is not None:
            row.input, turn.given = turn.given, None
        elif node.input is not None:
            row.input = evaluate(node.input, Scene(turn, row, None, token.thread))
        ENTER[type(node)](turn, token, node, row)
    except StepFailure as error:
        fail_entering(turn, row, error)


def fail_entering(turn: Turn, row: OpenStep, error: StepFailure) -> None:
    """The node could not do its part: its step fails, and is recorded even where a successful one would not be."""
    if row.n in turn.ended:
        return
    if row.n not in turn.open_rows:
        row.started = turn.now
        turn.add(row)
    failure = error.failure
    node = turn.node(row.slot)
    # A choice is never tried again: nothing needs to be said about that.
    status = StepStatus.FAILED if failure.retriable or isinstance(node, Choice) else StepStatus.FAILED_FOR_GOOD
    output = {"error": failure.message} if isinstance(node, Assign) else row.output
    turn.agenda.append(Failed(row.n, failure, int(status), output))


def skip(turn: Turn, node: Node, row: OpenStep) -> bool:
    """An operator asked that this slot be skipped the next time: it ends at once."""
    name = "skip:" + node.name
    found = turn.var(0, name)
    if found is None:
        return False
    turn.variables[0, name] = UNSET
    row.input, row.started = found[0].get("input"), turn.now
    turn.add(row)
    finish(turn, row, found[0].get("output"), StepStatus.SKIPPED)
    return True


def instant(turn: Turn, row: OpenStep, output: Any) -> Step:
    """A step that needs nothing more: opened and ended at once, without its token moving."""
    row.started = turn.now
    turn.add(row)
    return turn.end(row, StepStatus.COMPLETED, output)


# ---- work


def enter_work(turn: Turn, token: Token, node: Work, row: OpenStep) -> None:
    scene = Scene(turn, row, row.input, token.thread)
    queue = node.queue if isinstance(node.queue, str) else evaluate(node.queue, scene)
    if not queue or not isinstance(queue, str):
        raise StepFailure(
            Failure("expression", "technical", f"the queue of {node.name!r} is {queue!r}; it must be a name", None, False)
        )
    if queue.startswith("@"):
        row.bits |= Bit.BUILT_IN
    row.queue = queue
    row.priority = turn.head.flags >> PRIORITY
    row.due = token.due or turn.now + node.delay
    limits = node.limits
    row.idle = limits.idle.after if limits.idle is not None else 0
    row.limit = limits.attempt.after if limits.attempt is not None else 0
    if token.previous:
        before = turn.step(token.previous)
        row.reason = before.reason if before is not None else ""
    turn.add(row)
    if limits.queue is not None:
        timer(turn, row, "queue", row.due + limits.queue.after)
    if limits.total is not None:
        timer(turn, row, "total", row.first + limits.total.after)
    claim_reports(turn, row)


def timer(turn: Turn, row: OpenStep, arm: str, due: int) -> None:
    row.bits |= Bit.TIMED
    turn.effects.append(SetTimer(row.n, arm, row.attempt, due))


def enter_wait(turn: Turn, token: Token, node: Wait, row: OpenStep) -> None:
    open_wait(turn, node, row)
    if row.n in turn.open_rows:
        limits = node.limits
        if limits.attempt is not None:
            timer(turn, row, "limit", row.started + limits.attempt.after)
        if limits.total is not None:
            timer(turn, row, "total", row.first + limits.total.after)
    claim_reports(turn, row)


# ---- ways


def enter_choice(turn: Turn, token: Token, node: Choice, row: OpenStep) -> None:
    scene = Scene(turn, row, row.input, token.thread)
    if node.select is None:
        finish(turn, row_added(turn, row), None)
        return
    text = evaluate(node.select, scene)
    scene.value = text
    output = evaluate(node.output, scene) if node.output is not None else None
    finish(turn, row_added(turn, row), output, to=node.cases.get(str(text), node.default))


def row_added(turn: Turn, row: OpenStep) -> OpenStep:
    row.started = turn.now
    return turn.add(row)


def silent_choice(turn: Turn, token: Token, node: Choice) -> None:
    scene = Scene(turn, None, None, token.thread)
    if node.select is None:
        leave(turn, node, token)
        return
    text = evaluate(node.select, scene)
    leave(turn, node, token, to=node.cases.get(str(text), node.default))


def silent_assign(turn: Turn, token: Token, node: Assign) -> None:
    compute(turn, node, Scene(turn, None, None, token.thread))
    leave(turn, node, token)


def compute(turn: Turn, node: Assign, scene: Scene) -> Any:
    merged = evaluate(node.merge, scene) if node.merge is not None else None
    value = evaluate(node.record, scene) if node.record is not None else None
    assign(turn, node.changes, scene)
    if node.record is not None:
        write(turn, value, scene.moment)
    for name, value in (merged or {}).items():
        turn.set_var(scene.thread, name, value)
    return evaluate(node.output, scene) if node.output is not None else None


def enter_assign(turn: Turn, token: Token, node: Assign, row: OpenStep) -> None:
    output = compute(turn, node, Scene(turn, row, row.input, token.thread))
    finish(turn, row_added(turn, row), output)


def silent_fork(turn: Turn, token: Token, node: Fork) -> None:
    branch_out(turn, node, node.branches, token)


def enter_fork(turn: Turn, token: Token, node: Fork, row: OpenStep) -> None:
    branches = node.branches
    scene = Scene(turn, row, row.input, token.thread)
    if node.dynamic is not None:
        branches = acquire(turn, node, row, evaluate(node.dynamic, scene))
    output = evaluate(node.output, scene) if node.output is not None else None
    instant(turn, row, output)
    branch_out(turn, node, branches, token)


def acquire(turn: Turn, node: Fork, row: OpenStep, value: Any) -> tuple[str, ...]:
    """Compiles what a dynamic fork was given; the run keeps it, so that every later transition sees the same graph."""
    make = turn.process.fragment
    if make is None:
        raise Refusal(Code.INVALID, f"process {turn.process.name!r} cannot fork dynamically")
    try:
        fragment = make(node.name, value)
    except Invalid as error:
        raise StepFailure(Failure("invalid fork", "technical", error.message, None, False)) from None
    turn.all_fragments()[node.name] = fragment
    turn.head.flags |= FRAGMENTS
    turn.acquisitions.append((row.n, node.name, value))
    return fragment.branches


def branch_out(turn: Turn, node: Fork, branches: tuple[str, ...], token: Token) -> None:
    """Sends a token into each branch; where fuel does not reach, the fork's own token parks at the next branch."""
    room = max(turn.fuel - len(turn.agenda), 1)
    last = min(len(branches), token.branch + room)
    for name in branches[token.branch : last]:
        turn.grow(token.scope)
        turn.agenda.append(Token(name, token.thread, token.scope, token.it))
    if last < len(branches):
        turn.park(token._replace(node=node.name, branch=last))
        turn.come_again()
    elif branches:
        turn.grow(token.scope, -1)
    else:
        leave(turn, node, token)


def enter_join(turn: Turn, token: Token, node: Join, row: OpenStep) -> None:
    row.started = turn.now
    turn.add(row)
    if node.threads is None:
        count_join(turn, node, row)
        return
    numbers = evaluate(node.threads, Scene(turn, row, row.input, token.thread)) or []
    row.waits = [int(no) for no in numbers]
    ended = 0
    for no in row.waits:
        thread = turn.thread(no)
        if thread is not None and thread.status == ThreadStatus.COMPLETED:
            ended += 1
        elif thread is None or thread.status >= ThreadStatus.FAILED:
            reason = thread.reason if thread is not None else "there is no such thread"
            failure = Failure(
                thread.failure if thread is not None else "failed", "technical", f"thread {no}: {reason}", None, False
            )
            rule = next((rule for rule in node.per_thread if rule.matches(failure)), None)
            if rule is None or rule.action != "continue":
                raise StepFailure(failure)
            ended += 1
    row.left = needed(node, len(row.waits), ended)
    if row.left == 0:
        complete_join(turn, row)


# ---- others


def enter_scope(turn: Turn, token: Token, node: Scope, row: OpenStep) -> None:
    open_scope(turn, node, row)


def enter_call(turn: Turn, token: Token, node: Call, row: OpenStep) -> None:
    scene = Scene(turn, row, row.input, token.thread)
    given = evaluate(node.child_input, scene) if node.child_input is not None else row.input
    if node.thread:
        row.bits |= Bit.THREAD
        awaits = node.awaits != "nothing"
        thread = start_thread(turn, node.thread, token.thread, row.n if awaits else 0, variables={"INPUT": given})
        row.child = thread.no
    else:
        start_child(turn, node, row, scene, given)
    row_added(turn, row)
    if node.awaits == "nothing":
        finish(turn, row, node.output(row.input, row.child) if node.output is not None else row.child)


def start_child(turn: Turn, node: Call, row: OpenStep, scene: Scene, given: Any) -> None:
    if node.target is None:
        raise Refusal(Code.INVALID, f"call {node.name!r} has neither a target nor a thread")
    definition = find_definition(turn, evaluate(node.target, scene))
    if isinstance(definition, str):
        raise StepFailure(Failure("unknown process", "technical", definition, None, False))
    row.child = turn.facts.answer(NewRunKey(row.n, row.attempt))
    meta = meta_from(evaluate(node.meta, scene)) if node.meta is not None else StartMeta()
    turn.effects.append(StartRun(row.child, definition, given, meta, row.n if node.awaits != "nothing" else 0))


def enter_emit(turn: Turn, token: Token, node: Emit, row: OpenStep) -> None:
    scene = Scene(turn, row, row.input, token.thread)
    row.output = body = evaluate(node.body, scene)  # also what a step leaves behind that fails by its sink
    sink = evaluate(node.sink, scene)
    if not isinstance(sink, str) or not sink:
        raise StepFailure(
            Failure("sink", "technical", f"the sink of {node.name!r} is {sink!r}; it must be an address", None, False)
        )
    awaits = node.awaits == "outside" if isinstance(node.awaits, str) else bool(evaluate(node.awaits, scene))
    turn.effects.append(Publish(row.n, row.attempt, sink, body))
    row_added(turn, row)
    if awaits:
        claim_reports(turn, row)
    else:
        finish(turn, row, body)


def enter_send(turn: Turn, token: Token, node: Send, row: OpenStep) -> None:
    scene = Scene(turn, row, row.input, token.thread)
    told: list[Any] = []
    missing: list[Any] = []
    starts = before = coming = 0
    for index, each in enumerate(evaluate(node.what, scene)):
        if isinstance(each, Tell):
            turn.effects.append(SignalRun(each.run, each.signal, later=True))
            continue
        try:
            definition = find_definition(turn, each.target)
            key: int = 0 if isinstance(definition, str) else turn.facts.answer(NewRunKey(row.n, index))
        except Missing as more:
            missing += more.keys
            continue
        if isinstance(definition, str):
            told.append({"error": definition})
            continue
        given = {**each.input, each.after: before} if each.after and before else each.input
        starts += 1
        coming += each.linked
        later = starts > MOST_STARTS
        turn.effects.append(StartRun(key, definition, given, each.meta, 0, later, each.linked, each.trigger, each.origin))
        before = key
        told.append({"run": key})
    if missing:
        raise Missing(*dict.fromkeys(missing))
    if coming:  # now: whoever looks before they have begun is not to think that there are none
        add(turn, COMING, coming)
    finish(turn, row_added(turn, row), told or None)


def enter_raise(turn: Turn, token: Token, node: Raise, row: OpenStep) -> None:
    failure = evaluate(node.failure, Scene(turn, row, row.input, token.thread))
    raise StepFailure(failure if isinstance(failure, Failure) else convert(failure, Failure))


def silent_raise(turn: Turn, token: Token, node: Raise) -> None:
    failure = evaluate(node.failure, Scene(turn, None, None, token.thread))
    raise StepFailure(failure if isinstance(failure, Failure) else convert(failure, Failure))


def enter_end(turn: Turn, token: Token, node: End, row: OpenStep) -> None:
    scene = Scene(turn, row, row.input, token.thread)
    output = evaluate(node.output, scene) if node.output is not None else None
    if node.run:
        status = RunStatus(evaluate(node.status, scene)) if node.status is not None else RunStatus.COMPLETED
        reason = evaluate(node.reason, scene) if node.reason is not None else ""
        instant(turn, row, output)
        failure = None if status == RunStatus.COMPLETED else Failure("ended", "business", reason or "", None, False)
        if node.output is None:
            output = run_output(turn, int(status), reason or "", failure)
        end_run(turn, status, reason or "", failure, turn.ended[row.n], output=output)
        return
    thread = turn.thread(token.thread)
    if token.thread and thread is not None:
        turn.edit_thread(token.thread).output = output
    if node.threads and thread is not None and thread.children:
        row.bits |= Bit.AWAITS_THREADS
        row.output = output
        row_added(turn, row)
        return
    instant(turn, row, output)
    retire(turn, token.scope)


def silent_end(turn: Turn, token: Token, node: End) -> None:
    scene = Scene(turn, None, None, token.thread)
    output = evaluate(node.output, scene) if node.output is not None else None
    if node.run:
        status = RunStatus(evaluate(node.status, scene)) if node.status is not None else RunStatus.COMPLETED
        reason = evaluate(node.reason, scene) if node.reason is not None else ""
        end_run(turn, status, reason or "", None, output=output)
        return
    if token.thread:
        turn.edit_thread(token.thread).output = output
    retire(turn, token.scope)


STATES: dict[type, State] = {
    Work: State.WORK,
    Wait: State.WAIT,
    Choice: State.WAIT,
    Fork: State.WAIT,
    Join: State.JOIN,
    Scope: State.SCOPE,
    Call: State.CALL,
    Emit: State.EMIT,
    Send: State.WAIT,
    Assign: State.WAIT,
    Raise: State.WAIT,
    End: State.WAIT,
}
ENTER: dict[type, Callable[[Turn, Token, Any, OpenStep], None]] = {
    Work: enter_work,
    Wait: enter_wait,
    Choice: enter_choice,
    Fork: enter_fork,
    Join: enter_join,
    Scope: enter_scope,
    Call: enter_call,
    Emit: enter_emit,
    Send: enter_send,
    Assign: enter_assign,
    Raise: enter_raise,
    End: enter_end,
}
SILENT: dict[type, Callable[[Turn, Token, Any], None]] = {
    Choice: silent_choice,
    Assign: silent_assign,
    Fork: silent_fork,
    Raise: silent_raise,
    End: silent_end,
}
