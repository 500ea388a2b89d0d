"""Random processes with threads of all kinds, as specifications that hypothesis can shrink, on top of `random_graphs`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st
from tests.kernel.graphs import Graph, after, edge, look, on_event, on_merge, on_trigger, outside, when
from tests.kernel.random_graphs import Compiler, Spec, leaf

from pelton.kernel.expressions.base import ExpressionError
from pelton.kernel.machine.scene import Scene
from pelton.kernel.model.process import Arm, FollowUp, Fragment, Limit, Limits, Process, Retry, Rule
from pelton.kernel.model.state import Failure, RunStatus

# ---- what may be drawn


rule = st.sampled_from(
    [
        "",
        "",
        "",
        "continue",
        "business",
        "defer",
        "edge",
        "abort",
        "body work",
        "body fails",
        "body long",
        "body spawns",
        "body calls",
        "body nested",
    ]
)
halts = st.sampled_from(["finish", "stop", "cancel"])
how = st.sampled_from(["all", "any", "first", "count"])
per_thread = st.sampled_from(["", "continue", "body work", "body fails", "business"])
again = st.sampled_from(["", "", "new", "same"])
setup = st.tuples(
    st.sampled_from(["", "", "n", "fails", "own"]),
    st.lists(
        st.tuples(st.sampled_from(["ring", "alarm"]), st.sampled_from(["work", "fails", "long", "spawns", "calls", "nested"])),
        max_size=2,
    ).map(tuple),
    st.sampled_from(["", "", "end", "threads"]),
)
limits = st.sampled_from(["", "edge", "total edge", "announce", "again", "date", "computed"])
threaded_leaf = st.one_of(
    leaf,
    st.tuples(st.just("job"), rule, halts, limits, st.integers(0, 1)),
    st.tuples(
        st.just("rest"),
        st.integers(1, 255),
        halts,
        limits,
    ),
    st.tuples(st.just("local")),
    st.tuples(st.just("mistake"), rule, st.booleans()),
    st.tuples(st.just("child"), st.sampled_from(["end", "reply", "nothing"]), rule, halts, again),
    st.tuples(st.just("slow"), st.sampled_from(["end", "reply", "emit"]), rule, halts, limits, st.booleans()),
    st.tuples(st.just("dynamic"), st.integers(0, 3), rule, halts),
)


def compound(inner: st.SearchStrategy[Spec]) -> st.SearchStrategy[Spec]:
    body = st.lists(inner, min_size=1, max_size=3).map(tuple)
    bodies = st.lists(st.tuples(body, setup), min_size=1, max_size=3).map(tuple)
    return st.one_of(
        st.tuples(st.just("spawn"), body, setup, rule),
        st.tuples(st.just("called"), body, setup, rule, halts, again),
        st.tuples(st.just("parallel"), st.integers(0, 3), body, setup, rule, halts, again),
        st.tuples(st.just("each"), st.integers(0, 3), body, setup, rule, halts, again),
        st.tuples(
            st.just("timed"),
            st.sampled_from(["call", "scope", "items", "threads"]),
            body,
            setup,
            rule,
            halts,
            limits,
        ),
        st.tuples(st.just("group"), bodies, how, st.booleans(), per_thread, rule),
        st.tuples(
            st.just("fork"),
            st.lists(body, min_size=1, max_size=3).map(tuple),
            st.sampled_from(["all", "all", "first", "count"]),
            st.booleans(),
        ),
        st.tuples(st.just("loop"), st.integers(0, 3), body, rule, st.integers(0, 2), st.booleans()),
        st.tuples(st.just("items"), st.integers(0, 3), body, rule, st.just(False)),
        st.tuples(st.just("choice"), body, body, st.booleans()),
    )


block: st.SearchStrategy[Spec] = st.recursive(threaded_leaf, compound, max_leaves=8)
program = st.lists(block, min_size=1, max_size=4).map(tuple)
# setup of the root; what happens when fuel runs out; follow-ups; fuel
ways = st.tuples(
    setup,
    st.sampled_from(["continue", "continue", "continue", "fail"]),
    st.booleans(),
    st.sampled_from([512, 512, 9]),
)


class ThreadCompiler(Compiler):
    """Thread bodies are compiled where they are used; `declared` are the variables of the body being compiled."""

    def __init__(self, way: Any) -> None:
        super().__init__(False, False)
        self.root, out_of_fuel, follow, _ = way
        follow_up = FollowUp(
            statuses=frozenset({RunStatus.COMPLETED, RunStatus.FAILED}),
            target=look(lambda c: {"name": "child"}),
            input=look(lambda c: 1),
        )
        self.graph = Graph(out_of_fuel=out_of_fuel, follow_ups=(follow_up,) if follow else (), fragment=self.fragment)
        self.declared: list[dict[str, Any]] = [{}]
        self.dynamics: dict[str, tuple[str, str, str]] = {}

    def build(self, blocks: Spec) -> Process:
        entry = self.body(blocks, self.root, {"n": 0})
        self.graph.entry = entry
        return self.graph.build()

    # ---- bodies

    def body(self, blocks: Spec, made: Any, variables: dict[str, Any] | None = None) -> str:
        kind, interrupts, ends = made
        self.declared.append({})
        following = ""
        if ends:
            following = self.name("end")
            self.graph.end(following, output=following, threads=ends == "threads")
        entry: str = self.sequence(blocks, following)
        declared = {**self.declared.pop(), **(variables or {})}
        if kind == "n":
            declared["n"] = 0
        elif kind == "own":
            declared["own"] = look(lambda c: c.var("INPUT"))
        elif kind == "fails":
            declared["own"] = look(fails_at_odd)
        arms = {name: self.handler(handler) for name, handler in interrupts}
        self.graph.body(entry, interrupts=sorted(arms.items()), **declared)
        return entry

    def handler(self, kind: str) -> str:
        """The entry of a body that handles a failure or an interrupt."""
        name = self.name("handler")
        given = look(lambda c: c.var("INPUT"))
        if kind == "fails":
            self.graph.work(name, self.mistake("", False, ""), queue="q")
        elif kind == "long":
            self.graph.work(name, self.rest(3, "stop", "", ""), queue="q", input=given)
        elif kind == "spawns":
            inner = self.handler("work")
            self.graph.call(name, thread=inner, to=self.handler("work"), awaits="nothing")
        elif kind == "calls":
            inner = self.handler("work")
            self.graph.call(name, thread=inner, on_halt="stop")
        elif kind == "nested":
            self.graph.work(name, queue="q", on_failure=(Rule("body", to=self.handler("work")),))
        else:
            self.graph.work(name, queue="q", input=given)
        return name

    def rules(self, kind: str, following: str) -> tuple[Rule, ...]:
        if kind.startswith("body"):
            return (Rule("body", to=self.handler(kind[5:] or "work")),)
        if kind == "business":
            return (Rule("continue", kinds=frozenset({"business"})),)
        return super().rules(kind, following)

    # ---- steps

    def job(self, kind: str, on_halt: str, limit: str, retries: int, following: str) -> str:
        name = self.name("job")
        more = self.limited(limit, following)
        if retries:
            more["retry"] = Retry(retries, delay=100, as_new_step=limit != "again")
        self.graph.work(name, following, queue="q", on_failure=self.rules(kind, following), on_halt=on_halt, **more)
        return name

    def limited(self, limit: str, following: str) -> dict[str, Any]:
        if limit == "announce":
            return {"limits": Limits(total=Limit(2_000, "announce"))}
        if limit == "again":
            return {"limits": Limits(attempt=Limit(1_500, "retry")), "retry": Retry(2, as_new_step=False)}
        if limit:
            target = self.name("late")
            self.graph.assign(target, following, late=True)
            if limit == "date":
                return {"limits": Limits(attempt=Limit(0, "edge", target, at=look(lambda c: c.now // 3_000 * 3_000 + 3_000)))}
            if limit == "computed":
                ms = look(lambda c: 1_000 * ((c.var("n") or 0) % 4) or None, "$n")
                return {"limits": Limits(attempt=Limit(ms, "edge", target), total=Limit(ms, "announce"))}
            late = Limit(2_500, "edge", to=target)
            return {"limits": Limits(total=late) if limit == "total edge" else Limits(queue=late, attempt=late)}
        return {}

    def rest(self, mask: int, on_halt: str, limit: str, following: str) -> str:
        name = self.name("rest")
        every = look(lambda c: ((c.var("n") or 0) + 1) % 5, "$n")
        arms: list[Callable[[], Arm]] = [
            outside,
            lambda: on_event("e"),
            lambda: on_event("e", stays=True, body=self.handler("work")),
            lambda: after(1_500, every=1_000, stays=True, n=every),
            lambda: after(2_500),
            lambda: on_event("k", key=look(lambda c: (c.var("n") or 0) % 2, "$n")),
            lambda: on_trigger("t", guard=look(lambda c: (c.var("n") or 0) > 1, "$n")),
            lambda: when(lambda c: (c.var("n") or 0) > 3, "$n"),
        ]
        chosen = [arm() for bit, arm in enumerate(arms) if mask >> bit & 1]
        more = self.limited(limit, following)
        self.graph.wait(
            name, *chosen, on_merge(condition=look(lambda c: c.var("n") == 2, "$n")), to=following, on_halt=on_halt, **more
        )
        return name

    def local(self, following: str) -> str:
        name = self.name("local")
        self.declared[-1][name] = 0
        self.graph.assign(name, following, output=name, **{name: look(lambda c: (c.var("n") or 0) + 1, "$n")})
        return name

    def mistake(self, kind: str, business: bool, following: str) -> str:
        name = self.name("mistake")
        failure = Failure("broken", "business" if business else "technical", "as written", {"why": 1})
        self.graph.fail(name, failure, on_failure=self.rules(kind, following), next=(edge(following),) if following else ())
        return name

    def slow(self, awaits: str, kind: str, on_halt: str, limit: str, leave: bool, following: str) -> str:
        name = self.name("slow")
        more = {"on_failure": self.rules(kind, following), "on_halt": on_halt, **self.limited(limit, following)}
        if awaits == "emit":
            self.graph.emit(name, "sink:1", 1, following, awaits="outside", **more)
        else:
            self.graph.call(name, "child", following, awaits=awaits, when_late="leave" if leave else "end", **more)
        return name

    def child(self, awaits: str, kind: str, on_halt: str, again: str, following: str) -> str:
        name = self.name("child")
        rules = self.rules(kind, following)
        self.graph.call(name, "child", following, awaits=awaits, on_failure=rules, on_halt=on_halt, retry=tried_again(again))
        return name

    # ---- threads

    def spawn(self, body: Spec, made: Any, kind: str, following: str) -> str:
        name = self.name("spawn")
        self.graph.call(
            name, thread=self.body(body, made), to=following, awaits="nothing", on_failure=self.rules(kind, following)
        )
        return name

    def timed(self, shape: str, body: Spec, made: Any, kind: str, on_halt: str, limit: str, following: str) -> str:
        """Something that has an inside, and a limit."""
        name = self.name("timed")
        more = {"on_failure": self.rules(kind, following), "on_halt": on_halt, **self.limited(limit, following)}
        if shape == "call":
            leave = "leave" if kind == "edge" else "end"
            self.graph.call(name, thread=self.body(body, made), to=following, when_late=leave, **more)
        elif shape == "scope":
            self.graph.scope(name, self.sequence(body, ""), following, **more)
        else:
            more |= {"items": look(lambda c: [1, 2]), "parallel": shape == "items", "thread": shape == "threads"}
            self.graph.scope(name, self.body(body, made), following, **more)
        return name

    def called(self, body: Spec, made: Any, kind: str, on_halt: str, again: str, following: str) -> str:
        name = self.name("called")
        self.graph.call(
            name,
            thread=self.body(body, made),
            to=following,
            on_failure=self.rules(kind, following),
            on_halt=on_halt,
            retry=tried_again(again),
        )
        return name

    def parallel(
        self, count: int, body: Spec, made: Any, kind: str, on_halt: str, again: str, following: str, **more: Any
    ) -> str:
        name = self.name("parallel")
        self.graph.scope(
            name,
            self.body(body, made),
            following,
            items=look(lambda c: list(range(count))),
            on_failure=self.rules(kind, following),
            on_halt=on_halt,
            retry=tried_again(again),
            **(more or {"parallel": True}),
        )
        return name

    def each(self, count: int, body: Spec, made: Any, kind: str, on_halt: str, again: str, following: str) -> str:
        return self.parallel(count, body, made, kind, on_halt, again, following, thread=True)

    def group(self, bodies: Spec, how: str, halt: bool, per: str, kind: str, following: str) -> str:
        """Threads that are started side by side, and a join that waits for them. Their numbers are kept in variables."""
        join = self.name("meet")
        numbers = [self.name("no") for _ in bodies]
        self.declared[-1] |= dict.fromkeys(numbers)
        self.graph.join(
            join,
            to=following,
            threads=look(
                lambda c: [c.var(name) for name in numbers if isinstance(c.var(name), int)], *("$" + name for name in numbers)
            ),
            rule=how,
            count=2,
            losers="halt" if halt else "leave",
            per_thread=self.rules(per, following),
            on_failure=self.rules(kind, following),
        )
        following = join
        for (body, made), number in zip(bodies, numbers, strict=True):
            name = self.name("member")
            kept = edge(following, **{number: look(own_output)})
            self.graph.call(name, thread=self.body(body, made), to=kept, awaits="nothing")
            following = name
        return following

    # ---- dynamic forks

    def dynamic(self, count: int, kind: str, on_halt: str, following: str) -> str:
        name, join = self.name("fork"), self.name("join")
        self.dynamics[name] = (join, kind if kind in ("", "continue", "defer") else "", on_halt)
        self.graph.join(join, to=following)
        self.graph.fork(name, dynamic=look(lambda c: count + (c.var("n") or 0) % 2, "$n"))
        return name

    def fragment(self, fork: str, value: Any) -> Fragment:
        join, kind, on_halt = self.dynamics[fork]
        graph = Graph()
        slots = [f"{fork}.{index}" for index in range(value)]
        for slot in slots:
            graph.work(slot, queue="q", on_failure=(Rule(kind),) if kind else (), on_halt=on_halt)  # type: ignore[arg-type]
        return Fragment(nodes=graph.nodes, branches=(*slots, join), joins={join: tuple(slots)})


def tried_again(kind: str) -> Retry | None:
    """Once more at once: as a new step, or as the same one."""
    return Retry(1, as_new_step=kind == "new") if kind else None


def own_output(scene: Scene) -> Any:
    """What the step that is being left has put out."""
    return scene.step.output if scene.step is not None else None


def fails_at_odd(scene: Any) -> Any:
    found = scene.var("INDEX") or scene.var("n") or 0
    if found % 2:
        raise ExpressionError(f"{found} is odd")
    return found


def compile_story(blocks: Spec, way: Any) -> Process:
    return ThreadCompiler(way).build(blocks)
