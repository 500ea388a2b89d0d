"""Random processes, as specifications that hypothesis can shrink, and what may be done to their runs."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from tests.kernel.graphs import Graph, after, card, edges, look, on_event, on_merge, on_trigger, outside, when
from tests.kernel.world import World

from pelton.kernel.model.process import Limit, Limits, NewRun, Process, Retry, Rule, RunSignal
from pelton.kernel.model.signals import (
    Amend,
    Merge,
    Pause,
    Report,
    Resume,
    Retire,
    Rewind,
    RunNow,
    SetVars,
    Skip,
    Terminate,
    Trigger,
)
from pelton.kernel.model.state import END, START, OpenStep, RunStatus, State, Step, StepStatus

Spec = tuple[Any, ...]

RULES = ["", "", "", "continue", "defer", "edge", "body", "abort"]
rule = st.sampled_from(RULES)
halts = st.sampled_from(["finish", "stop", "cancel"])
leaf = st.one_of(
    st.tuples(st.just("work"), st.integers(0, 2), st.booleans(), rule, halts, st.sampled_from(["", "queue", "idle", "total"])),
    st.tuples(st.just("wait"), st.integers(1, 127), halts),
    st.tuples(st.just("assign")),
    st.tuples(st.just("emit"), st.booleans()),
    st.tuples(st.just("raise"), st.sampled_from(["", "continue", "defer", "edge", "body"])),
    st.tuples(st.just("call"), st.sampled_from(["end", "end", "reply", "nothing"]), rule),
    st.tuples(st.just("record"), st.integers(0, 3)),
    st.tuples(
        st.just("send"), st.lists(st.sampled_from(["begin", "drop", "refused", "apart", "nobody", "tell"]), max_size=3).map(tuple)
    ),
)


def compound(inner: st.SearchStrategy[Spec]) -> st.SearchStrategy[Spec]:
    body = st.lists(inner, min_size=1, max_size=3).map(tuple)
    return st.one_of(
        st.tuples(
            st.just("fork"),
            st.lists(body, min_size=1, max_size=3).map(tuple),
            st.sampled_from(["all", "all", "first", "count"]),
            st.booleans(),
        ),
        st.tuples(st.just("loop"), st.integers(0, 3), body, rule, st.integers(0, 2), st.booleans()),
        st.tuples(st.just("items"), st.integers(0, 3), body, rule, st.booleans()),
        st.tuples(st.just("choice"), body, body, st.booleans()),
        st.tuples(st.just("thread"), body, st.booleans(), rule),
    )


block: st.SearchStrategy[Spec] = st.recursive(leaf, compound, max_leaves=8)
program = st.lists(block, min_size=1, max_size=4).map(tuple)
KINDS = 47  # of actions: see `act`
action = st.tuples(st.integers(0, KINDS), st.integers(0, 1_000))
actions = st.lists(action, max_size=40)


class Compiler:
    def __init__(self, interrupts: bool, recorded: bool) -> None:
        self.recorded = recorded
        self.graph = Graph(deadline=Limit(60_000, "fail run"), records=card() if recorded else None)
        self.graph.body("", interrupts=[("ring", "ringing")] if interrupts else [], n=0)
        self.count = 0

    def name(self, kind: str) -> str:
        self.count += 1
        return f"{kind}{self.count}"

    def sequence(self, blocks: Spec, following: str) -> str:
        for part in reversed(blocks):
            following = getattr(self, part[0])(*part[1:], following)
        return following

    def rules(self, kind: str, following: str) -> tuple[Rule, ...]:
        if kind == "edge":
            target = self.name("mend")
            self.graph.assign(target, following, mended=True)
            return (Rule("edge", to=target),)
        if kind == "body":
            target = self.name("handler")
            self.graph.work(target, queue="q")
            return (Rule("body", to=target),)
        return (Rule(kind),) if kind else ()  # type: ignore[arg-type]

    def work(self, retries: int, fresh: bool, kind: str, on_halt: str, limit: str, following: str) -> str:
        name = self.name("work")
        limits = {
            "queue": Limits(queue=Limit(3_000, "fail")),
            "idle": Limits(idle=Limit(1_000, "retry"), attempt=Limit(2_500, "retry")),
            "total": Limits(total=Limit(4_000, "fail")),
        }.get(limit, Limits())
        self.graph.work(
            name,
            following,
            queue="q",
            input=look(lambda c: c.var("n"), "$n"),
            retry=Retry(retries, delay=500, logic="exponential", factor=2, jitter=100, as_new_step=fresh),
            on_failure=self.rules(kind, following),
            on_halt=on_halt,
            limits=limits,
        )
        return name

    def wait(self, mask: int, on_halt: str, following: str) -> str:
        name = self.name("wait")
        every = look(lambda c: (c.var("n") or 0) + 1, "$n")
        arms = [
            outside(),
            after(2_000, every=1_000, stays=True, n=every),
            on_event("e"),
            on_event("k", key=look(lambda c: (c.var("n") or 0) % 2, "$n")),
            on_trigger("t", guard=look(lambda c: (c.var("n") or 0) > 1, "$n")),
            when(lambda c: (c.var("n") or 0) > 3, "$n"),
            on_trigger("sum", guard=look(lambda c: c.counts().get("closed", 0) > c.counts().get("open", 0))),
        ]
        chosen = [arm for bit, arm in enumerate(arms) if mask >> bit & 1]
        self.graph.wait(
            name, *chosen, on_merge(condition=look(lambda c: (c.var("n") or 0) == 2, "$n")), to=following, on_halt=on_halt
        )
        return name

    def assign(self, following: str) -> str:
        name = self.name("set")
        self.graph.assign(name, following, n=look(lambda c: ((c.var("n") or 0) + 1) % 5, "$n"), output=name)
        return name

    def record(self, value: int, following: str) -> str:
        name = self.name("record")
        written = look(lambda c: {**c.record, "x": value}) if self.recorded else None
        self.graph.assign(name, following, record=written)
        return name

    def send(self, kinds: tuple[str, ...], following: str) -> str:
        name = self.name("send")
        self.graph.send(name, look(lambda c: [sent(c, kind) for kind in kinds]), following)
        return name

    def emit(self, awaits: bool, following: str) -> str:
        name = self.name("emit")
        self.graph.emit(name, "q:x", look(lambda c: c.var("n"), "$n"), following, awaits="outside" if awaits else "nothing")
        return name

    def raise_(self, kind: str, following: str) -> str:
        name = self.name("raise")
        self.graph.fail(name, on_failure=self.rules(kind, following), next=edges(following))
        return name

    def call(self, awaits: str, kind: str, following: str) -> str:
        name = self.name("call")
        self.graph.call(name, "child", following, awaits=awaits, on_failure=self.rules(kind, following))
        return name

    def fork(self, branches: Spec, how: str, halt: bool, following: str) -> str:
        name, join = self.name("fork"), self.name("join")
        lasts = []
        entries = []
        for branch in branches:
            last = self.name("last")
            self.graph.assign(last, output=last)
            lasts.append(last)
            entries.append(self.sequence(branch, last))
        self.graph.join(join, *lasts, to=following, rule=how, count=2, losers="halt" if halt else "leave")
        self.graph.fork(name, *entries, join)
        return name

    def loop(self, times: int, body: Spec, kind: str, keep: int, first: bool, following: str) -> str:
        name = self.name("loop")
        self.graph.scope(
            name,
            self.sequence(body, ""),
            following,
            again=look(lambda c: c.iteration < times),
            keep=keep or None,
            check_first=first,
            on_failure=self.rules(kind, following),
        )
        return name

    def items(self, count: int, body: Spec, kind: str, parallel: bool, following: str) -> str:
        name = self.name("items")
        self.graph.scope(
            name,
            self.sequence(body, ""),
            following,
            items=look(lambda c: list(range(count))),
            parallel=parallel,
            on_failure=self.rules(kind, following),
        )
        return name

    def choice(self, left: Spec, right: Spec, trace: bool, following: str) -> str:
        name = self.name("choice")
        cases = {"0": self.sequence(left, following), "1": self.sequence(right, following)}
        self.graph.choice(name, look(lambda c: (c.var("n") or 0) % 2, "$n"), cases, trace=trace)
        return name

    def thread(self, body: Spec, awaits: bool, kind: str, following: str) -> str:
        name = self.name("thread")
        self.graph.call(
            name,
            thread=self.sequence(body, ""),
            to=following,
            awaits="end" if awaits else "nothing",
            on_failure=self.rules(kind, following),
        )
        return name


setattr(Compiler, "raise", Compiler.raise_)


def sent(scene: Any, kind: str) -> NewRun | RunSignal:
    if kind == "tell":
        return RunSignal(scene.run.key, Amend(changes={"told": scene.counts()}, strict=False))
    target = {"name": "nobody" if kind == "nobody" else "card"}
    trigger = {"drop": Trigger(name="drop"), "refused": Trigger(name="none")}.get(kind)
    return NewRun(target, None, trigger=trigger, linked=kind != "apart")


def compile_program(blocks: Spec, *, interrupts: bool = False, recorded: bool = False) -> Process:
    compiler = Compiler(interrupts, recorded)
    entry = compiler.sequence(blocks, "")
    if interrupts:
        compiler.graph.work("ringing", queue="q")
    compiler.graph.bodies[entry] = compiler.graph.bodies.pop("")
    compiler.graph.entry = entry
    return compiler.graph.build()


def child() -> Process:
    return Graph("child").work("do", "done", queue="q", retry=Retry(1)).assign("done", output="done").build()


def card_process() -> Process:
    """A child with a record, which tells its parent when it is closed."""
    graph = Graph("card", records=card()).wait(
        "open", on_trigger("drop", "close"), on_trigger("note", stays=True), outside("close")
    )
    graph.assign("close", "tell", record=look(lambda c: {**c.record, "state": "closed"}))
    told = look(lambda c: [RunSignal(c.run.parent or c.run.key, Trigger(name="sum", changes={"x": 9}, strict=False))])
    return graph.send("tell", told, "after").wait("after", outside()).build()


def world_of(blocks: Spec, interrupts: bool, recorded: bool = False, both: bool = True) -> tuple[World, int]:
    program = compile_program(blocks, interrupts=interrupts, recorded=recorded)
    world = World(program, child(), card_process(), both=both)
    # Many threads, each with a failure of its own in the same transition, ask for one thing after another when nothing is loaded.
    world.most_rounds = 200
    return world, world.start("p", {"x": 1})


# ---- what may happen


def reportable(world: World) -> list[OpenStep]:
    return [
        row
        for _, rows in sorted(world.runs.items())
        for _, row in sorted(rows.open.items())
        if row.state in {State.WORK, State.EMIT} or (row.state == State.WAIT and row.n > 0)
    ]


def act(world: World, top: int, kind: int, pick: int) -> None:  # noqa: C901 - a table
    """One of the things that can happen to a run, chosen by two numbers."""
    open_rows = reportable(world)
    row = open_rows[pick % len(open_rows)] if open_rows else None
    runs = sorted(world.runs)
    run = runs[pick % len(runs)]
    status = world.status(run)
    if kind < 14 and row is not None:
        statuses = {10: 4, 11: 4, 12: 5, 13: 7}
        send(world, row.run, Report(n=row.n, status=statuses.get(kind, 1), output=pick, reason=f"r{pick}"))
    elif kind < 18:
        for item in world.claimable()[: 1 + pick % 3]:
            world.claim(item.run, item.n)
    elif kind < 21:
        world.tick(pick * 7)
    elif kind == 21 and row is not None:
        send(world, row.run, Report(n=row.n, status=None, again_after=pick, output="so far"))
    elif kind == 22:
        ended = [n for n in world.rows(run).ended if n > 0]
        if ended:
            send(world, run, Report(n=ended[pick % len(ended)], output="again", strict=bool(pick % 2)))
    elif kind == 23 and row is not None:
        send(world, row.run, Report(n=row.n, attempt=row.attempt + 1 - 2 * (pick % 2), strict=False))
    elif kind in {24, 25} and not status.ended:
        world.post(top if not world.status(top).ended else run, "ring" if pick % 3 == 0 else "e", pick)
    elif kind == 26:
        world.announce("k", str(pick % 2), pick)
    elif kind in {27, 28}:
        send(world, run, Resume() if status == RunStatus.PAUSED else Pause())
    elif kind == 29 and pick % 3 == 0:
        send(world, run, Terminate(reason="enough"))
    elif kind in {30, 31, 32}:
        rewind(world, run, pick)
    elif kind == 33:
        names = sorted(world.definitions[world.head(run).definition].nodes)
        send(world, run, Skip(slot=names[pick % len(names)], output="skipped"))
    elif kind in {34, 35}:
        send(world, run, SetVars(changes={"n": pick % 6}))
    elif kind == 36:
        send(world, run, Trigger(name="t", changes={"n": pick % 4}, strict=bool(pick % 2)))
    elif kind == 37:
        send(world, run, Merge(changes={"n": pick % 4}))
    elif kind == 38:
        send(world, run, RunNow())
    elif kind == 39 and row is not None:
        send(world, row.run, Report(slot=row.slot, hold=10_000, output="by slot"))
    elif kind in {40, 41}:
        send(world, run, Amend(changes={"x": pick % 4} if pick % 7 else {"bad": 1}, strict=bool(pick % 2)))
    elif kind == 42 and pick % 3 == 0:
        send(world, run, Retire(strict=bool(pick % 2)))
    elif kind in {43, 44}:
        send(world, run, Trigger(name="drop" if pick % 2 else "note", changes={"x": pick % 4}, strict=False))
    elif kind == 45:
        send(world, run, Trigger(name="sum", changes={"tags": [str(pick % 3)]}))
    elif kind == 46:
        send(world, run, Amend(changes={"state": ("open", "closed", "odd")[pick % 3]}))
    elif kind == 47:
        start = world.starting("card", trigger=Trigger(name=("drop", "note", "none")[pick % 3], changes={"x": 1}))
        send(world, start.key, start)


def send(world: World, run: int, signal: Any) -> None:
    world.send(run, signal)
    world.settle()


def rewind(world: World, run: int, pick: int) -> None:
    steps = [n for n, step in sorted(world.rows(run).ended.items()) if step.slot not in {START, END} and world.rows(run).row(n)]
    if pick % 3 == 0 and steps:
        send(world, run, Rewind(to="step", n=steps[pick % len(steps)]))
    elif pick % 3 == 1:
        send(world, run, Rewind(to="failed", children=bool(pick % 2)))
    else:
        send(world, run, Rewind(to="start"))


def finish(world: World, most: int = 400) -> None:
    """Does all work well, until nothing is left that could be done."""
    for run in sorted(world.runs):
        if world.status(run) == RunStatus.PAUSED:
            send(world, run, Resume())
    for _ in range(most):
        rows = [row for row in reportable(world) if can_report(world, row)]
        if not rows:
            break
        send(world, rows[0].run, Report(n=rows[0].n, strict=False))


def can_report(world: World, row: OpenStep) -> bool:
    return row.state != State.WAIT or not row.slot.startswith("end")


def summary(world: World) -> list[Any]:
    """What came of it all, whatever the numbers."""
    found: list[Any] = []
    for run, rows in sorted(world.runs.items()):
        steps = [row for row in rows.steps() if isinstance(row, Step) and row.slot != END]
        ends = sorted((row.slot, row.it, StepStatus(row.status).name, row.attempt) for row in steps)
        found.append([run, world.status(run).name, ends, sorted(row.slot for row in rows.open.values())])
    return found
