"""Builds process graphs for tests, without any language: expressions are Python functions of the context.

    g = Graph("order")
    g.work("pack", to="ship").work("ship")
    process = g.build()

`to` is the name of the next node, "" for none, or a list of edges. The first node added is the entry, unless said otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from pelton.errors import Code
from pelton.kernel.expressions.base import BoundValue, Constant, Expression, Read
from pelton.kernel.machine.draft import Moment, Refusal
from pelton.kernel.machine.scene import Scene
from pelton.kernel.model.process import (
    Arm,
    Assign,
    Assignment,
    AtTime,
    Body,
    Call,
    Choice,
    Edge,
    Emit,
    End,
    Find,
    Fork,
    Join,
    Node,
    OnCondition,
    OnEvent,
    OnMerge,
    OnTrigger,
    Outside,
    Process,
    Raise,
    Records,
    Scope,
    Send,
    Take,
    ThreadArm,
    Wait,
    Work,
)
from pelton.kernel.model.state import Failure, OpenStep, Step

Get = Callable[[Scene], Any]
To = str | Edge | Sequence[Edge]


def look(get: Get, *reads: str) -> Expression:
    """An expression out of a function. `reads`: names of slots; those of variables start with "$"."""
    return BoundValue(get, frozenset(Read("var", name[1:]) if name.startswith("$") else Read("slot", name) for name in reads))


def say(value: Any) -> Expression:
    return Constant(value)


def expression(value: Any) -> Expression:
    """A function becomes a `look`, an expression stays what it is, anything else is a constant."""
    if hasattr(value, "evaluate"):
        known: Expression = value
        return known
    if callable(value):
        return look(value)
    return Constant(value)


def maybe(value: Any) -> Expression | None:
    return None if value is None else expression(value)


def out(slot: str, it: int | None = None) -> Expression:
    """The output of the newest step of a slot."""

    def get(scene: Scene) -> Any:
        row = scene.newest(slot, it)
        return row.output if row is not None else None

    return look(get, slot)


def var(name: str) -> Expression:
    return look(lambda scene: scene.var(name), "$" + name)


def output(row: OpenStep | Step | None) -> Any:
    return row.output if row is not None else None


def edge(to: str, guard: Any = None, **assigns: Any) -> Edge:
    return Edge(to, maybe(guard), sets(assigns))


def sets(assigns: Mapping[str, Any]) -> tuple[Assignment, ...]:
    return tuple(Assignment(name, expression(value)) for name, value in assigns.items())


def edges(to: To) -> tuple[Edge, ...]:
    if isinstance(to, str):
        return (Edge(to),) if to else ()
    return (to,) if isinstance(to, Edge) else tuple(to)


# ---- arms


def outside(to: str = "", *, stays: bool = False, body: str = "", checks: Iterable[Any] = (), **assigns: Any) -> Outside:
    return Outside(to=to, stays=stays, body=body, checks=tuple(map(expression, checks)), assigns=sets(assigns))


def on_event(
    name: str, to: str = "", *, key: Any = None, stays: bool = False, body: str = "", offers: Any = None, **assigns: Any
) -> OnEvent:
    return OnEvent(event=name, key=maybe(key), offers=maybe(offers), to=to, stays=stays, body=body, assigns=sets(assigns))


def after(ms: int, to: str = "", *, every: int = 0, stays: bool = False, body: str = "", **assigns: Any) -> AtTime:
    return AtTime(at=look(lambda scene: scene.now + ms), every=every, to=to, stays=stays, body=body, assigns=sets(assigns))


def at_time(at: Any, to: str = "", *, every: int = 0, stays: bool = False, fixed: bool = False, **assigns: Any) -> AtTime:
    return AtTime(at=expression(at), every=every, to=to, stays=stays, fixed=fixed, assigns=sets(assigns))


def on_trigger(
    name: str, to: str = "", *, guard: Any = None, checks: Iterable[Any] = (), stays: bool = False, **assigns: Any
) -> OnTrigger:
    return OnTrigger(
        trigger=name,
        guard=maybe(guard),
        checks=tuple(expression(check) for check in checks),
        to=to,
        stays=stays,
        assigns=sets(assigns),
    )


def when(condition: Get, *reads: str, to: str = "", stays: bool = False, **assigns: Any) -> OnCondition:
    return OnCondition(when=look(condition, *reads), to=to, stays=stays, assigns=sets(assigns))


def on_merge(to: str = "", *, condition: Any = None, stays: bool = False) -> OnMerge:
    return OnMerge(when=maybe(condition), to=to, stays=stays)


# ---- records


def card(changed: Callable[[Any, Mapping[str, Any], Any], Any] | None = None) -> Records:
    """A record with members as they come. `state` "closed" settles it; it is found by its state and its tags, and counted as its
    state ("open" without one). A run with input "refused" must not begin, and a change of `bad` is refused."""

    def begin(scene: Scene) -> Any:
        if scene.input == "refused":
            raise Refusal(Code.INVALID, "no record can be made of this")
        return (
            {"by": scene.moment.actor, **(scene.input or {})} if isinstance(scene.input, dict | None) else {"value": scene.input}
        )

    def change(body: Any, changes: Mapping[str, Any], moment: Moment) -> Any:
        if "bad" in changes:
            raise Refusal(Code.INVALID, f"bad is {changes['bad']!r}")
        return {**body, **changes}

    def attributes(body: Any) -> tuple[tuple[str, str], ...]:
        return (("state", state(body)), *(("tag", str(tag)) for tag in body.get("tags", ())))

    def state(body: Any) -> str:
        return str(body.get("state", "open"))

    def basis(body: Any) -> tuple[Any, ...]:
        return body.get("state"), body.get("tags")

    return Records(begin, changed or change, lambda body: state(body) != "closed", attributes, state, basis=basis)


# ---- graphs


class Graph:
    """`process` fields (deadline, follow_ups, output, out_of_fuel ...) are given by name."""

    def __init__(self, name: str = "p", version: int = 1, entry: str = "", **fields: Any) -> None:
        self.name = name
        self.version = version
        self.entry = entry
        self.fields = fields
        self.nodes: dict[str, Node] = {}
        self.bodies: dict[str, Body] = {}

    def add(self, node: Node) -> Graph:
        if node.name in self.nodes:
            raise ValueError(f"two nodes named {node.name!r}")
        self.nodes[node.name] = node
        self.entry = self.entry or node.name
        return self

    def take(self, name: str, event: str, key: Any, to: To = "", *, body: Any = None, nobody: str = "", **more: Any) -> Graph:
        """`nobody`: where to go with empty="edge"."""
        node = Take(name=name, event=event, key=expression(key), body=maybe(body), next=edges(to), to=nobody, **more)
        return self.add(node)

    def find(
        self, name: str, process: Any, key: Any, to: To = "", *, signal: Any = None, given: Any = None, **more: Any
    ) -> Graph:
        node = Find(
            name=name, process=expression(process), key=expression(key), signal=maybe(signal), given=maybe(given),
            next=edges(to), **more,
        )  # fmt: skip
        return self.add(node)

    def work(self, name: str, to: To = "", *, queue: Any = "", input: Any = None, **more: Any) -> Graph:
        kept = queue or name
        return self.add(Work(name=name, next=edges(to), queue=kept, input=maybe(input), **more))

    def wait(self, name: str, *arms: Arm, to: To = "", input: Any = None, **more: Any) -> Graph:
        return self.add(Wait(name=name, next=edges(to), arms=arms, input=maybe(input), **more))

    def choice(self, name: str, select: Any, cases: Mapping[str, str], default: str = "", to: To = "", **more: Any) -> Graph:
        return self.add(Choice(name=name, next=edges(to), select=maybe(select), cases=dict(cases), default=default, **more))

    def branch(self, name: str, *ways: Edge, **more: Any) -> Graph:
        """A choice by guards."""
        return self.add(Choice(name=name, next=ways, **more))

    def fork(self, name: str, *branches: str, dynamic: Any = None, **more: Any) -> Graph:
        return self.add(Fork(name=name, branches=branches, dynamic=maybe(dynamic), **more))

    def join(self, name: str, *on: str, to: To = "", threads: Any = None, **more: Any) -> Graph:
        return self.add(Join(name=name, on=on, next=edges(to), threads=maybe(threads), **more))

    def scope(
        self, name: str, body: str, to: To = "", *, again: Any = None, items: Any = None, keep: Any = None, **more: Any
    ) -> Graph:
        return self.add(
            Scope(name=name, body=body, next=edges(to), again=maybe(again), items=maybe(items), keep_last=maybe(keep), **more)
        )

    def call(self, name: str, target: Any = None, to: To = "", *, input: Any = None, meta: Any = None, **more: Any) -> Graph:
        if isinstance(target, str):
            target = {"name": target, "version": None}
        return self.add(Call(name=name, target=maybe(target), next=edges(to), input=maybe(input), meta=maybe(meta), **more))

    def emit(self, name: str, sink: Any, body: Any = None, to: To = "", **more: Any) -> Graph:
        return self.add(Emit(name=name, sink=expression(sink), body=expression(body), next=edges(to), **more))

    def assign(self, name: str, to: To = "", *, output: Any = None, merge: Any = None, input: Any = None, **more: Any) -> Graph:
        """Keywords that no field of a node has are the variables to set."""
        known = {key: more.pop(key) for key in list(more) if key in Assign.__struct_fields__ and key != "changes"}
        return self.add(
            Assign(
                name=name,
                next=edges(to),
                changes=sets(more),
                merge=maybe(merge),
                output=maybe(output),
                input=maybe(input),
                **known,
            )
        )

    def send(self, name: str, what: Any, to: To = "", **more: Any) -> Graph:
        """`what`: a list of NewRun and RunSignal, or a function of the context that makes one."""
        return self.add(Send(name=name, what=expression(what), next=edges(to), **more))

    def fail(self, name: str, failure: Any = None, **more: Any) -> Graph:
        value = failure if failure is not None else Failure("broken", "business", "as written")
        return self.add(Raise(name=name, failure=expression(value), **more))

    def end(self, name: str, *, status: Any = None, output: Any = None, reason: Any = None, **more: Any) -> Graph:
        return self.add(End(name=name, status=maybe(status), output=maybe(output), reason=maybe(reason), **more))

    def body(self, entry: str, interrupts: Iterable[tuple[str, str]] = (), **variables: Any) -> Graph:
        """Variables and interrupts of a thread; `entry` "" = the root's. An interrupt is (event, body)."""
        arms = tuple(ThreadArm(event, body) for event, body in interrupts)
        self.bodies[entry] = Body(entry, {name: expression(value) for name, value in variables.items()}, arms)
        return self

    def build(self) -> Process:
        bodies = {entry or self.entry: body for entry, body in self.bodies.items()}
        process = Process(
            name=self.name,
            version=self.version,
            entry=self.entry,
            nodes=dict(self.nodes),
            bodies=bodies,
            **self.fields,
        )
        return process.finish()
