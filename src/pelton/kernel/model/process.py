"""The process graph: the one form that every definition is compiled to.

Nodes are named; a traced node's name is the slot under which its steps are kept, so names must be the same from version to
version. The kinds are few and general; everything that only one language knows stays in `annotations`, which the kernel carries
and never opens. A path of tokens ends where a node has no way on ("" as target): the token is counted out of its scope or thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from msgspec import Struct

from pelton.kernel.expressions.base import Constant, Expression, Invalid
from pelton.kernel.model.signals import Signal, Start, Trigger
from pelton.kernel.model.state import Failure, RunStatus, StartMeta, StepStatus


class Assignment(Struct, frozen=True):
    name: str
    value: Expression


class Edge(Struct, frozen=True):
    """`guard` None = open. `assigns` are applied all or none before the token moves."""

    to: str
    guard: Expression | None = None
    assigns: tuple[Assignment, ...] = ()


class Retry(Struct, frozen=True):
    """`as_new_step`: another attempt is a separate step with fresh input (else the same step is offered again)."""

    count: int = 0
    delay: int = 0  # milliseconds
    logic: Literal["fixed", "linear", "exponential"] = "fixed"
    factor: float = 1.0
    cap: int = 0  # milliseconds, 0 = none
    jitter: int = 0  # milliseconds, seeded by run, step and attempt
    as_new_step: bool = True


class Limit(Struct, frozen=True):
    """A time limit. An expression is evaluated once, when the step opens, and None means: no limit this time. What was evaluated
    is kept with the step; what follows when it is exceeded is what the version says that the run follows then."""

    after: int | Expression = 0  # milliseconds
    action: Literal["retry", "fail", "fail run", "edge", "announce"] = "retry"
    to: str = ""  # with "edge"
    message: str = ""  # may hold {elapsed}, {limit}, {step}, filled in seconds / the step's public id
    at: Expression | None = None  # instead of `after`: an instant in epoch milliseconds, which no halt moves

    @property
    def stated(self) -> int:
        """The milliseconds, where the definition states them; 0 where they are computed."""
        return self.after if isinstance(self.after, int) else 0


class Limits(Struct, frozen=True):
    """Work has all four. Wait, Take, Call, Emit, Scope and Join have `attempt`, from the opening of the attempt, and `total`; the
    other kinds do not stand, and have none.

    A limit goes on while the thread is halted and is enforced then, unless `on_halt` is "stop": then its clock stops, and goes on
    with the remaining time. The limit of a wait that is halted loses to an event that is there already."""

    queue: Limit | None = None  # until it is first handed out
    idle: Limit | None = None  # without a sign of life, once handed out
    attempt: Limit | None = None  # from the hand-out; an instant counts before it too
    total: Limit | None = None  # over all attempts, from the first opening


class Rule(Struct, frozen=True):
    """What follows a final failure that matches (empty = any).

    propagate: the scope that owns the step fails, else its thread. abort: the run fails at once. continue: the step counts as
    completed with errors. defer: move on, and let the scope or run fail when its last token is gone. edge: on to node `to`.
    body: a handler thread at `to`; when it completes the token moves on.
    """

    action: Literal["propagate", "abort", "continue", "defer", "edge", "body"]
    names: frozenset[str] = frozenset()
    kinds: frozenset[str] = frozenset()
    to: str = ""

    def matches(self, failure: Failure) -> bool:
        return (not self.names or failure.name in self.names) and (not self.kinds or failure.kind in self.kinds)


class Node(Struct, frozen=True, kw_only=True):
    name: str
    next: tuple[Edge, ...] = ()  # the first whose guard holds; none = the token ends here
    trace: bool = True  # an activation is a step with a number
    input: Expression | None = None
    retry: Retry | None = None
    limits: Limits = Limits()
    on_failure: tuple[Rule, ...] = ()
    on_halt: Literal["finish", "stop", "cancel"] = "finish"
    skippable: bool = True
    fuel: int = 1
    annotations: Any = None


class SecretUse(Struct, frozen=True):
    """The secrets that a step's input names. `fill`: the input as it is kept, and their values by name → the input as it is
    handed out; where the definition does not name a secret, nothing is filled in."""

    names: tuple[str, ...]
    fill: Callable[[Any, Mapping[str, str]], Any]


class Work(Node, frozen=True, kw_only=True):
    """Done by someone else. `queue` of a built-in operation starts with "@"."""

    queue: str | Expression
    delay: int = 0  # milliseconds before it may first be handed out
    output: Callable[[Any, Any], Any] | None = None  # (input, reported output) → kept output
    secrets: SecretUse | None = None


class Arm(Struct, frozen=True, kw_only=True):
    """`stays`: the wait stays open after the arm's assigns and body; `to`: where to go, "" = the node's own way on."""

    stays: bool = False
    to: str = ""
    assigns: tuple[Assignment, ...] = ()
    body: str = ""  # with stays: a thread started at this node each time


class Outside(Arm, frozen=True, kw_only=True):
    """A person or a caller completes it (`Report`). `checks` see the reported output as the value, and yield None or a refusal's
    text; of several such arms the first is taken that nothing refuses."""

    checks: tuple[Expression, ...] = ()


class OnEvent(Arm, frozen=True, kw_only=True):
    """`key` None: events posted to this run. With a key: events of that name and key in the namespace (a rendezvous).

    `offers`, with a key: the wait is a place in a queue, from which `Take` steps of other runs take it; what it yields then, of
    this run, is theirs. One whose `offers` fails is passed over."""

    event: str
    key: Expression | None = None
    offers: Expression | None = None


class AtTime(Arm, frozen=True, kw_only=True):
    """`at` yields epoch milliseconds, or None for never; it is evaluated when the wait opens, and again when a variable that it
    reads is written. `every`: with stays, again after so many milliseconds; what an expression yields each time, 0 or None for no
    more. Where the wait stops on a halt the remaining time
    counts afterwards; `fixed`: it is a date, which no halt moves."""

    at: Expression
    every: int | Expression = 0
    fixed: bool = False


class OnTrigger(Arm, frozen=True, kw_only=True):
    """`guard` sees the changed variables; `checks` yield None or a refusal's text."""

    trigger: str
    guard: Expression | None = None
    checks: tuple[Expression, ...] = ()


class OnCondition(Arm, frozen=True, kw_only=True):
    """Looked at when the wait opens and whenever a variable in `when.reads` is written. With stays, it is taken each time that
    the condition has become true."""

    when: Expression


class OnMerge(Arm, frozen=True, kw_only=True):
    when: Expression | None = None


class Wait(Node, frozen=True, kw_only=True):
    arms: tuple[Arm, ...]


class Choice(Node, frozen=True, kw_only=True):
    """With `select`: its text names a case. Without: the first edge of `next` whose guard holds."""

    select: Expression | None = None
    cases: Mapping[str, str] = {}
    default: str = ""
    output: Expression | None = None  # sees the selected text as `context.value`


class Fork(Node, frozen=True, kw_only=True):
    """One token a branch, in this order. `dynamic` yields a value that the language's compiler turns into a `Fragment`."""

    branches: tuple[str, ...] = ()
    dynamic: Expression | None = None
    output: Expression | None = None


class Join(Node, frozen=True, kw_only=True):
    """Opened by the fork as its last branch. `on`: slots, in the join's own scope and iteration; `threads` yields numbers."""

    on: tuple[str, ...] = ()
    threads: Expression | None = None
    rule: Literal["all", "first", "any", "count"] = "all"
    count: int = 0
    losers: Literal["leave", "halt"] = "leave"
    per_thread: tuple[Rule, ...] = ()  # threads: what a failed one means


class Scope(Node, frozen=True, kw_only=True):
    """Owns a body and its iterations. `again` is looked at after each iteration (`check_first`: before the first too).

    `items` yields a list: one iteration an item. `parallel`: a thread an item. `thread`: the body runs in its own thread.
    `renewed`: the scope's input at each look at `again`; its value is the input until then.
    """

    body: str
    again: Expression | None = None
    items: Expression | None = None
    check_first: bool = False
    parallel: bool = False
    thread: bool = False
    keep_last: Expression | None = None  # iterations whose steps are kept, None or 0 = all
    most: int = 1_000_000  # iterations, then it fails
    renewed: Expression | None = None


class Call(Node, frozen=True, kw_only=True):
    """A child run, or a thread of this run at node `thread`.

    `target` yields {"name": text, "version": int or None} or {"definition": body}; the child's input is this node's input, or
    what `child_input` yields. `meta` yields the parts of StartMeta that the child gets.
    """

    target: Expression | None = None
    thread: str = ""
    awaits: Literal["end", "reply", "nothing"] = "end"
    child_input: Expression | None = None
    meta: Expression | None = None
    output: Callable[[Any, Any], Any] | None = None
    when_late: Literal["end", "leave"] = "end"  # what a limit of the call that is exceeded means for what was called
    silent: Literal["fail", "wait"] = "fail"  # awaits a reply: the child has ended without one


REPLY = "reply:"


class Emit(Node, frozen=True, kw_only=True):
    """`sink` yields an address "scheme:rest"; `body` what is sent, which is also the step's output. The address "reply:" and a
    name is that of a caller who waits for this very answer: it goes there with the commit."""

    sink: Expression
    body: Expression
    awaits: Literal["nothing", "outside"] | Expression = "nothing"


class Assign(Node, frozen=True, kw_only=True):
    """Sets variables, all or none; `output` is what the step leaves behind. Synchronous computations are of this kind too."""

    changes: tuple[Assignment, ...] = ()
    merge: Expression | None = None  # yields an object whose members are set
    output: Expression | None = None
    record: Expression | None = None  # yields the record's new value


class NewRun(NamedTuple):
    """Another run to start. `target` as in Call, and its `at` (microseconds) for a version of the past. `linked`: it becomes a
    child, for which no step waits. `after`: the member of its input that receives the key of the run started before it in the
    same list, "" = none. `origin`: the step of this run in whose log a refused start is recorded."""

    target: Mapping[str, Any]
    input: Any
    meta: StartMeta = StartMeta()
    trigger: Trigger | None = None
    linked: bool = True
    after: str = ""
    origin: int = 0


class RunSignal(NamedTuple):
    """A signal to a run, by key; this one included."""

    run: int
    signal: Signal


class Send(Node, frozen=True, kw_only=True):
    """Starts and signals other runs, and moves on. `what` yields a list of NewRun and RunSignal; signals follow in later commits.
    What cannot be started is reported in the step's output, and stops nothing else."""

    what: Expression


class Take(Node, frozen=True, kw_only=True):
    """Takes a place in the queue (`event`, what `key` yields): that of the wait in any run of the namespace that has waited
    longest, or with `last` shortest. It goes on with what `body` yields as the event's body, in the same commit; halted ones are
    passed over. The output: the taken run's id, the number of its step, and what it offers as `data`.

    `empty`: what happens when nobody waits. "edge": on to `to`. "wait": until somebody comes."""

    event: str
    key: Expression
    last: bool = False
    body: Expression | None = None
    empty: Literal["fail", "edge", "wait"] = "fail"
    to: str = ""


MOST_NAME = 1_024  # characters
DOES = ("read", "signal", "start")


class Find(Node, frozen=True, kw_only=True):
    """Finds a run of `process` by its name (`key`) in the namespace, and knows in the same commit what comes of it.

    `does`: "read" it: the output has its id as `run`, `status`, `variables`, and `record` if it keeps one. "signal" it with what
    `signal` yields, or "start" it with what `given` yields as its input, under that name: the output has `run`.

    It fails with "no such run", "name taken" (of a start), or "not accepted", whose content says with which code and why; all of
    kind "business"."""

    process: Expression
    key: Expression
    does: Literal["read", "signal", "start"] = "read"
    signal: Expression | None = None  # yields a Signal
    given: Expression | None = None
    meta: Expression | None = None  # yields the parts of StartMeta that a started run gets


class Raise(Node, frozen=True, kw_only=True):
    failure: Expression  # yields a Failure


class End(Node, frozen=True, kw_only=True):
    """Ends its thread, or with `run` the whole run with that status. `threads`: waits for the child threads first."""

    run: bool = False
    status: Expression | None = None  # yields a RunStatus
    output: Expression | None = None
    reason: Expression | None = None
    threads: bool = False


class ThreadArm(Struct, frozen=True):
    """An interrupt: an event of this name halts the thread and its children, and `body` runs as a thread meanwhile."""

    event: str
    body: str
    input: str = "INPUT"  # the variable that receives the event's body


class Body(Struct, frozen=True):
    """What a thread is made of, beside nodes: initial variables and interrupts."""

    entry: str
    variables: Mapping[str, Expression] = {}
    interrupts: tuple[ThreadArm, ...] = ()


class FollowUp(Struct, frozen=True):
    """When the run ends so (from inside), another process is started. `target` as in Call; None = not this time."""

    statuses: frozenset[RunStatus]
    target: Expression
    input: Expression
    meta: Expression | None = None
    note: str = ""  # member of the ended run's output that names the started run, or tells why there is none
    excuse: str = "{reason}"  # the text of that; {name} is that of the process


class Crossing(Struct, frozen=True):
    """What starts when the tokens at a counted node have become `at` many, and when they have become fewer again: told once,
    however many runs and servers move them. `target` as in Call, seen from the run whose token crosses the mark; `reached` and
    `fallen` yield the input of what starts then, None = nothing starts."""

    at: int
    target: Expression
    reached: Expression | None = None
    fallen: Expression | None = None


class Counted(Struct, frozen=True):
    """A node whose tokens are counted over all runs of its process. `sums`: variables whose numbers are added up, each time that
    a token enters."""

    sums: tuple[str, ...] = ()
    crossing: Crossing | None = None


class Fragment(Struct):
    """Nodes that were compiled while the run was in progress (dynamic fork). Their names need to differ in here only: the nodes
    that another fork, thread or iteration has made are others."""

    nodes: Mapping[str, Node]
    branches: tuple[str, ...]
    joins: Mapping[str, tuple[str, ...]] = {}  # join node → which of `nodes` it awaits instead of its own `on`
    # derived by `finish`
    joins_of: dict[str, tuple[str, ...]] = {}
    holders: dict[str, str] = {}  # node → loop whose body it is in

    def finish(self) -> Fragment:
        """Derives what `advance` looks up. Raises Invalid naming the node that cannot work."""
        waiting: dict[str, list[str]] = {}
        for name, node in self.nodes.items():
            if isinstance(node, Find):
                try:
                    check_find(node)
                except ValueError as error:
                    raise Invalid(str(error)) from None
            if isinstance(node, Join) and name not in self.joins:
                for slot in node.on:
                    waiting.setdefault(slot, []).append(name)
        for name, slots in self.joins.items():
            for slot in slots:
                waiting.setdefault(slot, []).append(name)
        self.joins_of = {slot: tuple(names) for slot, names in waiting.items()}
        self.holders = holders_of(self.nodes)
        return self


class Acquired(NamedTuple):
    """A fragment that a run has. `parent`: the fragment that its fork is part of, 0 = the process."""

    fragment: Fragment
    parent: int


class Records(Struct, frozen=True):
    """A record that each run keeps (`machine/records.py`). All functions are pure, and may raise Refusal where noted."""

    begin: Callable[[Any], Any]  # (context) → the first value; may refuse the start
    change: Callable[[Any, Mapping[str, Any], Any], Any]  # (value, changes, moment) → the new value; may refuse
    live: Callable[[Any], bool]  # (value) → whether the run counts as open when runs are searched
    attributes: Callable[[Any], tuple[tuple[str, str], ...]]  # (value) → names and texts by which the run is found
    counted: Callable[[Any], str] | None = None  # (value) → what the parent counts it as, "" = as nothing
    lasting: frozenset[str] = frozenset()  # attributes that stay when the record goes: the run is found by them for its past
    # (value) → what `attributes` depends on: where these are the same objects before and after a change, they are not asked for.
    basis: Callable[[Any], tuple[Any, ...]] | None = None
    # (value before, None at first; value) → types and data of the events that a new value is announced by, each type once
    announced: Callable[[Any, Any], Sequence[tuple[str, Any]]] | None = None
    # (value, RunStatus, reason, moment) → the value once the run has ended so, or goes on after its end
    follows: Callable[[Any, int, str, Any], Any] | None = None


class Process(Struct, kw_only=True):
    """One exact version of a definition, compiled. Built once and cached; treat as read-only."""

    name: str
    version: int
    entry: str
    nodes: dict[str, Node]
    bodies: dict[str, Body] = {}  # by entry node; the root's under `entry`
    language: str = ""
    definition: int = 0  # the row it was compiled from
    deadline: Limit | None = None
    output: Expression | None = None  # None: the output of the last step that ended
    follow_ups: tuple[FollowUp, ...] = ()
    out_of_fuel: Literal["continue", "fail"] = "continue"
    most_transitions: int = 0  # how often a node may be entered without a wait in between; 0 = no limit
    fragment: Callable[[str, Any], Fragment] | None = None  # (fork node, value) → Fragment; pure; raises Invalid
    failed_status: Callable[[Failure, StepStatus], RunStatus] | None = None
    failed_reason: Callable[[Any, Any, Failure, int], str] | None = (
        None  # (context, step, failure, run status) → the run's reason
    )
    records: Records | None = None
    searchable: frozenset[str] = frozenset()  # variables, of any thread, that runs are found by
    # Each step has a position in its thread, counted from 0, by which events are addressed to it. Silent nodes have none.
    positions: bool = False
    annotations: Any = None
    counted: dict[str, Counted] = {}  # by node
    # derived by `finish`
    joins_of: dict[str, tuple[str, ...]] = {}
    holders: dict[str, str] = {}  # node → loop whose body it is in
    conditions: dict[str, tuple[str, ...]] = {}  # variable → waits with conditions or times that read it
    arms: dict[tuple[str, str], tuple[str, ...]] = {}  # (event | trigger | merge, name) → waits that have such an arm

    def finish(self) -> Process:
        """Derives what `advance` looks up, and checks that every target exists. Raises ValueError naming node and target."""
        joins: dict[str, list[str]] = {}
        conditions: dict[str, list[str]] = {}
        for node in self.nodes.values():
            check_node(node)
            for target in targets(node):
                if target and target not in self.nodes:
                    raise ValueError(f"node {node.name!r} leads to {target!r}, which does not exist")
            if isinstance(node, Join):
                for slot in node.on:
                    joins.setdefault(slot, []).append(node.name)
            elif isinstance(node, Wait):
                for arm in node.arms:
                    for name in sorted(variables_of(arm)):
                        if node.name not in conditions.setdefault(name, []):
                            conditions[name].append(node.name)
        for name, counted in self.counted.items():
            if name not in self.nodes or not self.nodes[name].trace:
                raise ValueError(f"node {name!r} is to be counted, and does not exist or is not traced")
            if counted.crossing is not None and counted.crossing.at < 1:
                raise ValueError(f"node {name!r}: the mark {counted.crossing.at} is never crossed; give a number above 0")
        if self.deadline is not None and (self.deadline.at is not None or not isinstance(self.deadline.after, int)):
            raise ValueError("the deadline of a run must be a number of milliseconds")
        if self.entry not in self.nodes:
            raise ValueError(f"the entry {self.entry!r} does not exist")
        self.joins_of = {slot: tuple(names) for slot, names in joins.items()}
        self.conditions = {name: tuple(waits) for name, waits in conditions.items()}
        self.holders = holders_of(self.nodes)
        self.arms = arms_of(self.nodes.values())
        return self


def variables_of(arm: Arm) -> set[str]:
    """The variables after whose change the arm is looked at again."""
    read = arm.when if isinstance(arm, OnCondition) else arm.at if isinstance(arm, AtTime) else None
    return {each.name for each in read.reads if each.kind == "var"} if read is not None else set()


def check_node(node: Node) -> None:
    if isinstance(node, Find):
        check_find(node)
    limits = node.limits
    if limits.idle is not None and limits.idle.at is not None:
        raise ValueError(f"node {node.name!r}: the idle limit must be a duration, since it begins anew with every sign of life")


def check_find(node: Find) -> None:
    """Refuses what could only ever fail, or would be passed over in silence."""
    where = f"node {node.name!r}"
    if node.does not in DOES:
        raise ValueError(f"{where} does {node.does!r}; it can be one of {', '.join(DOES)}")
    for what, given in (("process", node.process), ("key", node.key)):
        if isinstance(given, Constant) and not is_name(given.value):
            raise ValueError(f"{where}: the {what} {given.value!r} names no run; give a text of 1 to {MOST_NAME} characters")
    if node.does == "signal" and node.signal is None:
        raise ValueError(f"{where} signals a run and has no signal")
    if isinstance(node.signal, Constant) and (not isinstance(node.signal.value, Signal) or isinstance(node.signal.value, Start)):
        raise ValueError(f"{where}: the signal is {node.signal.value!r}, which no run that goes on can receive")
    more = {"signal": node.signal} if node.does != "signal" else {}
    more |= {"given": node.given, "meta": node.meta} if node.does != "start" else {}
    if unused := [name for name, value in more.items() if value is not None]:
        raise ValueError(f"{where} does {node.does!r}, for which {unused[0]!r} means nothing")


def is_name(value: object) -> bool:
    """Whether a value, as text, can be the name of a run or a process."""
    is_text = isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool))
    return is_text and 0 < len(str(value)) <= MOST_NAME


def arms_of(nodes: Iterable[Node]) -> dict[tuple[str, str], tuple[str, ...]]:
    """Which waits have an arm of a kind and name: ("event", its name), ("trigger", its name), ("merge", "")."""
    found: dict[tuple[str, str], dict[str, None]] = {}
    for node in nodes:
        if isinstance(node, Wait):
            for arm in node.arms:
                if isinstance(arm, OnEvent):
                    found.setdefault(("event", arm.event), {})[node.name] = None
                elif isinstance(arm, OnTrigger):
                    found.setdefault(("trigger", arm.trigger), {})[node.name] = None
                elif isinstance(arm, OnMerge):
                    found.setdefault(("merge", ""), {})[node.name] = None
    return {key: tuple(slots) for key, slots in found.items()}


def targets(node: Node) -> list[str]:
    """Every node that `node` may lead to."""
    found = [edge.to for edge in node.next]
    found += [rule.to for rule in node.on_failure if rule.to]
    for limit in (node.limits.queue, node.limits.idle, node.limits.attempt, node.limits.total):
        if limit is not None and limit.to:
            found.append(limit.to)
    if isinstance(node, Choice):
        found += [*node.cases.values(), node.default]
    elif isinstance(node, Fork):
        found += node.branches
    elif isinstance(node, Scope):
        found.append(node.body)
    elif isinstance(node, Call):
        found.append(node.thread)
    elif isinstance(node, Take):
        found.append(node.to)
    elif isinstance(node, Wait):
        for arm in node.arms:
            found += [arm.to, arm.body]
    elif isinstance(node, Join):
        found += [rule.to for rule in node.per_thread if rule.to]
    return [name for name in found if name]


def following(node: Node) -> list[str]:
    """Where a node may lead in its own scope and thread: `targets` without bodies. What a dynamic fork makes is not known."""
    found = [edge.to for edge in node.next]
    found += [rule.to for rule in node.on_failure if rule.action == "edge"]
    for limit in (node.limits.queue, node.limits.idle, node.limits.attempt, node.limits.total):
        if limit is not None:
            found.append(limit.to)
    if isinstance(node, Choice):
        found += [*node.cases.values(), node.default]
    elif isinstance(node, Fork):
        found += node.branches
    elif isinstance(node, Take):
        found.append(node.to)
    elif isinstance(node, Wait):
        found += [arm.to for arm in node.arms]
    return [name for name in found if name]


def holders_of(nodes: Mapping[str, Node]) -> dict[str, str]:
    """The loop that each node is in the body of. Bodies that run in threads are left out: there the thread is what holds them."""
    found: dict[str, str] = {}
    for scope in nodes.values():
        if not isinstance(scope, Scope) or scope.parallel or scope.thread:
            continue
        pending = [scope.body]
        while pending:
            name = pending.pop()
            if name in found or name not in nodes:
                continue
            found[name] = scope.name
            pending += following(nodes[name])
    return found
