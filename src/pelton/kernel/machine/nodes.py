"""What a token does when it enters a node, by kind."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from msgspec import convert

from pelton.errors import Code
from pelton.kernel.machine.draft import PRIORITY, SKIPPED, SKIPS, Draft, Refusal, StepFailed, StepFailure, Token
from pelton.kernel.machine.records import COMING, count_child, write_record
from pelton.kernel.machine.reports import claim_reports
from pelton.kernel.machine.scene import Scene, evaluate
from pelton.kernel.machine.tokens import limits
from pelton.kernel.machine.tokens.flow import (
    assign,
    branches_of,
    count_join,
    finish,
    fresh,
    has_gone_on,
    leave,
    open_branches,
    retire_token,
)
from pelton.kernel.machine.tokens.lifecycle import find_definition, finish_run, meta_from, run_output
from pelton.kernel.machine.tokens.names import comes_later, find
from pelton.kernel.machine.tokens.queues import put_off, take_or_rest
from pelton.kernel.machine.tokens.scopes import open_scope
from pelton.kernel.machine.tokens.stops import failure_of_children
from pelton.kernel.machine.tokens.thread_joins import open_thread_join
from pelton.kernel.machine.tokens.threads import start_thread
from pelton.kernel.machine.tokens.waits import open_wait
from pelton.kernel.model.process import (
    REPLY,
    Acquired,
    Assign,
    Call,
    Choice,
    Emit,
    End,
    Find,
    Fork,
    Fragment,
    Join,
    Node,
    Raise,
    RunSignal,
    Scope,
    Send,
    Take,
    Wait,
    Work,
)
from pelton.kernel.model.reads import CompiledKey, Missing, NewRunKey
from pelton.kernel.model.state import FRAGMENTED, Bit, Failure, OpenStep, RunStatus, StartMeta, State, Step, StepStatus
from pelton.kernel.model.transition import UNSET, GiveReply, Publish, SignalRun, StartRun

MOST_STARTS = 50  # of one Send in its own commit; the others follow


def enter(draft: Draft, token: Token) -> None:
    if draft.halted(token.thread):
        draft.park(token)
        return
    if token.fragment:
        node, fragment = draft.find_node(token.node, token.fragment)
    else:
        node, fragment = draft.node(token.node), 0
    draft.fuel -= node.fuel
    if type(node) is Fork and token.branch:
        branch_out(draft, node, *branches_of(draft, node, token), token)
        return
    if (type(node) is Take and put_off(draft, token, node)) or (type(node) is Find and comes_later(draft, token, node)):
        return
    if not node.trace and type(node) in SILENT:
        try:
            SILENT[type(node)](draft, token, node)
            return
        except StepFailure as error:
            row = fresh(draft, token, node, State.WAIT)
            fail_entering(draft, row, error)
            return
    if token.origin < 0:
        draft.reuse = -token.origin
    row = fresh(draft, token, node, STATES[type(node)])
    if fragment != token.fragment:
        row.fragment = fragment
    if token.previous and draft.head.era and has_gone_on(draft, token):
        row.bits |= Bit.GONE_ON
    if draft.head.flags & SKIPS and node.skippable and type(node) is not Fork and skip(draft, node, row):
        return
    try:
        if draft.given is not None:
            row.input, draft.given = draft.given, None
        elif node.input is not None:
            row.input = evaluate(node.input, Scene(draft, row, None, token.thread))
        activate(draft, token, node, row)
    except StepFailure as error:
        fail_entering(draft, row, error)


def activate(draft: Draft, token: Token, node: Node, row: OpenStep) -> None:
    kind = type(node)
    if kind not in STANDING:
        ENTER[kind](draft, token, node, row)
        return
    limits.decide_standing(draft, node, row)
    ENTER[kind](draft, token, node, row)
    limits.start(draft, row)


def fail_entering(draft: Draft, row: OpenStep, error: StepFailure) -> None:
    """Entering the node failed: its step fails, and is recorded even where a successful one would not be."""
    if row.n in draft.ended:
        return
    unopened = row.n not in draft.open_rows
    if unopened:
        row.started = draft.now
        draft.add(row)
    failure = error.failure
    node = draft.node_of(row)
    # A choice is never retried, so its status need not rule that out.
    status = StepStatus.FAILED if failure.retriable or isinstance(node, Choice) else StepStatus.FAILED_FOR_GOOD
    output = {"error": failure.message} if isinstance(node, Assign) else row.output
    draft.worklist.append(StepFailed(row.n, failure, int(status), output, unopened))


def skip(draft: Draft, node: Node, row: OpenStep) -> bool:
    """Ends the step at once when an operator asked for its slot to be skipped."""
    name = SKIPPED + node.name
    found = draft.var(0, name)
    if found is None:
        return False
    draft.variables[0, name] = UNSET
    row.input, row.started = found[0].get("input"), draft.now
    draft.add(row)
    finish(draft, row, found[0].get("output"), StepStatus.SKIPPED)
    return True


def instant(draft: Draft, row: OpenStep, output: Any) -> Step:
    """A step that needs nothing more: opened and ended at once, without its token moving."""
    row.started = draft.now
    draft.add(row)
    return draft.end(row, StepStatus.COMPLETED, output)


# ---- work


def enter_work(draft: Draft, token: Token, node: Work, row: OpenStep) -> None:
    scene = Scene(draft, row, row.input, token.thread)
    queue = node.queue if isinstance(node.queue, str) else evaluate(node.queue, scene)
    if not queue or not isinstance(queue, str):
        raise StepFailure(
            Failure("expression", "technical", f"the queue of {node.name!r} is {queue!r}; it must be a name", None, False)
        )
    if queue.startswith("@"):
        row.bits |= Bit.BUILT_IN
    row.queue = queue
    row.priority = draft.head.flags >> PRIORITY
    row.due = token.due or draft.now + node.delay
    decide_limits(draft, node, row, scene)
    if token.previous:
        before = draft.step(token.previous)
        row.reason = before.reason if before is not None else ""
    draft.add(row)
    limits.start(draft, row)
    claim_reports(draft, row)


def decide_limits(draft: Draft, node: Work, row: OpenStep, scene: Scene) -> None:
    """The limits of work: two are columns, which count from each hand-out."""
    queue, idle, attempt, total = node.limits.queue, node.limits.idle, node.limits.attempt, node.limits.total
    if idle is not None:
        row.idle = limits.duration(idle, node, scene) or 0
    if attempt is not None and attempt.at is None:
        row.limit = limits.duration(attempt, node, scene) or 0
    elif attempt is not None:
        limits.decide(row, "limit", attempt, node, scene, draft.now)
    if queue is not None:
        limits.decide(row, "queue", queue, node, scene, row.due)
    if total is not None:
        limits.decide(row, "total", total, node, scene, row.first)


def enter_wait(draft: Draft, token: Token, node: Wait, row: OpenStep) -> None:
    open_wait(draft, node, row)
    claim_reports(draft, row)


# ---- ways


def enter_choice(draft: Draft, token: Token, node: Choice, row: OpenStep) -> None:
    scene = Scene(draft, row, row.input, token.thread)
    if node.select is None:
        finish(draft, row_added(draft, row), None)
        return
    text = evaluate(node.select, scene)
    scene.value = text
    output = evaluate(node.output, scene) if node.output is not None else None
    finish(draft, row_added(draft, row), output, to=node.cases.get(str(text), node.default))


def row_added(draft: Draft, row: OpenStep) -> OpenStep:
    row.started = draft.now
    return draft.add(row)


def silent_choice(draft: Draft, token: Token, node: Choice) -> None:
    scene = Scene(draft, None, None, token.thread, at=token)
    if node.select is None:
        leave(draft, node, token)
        return
    text = evaluate(node.select, scene)
    leave(draft, node, token, to=node.cases.get(str(text), node.default))


def silent_assign(draft: Draft, token: Token, node: Assign) -> None:
    compute(draft, node, Scene(draft, None, None, token.thread, at=token))
    leave(draft, node, token)


def compute(draft: Draft, node: Assign, scene: Scene) -> Any:
    merged = evaluate(node.merge, scene) if node.merge is not None else None
    value = evaluate(node.record, scene) if node.record is not None else None
    assign(draft, node.changes, scene)
    if node.record is not None:
        write_record(draft, value, scene.moment)
    for name, value in (merged or {}).items():
        draft.set_var(scene.thread, name, value)
    return evaluate(node.output, scene) if node.output is not None else None


def enter_assign(draft: Draft, token: Token, node: Assign, row: OpenStep) -> None:
    output = compute(draft, node, Scene(draft, row, row.input, token.thread))
    finish(draft, row_added(draft, row), output)


def silent_fork(draft: Draft, token: Token, node: Fork) -> None:
    opens = any(isinstance(draft.find_node(name, token.fragment)[0], Join) for name in node.branches)
    branch_out(draft, node, node.branches, token.fragment, token._replace(origin=-draft.number() if opens else 0))


def enter_fork(draft: Draft, token: Token, node: Fork, row: OpenStep) -> None:
    branches, fragment = node.branches, row.fragment
    scene = Scene(draft, row, row.input, token.thread)
    if node.dynamic is not None:
        branches, fragment = acquire(draft, node, row, evaluate(node.dynamic, scene)), row.n
    output = evaluate(node.output, scene) if node.output is not None else None
    instant(draft, row, output)
    branch_out(draft, node, branches, fragment, token._replace(origin=row.n))


def acquire(draft: Draft, node: Fork, row: OpenStep, value: Any) -> tuple[str, ...]:
    """What a dynamic fork makes of its value. The run keeps the value with the fork's step, so that every later transition sees
    the same nodes; they are compiled outside, once for all runs and steps of the same content."""
    if draft.process.fragment is None:
        raise Refusal(Code.INVALID, f"process {draft.process.name!r} cannot fork dynamically")
    try:
        text = json.dumps(value)
    except (TypeError, ValueError, RecursionError):
        raise invalid_fork(f"{node.name!r} forks into what is not plain data") from None
    fragment: Fragment | str = draft.reads.answer(CompiledKey(draft.head.definition, node.name, text))
    if isinstance(fragment, str):
        raise invalid_fork(fragment)
    draft.acquired[row.n] = Acquired(fragment, row.fragment)
    draft.head.flags |= FRAGMENTED
    draft.acquisitions.append((row.n, node.name, json.loads(text), row.fragment))
    return fragment.branches


def invalid_fork(reason: str) -> StepFailure:
    return StepFailure(Failure("invalid fork", "technical", reason, None, False))


def branch_out(draft: Draft, node: Fork, branches: tuple[str, ...], fragment: int, token: Token) -> None:
    """Sends a token into each branch; where fuel does not reach, the fork's own token parks at the next branch. `fragment`: what
    the branches are named in."""
    room = max(draft.fuel - len(draft.worklist), 1)
    last = min(len(branches), token.branch + room)
    draft.grow(token.scope, last - token.branch)
    open_branches(draft, branches, branches[token.branch : last], token, fragment)
    if last < len(branches):
        draft.park(token._replace(node=node.name, branch=last), Bit.STRANDED)
        draft.ask_to_continue()
    elif branches:
        draft.grow(token.scope, -1)
    else:
        leave(draft, node, token)


def enter_join(draft: Draft, token: Token, node: Join, row: OpenStep) -> None:
    row.started = draft.now
    if node.threads is None:
        row.k = abs(token.origin)
        if token.fragment and token.fragment == token.origin:
            row.bits |= Bit.DYNAMIC
        row.child = older_join(draft, row)
        draft.add(row)
        count_join(draft, node, row)
        return
    draft.add(row)
    numbers = evaluate(node.threads, Scene(draft, row, row.input, token.thread))
    open_thread_join(draft, node, row, numbers)


def older_join(draft: Draft, row: OpenStep) -> int:
    """The number of a join in the same place that is still open; 0 = none."""
    found = draft.at(row.slot, row.scope, row.it)
    while isinstance(found, Step):
        found = draft.step(found.child) if found.child else None
    return found.n if found is not None else 0


# ---- others


def enter_scope(draft: Draft, token: Token, node: Scope, row: OpenStep) -> None:
    open_scope(draft, node, row)


def enter_call(draft: Draft, token: Token, node: Call, row: OpenStep) -> None:
    scene = Scene(draft, row, row.input, token.thread)
    given = evaluate(node.child_input, scene) if node.child_input is not None else row.input
    if node.thread:
        row.bits |= Bit.THREAD
        awaits = node.awaits != "nothing"
        thread = start_thread(
            draft,
            node.thread,
            token.thread,
            row.n if awaits else 0,
            variables={"INPUT": given},
            fragment=row.fragment,
            starter=row.n,
        )
        row.child = thread.no
    else:
        start_child(draft, node, row, scene, given)
    row_added(draft, row)
    if node.awaits == "nothing":
        finish(draft, row, node.output(row.input, row.child) if node.output is not None else row.child)


def start_child(draft: Draft, node: Call, row: OpenStep, scene: Scene, given: Any) -> None:
    if node.target is None:
        raise Refusal(Code.INVALID, f"call {node.name!r} has neither a target nor a thread")
    definition = find_definition(draft, evaluate(node.target, scene))
    if isinstance(definition, str):
        raise StepFailure(Failure("unknown process", "technical", definition, None, False))
    row.child = draft.reads.answer(NewRunKey(row.n, row.attempt))
    meta = meta_from(evaluate(node.meta, scene)) if node.meta is not None else StartMeta()
    draft.effects.append(StartRun(row.child, definition, given, meta, row.n if node.awaits != "nothing" else 0))


def enter_emit(draft: Draft, token: Token, node: Emit, row: OpenStep) -> None:
    scene = Scene(draft, row, row.input, token.thread)
    row.output = body = evaluate(node.body, scene)  # also the output of a step that fails because of its sink
    sink = evaluate(node.sink, scene)
    if not isinstance(sink, str) or not sink or sink == REPLY:
        raise StepFailure(
            Failure("sink", "technical", f"the sink of {node.name!r} is {sink!r}; it must be an address", None, False)
        )
    awaits = node.awaits == "outside" if isinstance(node.awaits, str) else bool(evaluate(node.awaits, scene))
    if sink.startswith(REPLY):
        draft.effects.append(GiveReply(row.n, sink[len(REPLY) :], body))
    else:
        draft.effects.append(Publish(row.n, row.attempt, sink, body))
    row_added(draft, row)
    if awaits:
        claim_reports(draft, row)
    else:
        finish(draft, row, body)


def enter_send(draft: Draft, token: Token, node: Send, row: OpenStep) -> None:
    scene = Scene(draft, row, row.input, token.thread)
    results: list[Any] = []
    missing: list[Any] = []
    starts = before = coming = 0
    for index, each in enumerate(evaluate(node.what, scene)):
        if isinstance(each, RunSignal):
            draft.effects.append(SignalRun(each.run, each.signal, later=True))
            continue
        try:
            definition = find_definition(draft, each.target)
            key: int = 0 if isinstance(definition, str) else draft.reads.answer(NewRunKey(row.n, index))
        except Missing as more:
            missing += more.keys
            continue
        if isinstance(definition, str):
            results.append({"error": definition})
            continue
        given = {**each.input, each.after: before} if each.after and before else each.input
        starts += 1
        coming += each.linked
        later = starts > MOST_STARTS
        draft.effects.append(
            StartRun(
                key=key,
                definition=definition,
                input=given,
                meta=each.meta,
                n=0,
                later=later,
                linked=each.linked,
                trigger=each.trigger,
                origin=each.origin,
            )
        )
        before = key
        results.append({"run": key})
    if missing:
        raise Missing(*dict.fromkeys(missing))
    if coming:  # counted now, so that no one who looks before they start takes it that there are none
        count_child(draft, COMING, coming)
    finish(draft, row_added(draft, row), results or None)


def enter_take(draft: Draft, token: Token, node: Take, row: OpenStep) -> None:
    scene = Scene(draft, row, row.input, token.thread)
    key = str(evaluate(node.key, scene))
    body = evaluate(node.body, scene) if node.body is not None else None
    take_or_rest(draft, node, row_added(draft, row), key, body)


def enter_find(draft: Draft, token: Token, node: Find, row: OpenStep) -> None:
    output = find(draft, node, Scene(draft, row, row.input, token.thread), row)
    finish(draft, row_added(draft, row), output)


def enter_raise(draft: Draft, token: Token, node: Raise, row: OpenStep) -> None:
    failure = evaluate(node.failure, Scene(draft, row, row.input, token.thread))
    raise StepFailure(failure if isinstance(failure, Failure) else convert(failure, Failure))


def silent_raise(draft: Draft, token: Token, node: Raise) -> None:
    failure = evaluate(node.failure, Scene(draft, None, None, token.thread, at=token))
    raise StepFailure(failure if isinstance(failure, Failure) else convert(failure, Failure))


def enter_end(draft: Draft, token: Token, node: End, row: OpenStep) -> None:
    scene = Scene(draft, row, row.input, token.thread)
    output = evaluate(node.output, scene) if node.output is not None else None
    if node.run:
        status = RunStatus(evaluate(node.status, scene)) if node.status is not None else RunStatus.COMPLETED
        reason = evaluate(node.reason, scene) if node.reason is not None else ""
        instant(draft, row, output)
        failure = None if status == RunStatus.COMPLETED else Failure("ended", "business", reason or "", None, False)
        if node.output is None:
            output = run_output(draft, int(status), reason or "", failure)
        finish_run(draft, status, reason or "", failure, row.n, output, token.scope)
        return
    thread = draft.thread(token.thread)
    if token.thread and thread is not None:
        draft.edit_thread(token.thread).output = output
    if node.threads and thread is not None and thread.children:
        row.bits |= Bit.AWAITS_THREADS
        row.output = output
        row_added(draft, row)
        draft.edit_thread(token.thread).ends += (row.n,)
        return
    failure = failure_of_children(draft, thread) if node.threads and thread is not None else None
    if failure is not None:
        raise StepFailure(failure)
    instant(draft, row, output)
    retire_token(draft, token.scope)


def silent_end(draft: Draft, token: Token, node: End) -> None:
    thread = draft.thread(token.thread) if node.threads and not node.run else None
    if thread is not None and (thread.children or thread.failed):
        enter_end(draft, token, node, fresh(draft, token, node, State.WAIT))  # what waits, or fails, has a row
        return
    scene = Scene(draft, None, None, token.thread, at=token)
    output = evaluate(node.output, scene) if node.output is not None else None
    if node.run:
        status = RunStatus(evaluate(node.status, scene)) if node.status is not None else RunStatus.COMPLETED
        reason = evaluate(node.reason, scene) if node.reason is not None else ""
        finish_run(draft, status, reason or "", None, 0, output, token.scope)
        return
    if token.thread:
        draft.edit_thread(token.thread).output = output
    retire_token(draft, token.scope)


STANDING = frozenset({Wait, Take, Call, Emit, Scope, Join})  # kinds whose steps stay open, and are no work
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
    Take: State.WAIT,
    Find: State.WAIT,
    Assign: State.WAIT,
    Raise: State.WAIT,
    End: State.WAIT,
}
ENTER: dict[type, Callable[[Draft, Token, Any, OpenStep], None]] = {
    Work: enter_work,
    Wait: enter_wait,
    Choice: enter_choice,
    Fork: enter_fork,
    Join: enter_join,
    Scope: enter_scope,
    Call: enter_call,
    Emit: enter_emit,
    Send: enter_send,
    Take: enter_take,
    Find: enter_find,
    Assign: enter_assign,
    Raise: enter_raise,
    End: enter_end,
}
SILENT: dict[type, Callable[[Draft, Token, Any], None]] = {
    Choice: silent_choice,
    Assign: silent_assign,
    Fork: silent_fork,
    Raise: silent_raise,
    End: silent_end,
}
