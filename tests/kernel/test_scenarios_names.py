"""A step finds other runs by their names: what comes of it, in the same unit of work."""

from __future__ import annotations

from typing import Any

import pytest
from tests.kernel.graphs import Graph, after, card, edge, look, on_event, on_merge, out, output, outside, say, var
from tests.kernel.thread_actions import fuel
from tests.kernel.world import World

from pelton.kernel.model.process import Process, Retry, Rule
from pelton.kernel.model.signals import Merge, Pause, Resume, Rewind, SetVars, Skip, Terminate
from pelton.kernel.model.state import RunStatus, Step, StepStatus

ADD = Merge(changes={"add": 1}, must_leave=True)
CAUGHT = (Rule("edge", to="caught"),)
TO = look(lambda scene: (scene.input or {}).get("to", "x"), "$start")


def total(scene: Any) -> int:
    return int((scene.var("sum") or 0) + (scene.var("add") or 0))


def counter(name: str = "counter") -> Process:
    """Waits for additions, and adds them up."""
    return Graph(name).wait("w", on_merge(), outside("end"), to="s").assign("s", to="w", sum=total).assign("end").build()


def failure(scene: Any) -> Any:
    row = scene.newest("f")
    return {"name": row.failure, "kind": row.kind, "message": row.reason, **row.content}


def finder(name: str, does: Any = "read", process: Any = "counter", key: Any = TO, **more: Any) -> Process:
    """The run's output is that of the step, or what is known of its failure."""
    more.setdefault("on_failure", CAUGHT)
    return Graph(name).find("f", process, key, does=does, **more).assign("caught", output=look(failure, "f")).build()


def telling(*more: Process) -> World:
    return World(counter(), finder("adds", "signal", signal=ADD), finder("makes", "start"), finder("reads"), *more)


def sums(world: World, *runs: int) -> list[Any]:
    return [world.var(run, "sum") or 0 for run in runs]


def ask(world: World, process: str, to: str = "x") -> Any:
    run = world.start(process, {"to": to})
    assert world.status(run) == RunStatus.COMPLETED
    return world.output(run)


# ---- start


def test_a_run_is_started_under_a_name_that_it_has_until_it_ends() -> None:
    world = telling()
    first = world.start("makes")
    (made,) = [run for run in world.runs if run != first]
    assert world.output(first) == {"run": f"run-{made}"}
    head = world.head(made)
    assert (head.parent, head.root, head.hops) == (0, made, world.head(first).hops + 1)
    again = ask(world, "makes")
    assert again == {
        "name": "name taken", "kind": "business", "code": "exists",
        "message": f"the run run-{made} of 'counter' has the name 'x'",
    }  # fmt: skip
    assert isinstance(ask(world, "makes", "y")["run"], str)
    assert len(world.runs) == 5
    world.do(made, Terminate())
    other = ask(world, "makes")["run"]
    assert other not in (f"run-{made}", "")


def test_without_anything_else_it_is_given_the_steps_own_input() -> None:
    world = World(counter(), finder("p", "start", input=say([1])))
    run = world.start("p")
    assert world.ended(run + 1, "$start").output == [1]


def test_what_it_is_given_and_what_is_said_about_it() -> None:
    given = look(lambda scene: {"made by": scene.run.key})
    world = World(counter(), finder("p", "start", given=given, meta=look(lambda scene: {"priority": 7, "correlation": "c"})))
    run = world.start("p")
    start = world.ended(run + 1, "$start")
    assert (start.output, start.input) == ({"made by": run}, {"priority": 7, "correlation": "c"})


def test_a_start_that_is_refused_is_taken_back() -> None:
    """By the process that keeps a record, by one that is paused, and by one that does not exist."""
    kept = Graph("kept", records=card()).wait("w", outside()).build()
    world = World(
        kept, counter(), *(finder(f"to {name}", "start", name, given="refused") for name in ("kept", "counter", "none"))
    )
    assert ask(world, "to kept") == {
        "name": "not accepted", "kind": "business", "code": "invalid", "message": "no record can be made of this",
    }  # fmt: skip
    world.pause_process("counter", refuses=True)
    assert ask(world, "to counter")["code"] == "paused"
    assert ask(world, "to none") == {
        "name": "not accepted", "kind": "business", "code": "unknown definition", "message": "there is no process named 'none'",
    }  # fmt: skip
    assert len(world.runs) == 3, "none of them is there"
    assert world.names.taken_back == 2
    world.resume_process("counter")
    assert ask(world, "to counter")["run"] == "run-105"


def test_a_run_that_is_expected_becomes_the_one_that_is_started() -> None:
    world = telling()
    world.names.expected["counter", "x"] = 900
    assert [ask(world, name)["name"] for name in ("reads", "adds")] == ["no such run"] * 2
    assert ask(world, "makes") == {"run": "run-900"}
    assert ask(world, "makes")["name"] == "name taken"


def test_a_started_run_that_ends_at_once_has_freed_its_name() -> None:
    graph = Graph("p").find("f", "short", "x", "g", does="start").find("g", "short", "x", does="start")
    world = World(Graph("short").assign("a", output=1).build(), graph.build())
    run = world.start("p")
    assert world.status(run) == RunStatus.COMPLETED
    assert sorted(world.runs) == [run, run + 1, run + 2]


# ---- read


def test_a_run_is_read_as_it_is() -> None:
    kept = Graph("kept", records=card()).wait("w", on_merge(stays=True), to="later").work("later").build()
    world = World(kept, finder("reads", process="kept"))
    assert ask(world, "reads") == {
        "name": "no such run", "kind": "business", "code": "not found", "message": "there is no run 'x' of 'kept'",
    }  # fmt: skip
    run = world.start("kept", {"a": 1}, name="x")
    world.do(run, SetVars(changes={"v": [1, 2]}))
    world.do(run, Skip(slot="later"))
    told = ask(world, "reads")
    assert told == {"run": f"run-{run}", "status": "RUNNING", "variables": {"v": [1, 2]}, "record": {"by": "", "a": 1}}
    world.do(run, Pause())
    assert ask(world, "reads")["status"] == "PAUSED"
    world.names.lasting.add(run)
    world.do(run, Terminate())
    assert ask(world, "reads")["status"] == "TERMINATED", "one that keeps its name after its end"


@pytest.mark.parametrize("does", ["start", "read", "signal"])
def test_a_run_has_its_name_from_its_first_step_on(does: Any) -> None:
    """Whoever starts it: it starts no second one, and tells itself nothing."""
    more = {"signal": ADD} if does == "signal" else {}
    world = World(finder("p", does, "p", "me", **more), finder("first", "start", "p", "me"))
    world.names.expected["p", "me"] = 800
    runs = [world.start("p", name="me"), world.start("first") and 800]
    for run in runs:
        assert (world.output(run)["run"] == f"run-{run}") if does == "read" else (world.output(run)["kind"] == "business")
    assert world.output(runs[1]).get("name") == {"start": "name taken", "read": None, "signal": "not accepted"}[does]
    assert len(world.runs) == 3


def test_a_run_reads_itself_as_it_is_now() -> None:
    graph = Graph("p").assign("a", "f", v=2).find("f", "p", "me")
    world = World(graph.build())
    run = world.start("p", name="me")
    assert world.output(run) == {"run": f"run-{run}", "status": "RUNNING", "variables": {"v": 2}}


# ---- signal


def test_a_signal_is_accepted_or_refused_at_once() -> None:
    world = telling(finder("stops", "signal", signal=Terminate(reason="enough")))
    assert ask(world, "adds")["name"] == "no such run"
    run = world.start("counter", name="x")
    assert ask(world, "adds") == {"run": f"run-{run}"}
    assert sums(world, run) == [1]
    world.do(run, Pause())
    assert ask(world, "adds") == {
        "name": "not accepted", "kind": "business", "code": "guard",
        "message": "the run waits nowhere for this data, and it was to be taken there",
    }  # fmt: skip
    assert world.names.taken_back == 1
    world.do(run, Resume())
    assert sums(world, run) == [1], "what was refused has left nothing behind"
    world.names.lasting.add(run)
    assert ask(world, "stops") == {"run": f"run-{run}"}
    assert world.reason(run) == "enough"
    assert ask(world, "adds")["code"] == "ended"
    world.names.lasting.clear()
    assert ask(world, "adds")["name"] == "no such run"


@pytest.mark.parametrize("signal", [None, "stop", {"a": 1}])
def test_what_is_no_signal_is_not_accepted(signal: Any) -> None:
    world = telling(finder("p", "signal", signal=look(lambda scene: signal)))
    world.start("counter", name="x")
    assert ask(world, "p")["message"] == "the step yields no signal"


def test_a_failure_is_a_value_that_rules_match() -> None:
    handled = Graph("handled").find("f", "counter", "x", "after", on_failure=(Rule("body", to="h"),)).assign("after", output="on")
    handled.work("h", input=var("INPUT"))
    by_name = (Rule("continue", names=frozenset({"name taken"})), Rule("edge", names=frozenset({"no such run"}), to="caught"))
    world = telling(
        handled.build(),
        finder("fails", on_failure=()),
        finder("tries", on_failure=(), retry=Retry(5)),
        finder("named", on_failure=by_name),
        finder("kinds", on_failure=(Rule("continue", kinds=frozenset({"technical"})), *CAUGHT)),
    )
    run = world.start("handled")
    assert world.opened(run, "h").input == {"code": "not found", "message": "there is no run 'x' of 'counter'"}
    world.report(run, "h")
    assert world.output(run) == "on"
    for name in ("fails", "tries"):
        run = world.start(name)
        assert (world.status(run), world.reason(run)) == (RunStatus.FAILED, "there is no run 'x' of 'counter'")
        assert world.trail(run) == ["f"], "what is known for certain is not tried again"
    assert ask(world, "named")["name"] == ask(world, "kinds")["name"] == "no such run"


# ---- circles


def ring(name: str, other: str, most: int = 10) -> Process:
    """Whenever it is told something it tells the other, until it has been told so many times."""
    more = look(lambda scene: "more" if scene.var("sum") < most else "enough")
    graph = Graph(name).wait("w", on_merge(), to="s").assign("s", to="c", sum=total).choice("c", more, {"more": "f"}, "e")
    graph.find("f", other, "x", "w", does="signal", signal=ADD, on_failure=CAUGHT)
    return graph.assign("caught", output=look(failure, "f")).assign("e", output="enough").build()


@pytest.mark.parametrize("count", [2, 3, 5])
def test_runs_that_tell_one_another_in_a_ring(count: int) -> None:
    names = [f"r{no}" for no in range(count)]
    world = World(*(ring(name, names[(no + 1) % count]) for no, name in enumerate(names)))
    runs = [world.start(name, name="x") for name in names]
    world.do(runs[0], Merge(changes={"add": 1}))
    world.settle()
    assert world.output(runs[0]) == "enough"
    assert sums(world, *runs) == [10] + [9] * (count - 1)


def test_one_that_has_ended_meanwhile_is_not_there_any_more() -> None:
    """Each tells the other; what is told ends the teller."""
    graph = Graph("a").find("f", "b", "x", "g", does="signal", signal=ADD).find("g", "b", "x", on_failure=CAUGHT)
    stops = Graph("b").wait("w", on_merge(), to="t").find("t", "a", "y", does="signal", signal=Terminate(reason="back"))
    world = World(graph.assign("caught").build(), stops.build())
    other = world.start("b", name="x")
    run = world.start("a", name="y")
    assert (world.status(run), world.reason(run)) == (RunStatus.TERMINATED, "back")
    assert world.status(other) == RunStatus.COMPLETED


def test_a_refusal_far_down_takes_back_all_that_led_to_it() -> None:
    """a tells b, which tells c, which refuses: b knows, and a has nothing to do with it."""
    b = Graph("b").wait("w", on_merge(), to="f").find("f", "counter", "x", does="signal", signal=ADD, on_failure=CAUGHT)
    world = World(counter(), b.assign("caught", output=look(failure, "f")).build(), finder("a", "signal", "b", signal=ADD))
    c, b_run = world.start("counter", name="x"), world.start("b", name="x")
    world.do(c, Pause())
    assert ask(world, "a") == {"run": f"run-{b_run}"}
    assert world.output(b_run)["code"] == "guard"
    assert world.names.taken_back == 1


def test_a_run_cannot_signal_itself() -> None:
    graph = Graph("p").wait("w", on_merge(), to="f").find("f", "p", "x", does="signal", signal=ADD, on_failure=CAUGHT)
    world = World(graph.assign("caught", output=look(failure, "f")).build())
    run = world.start("p", name="x")
    world.do(run, Merge(changes={"add": 1}))
    assert world.output(run) == {
        "name": "not accepted", "kind": "business", "code": "invalid", "message": "a run cannot signal itself by name",
    }  # fmt: skip


def test_a_child_ends_its_parent_by_name() -> None:
    child = finder("child", "signal", "parent", signal=Terminate(reason="by the child"))
    world = World(child, Graph("parent").wait("w", on_merge(), to="c").call("c", "child", input=say({"to": "x"})).build())
    run = world.start("parent", name="x")
    world.do(run, Merge())
    assert (world.status(run), world.reason(run)) == (RunStatus.TERMINATED, "by the child")
    assert [world.status(each) for each in world.children(run)] == [RunStatus.COMPLETED]


# ---- what comes again in the next commit


def steps(does: list[Any], key: Any = "x") -> Graph:
    """One step after another, all to the same run."""
    graph = Graph("p")
    for no, each in enumerate(does):
        more = {"signal": ADD} if each == "signal" else {}
        graph.find(f"f{no}", "counter", key, f"f{no + 1}" if no + 1 < len(does) else "", does=each, **more)
    return graph


def test_steps_that_come_to_the_same_run_take_a_commit_each() -> None:
    world = telling(steps(["start", "signal", "signal", "read"]).build())
    run = world.start("p", settle=False)
    assert world.trail(run) == ["f0"]
    assert len(world.later) == 1
    world.settle()
    assert world.status(run) == RunStatus.COMPLETED
    assert world.output(run)["variables"]["sum"] == 2


def test_a_read_of_what_was_decided_on_waits_for_it() -> None:
    world = telling(steps(["signal", "read"]).build())
    other = world.start("counter", name="x")
    run = world.start("p", settle=False)
    assert (world.trail(run), sums(world, other)) == (["f0"], [1])
    world.settle()
    assert world.output(run)["variables"]["sum"] == 1


@pytest.mark.parametrize("out_of_fuel", ["continue", "fail"])
def test_more_runs_than_fit_into_a_commit_follow_in_the_next(out_of_fuel: str) -> None:
    names = [f"n{no}" for no in range(40)]
    key = look(lambda scene: names[scene.loop("l") - 1])
    graph = Graph("p", out_of_fuel=out_of_fuel).scope("l", "f", again=look(lambda c: c.iteration < 40))
    world = telling(graph.find("f", "counter", key, does="start").build())
    world.most_rounds = 200
    run = world.start("p", settle=False)
    assert len(world.runs) == 17
    assert len(world.later) == 1
    world.settle()
    assert world.status(run) == RunStatus.COMPLETED
    assert sorted(text for _, text in world.names.runs) == sorted(names)


@pytest.mark.parametrize("amount", [2, 3, 9])
def test_fuel_that_runs_out_between_them_loses_nothing(amount: int) -> None:
    with fuel(amount):
        world = telling(steps(["start", *["signal"] * 6, "read"]).build())
        run = world.start("p")
        assert world.output(run)["variables"]["sum"] == 6


def test_a_name_that_depends_on_the_steps_own_input_cannot_wait_for_the_next_commit() -> None:
    """It is not known before the step is there; so the step fails, and says why."""
    own = look(lambda scene: scene.step.input["to"] if scene.step is not None else "")
    graph = Graph("p").find("f0", "counter", "x", "f", does="signal", signal=ADD)
    graph.find("f", "counter", own, input=say({"to": "x"}), on_failure=CAUGHT)
    world = telling(graph.assign("caught", output=look(failure, "f")).build())
    world.start("counter", name="x")
    run = world.start("p")
    assert world.output(run)["code"] == "busy"


# ---- halts, rewinds, threads


def paused_at_find(world: World) -> int:
    run = world.start("p")
    world.do(run, Pause())
    world.report(run, "a")
    return run


def test_a_step_that_a_pause_keeps_finds_what_is_there_afterwards() -> None:
    world = telling(Graph("p").work("a", "f").find("f", "counter", "x").build())
    run = paused_at_find(world)
    other = world.start("counter", name="x")
    assert not world.is_open(run, "f")
    world.do(run, Resume())
    assert world.output(run)["run"] == f"run-{other}"


def test_a_pause_keeps_what_was_to_come_again() -> None:
    world = telling(steps(["start", "signal", "signal"]).build())
    run = world.start("p", settle=False)
    world.do(run, Pause())
    world.settle()
    assert world.trail(run) == ["f0"]
    world.do(run, Resume())
    world.settle()
    assert world.status(run) == RunStatus.COMPLETED
    assert sums(world, world.names.runs["counter", "x"]) == [2]


def test_an_ended_run_has_nothing_more_to_find() -> None:
    world = telling(steps(["start", "signal", "signal"]).build())
    run = world.start("p", settle=False)
    world.do(run, Terminate())
    world.settle()
    assert sums(world, world.names.runs["counter", "x"]) == [0]


def test_what_a_rewound_step_has_told_stays_told() -> None:
    graph = Graph("p").find("m", "counter", "x", "f", does="start", on_failure=(Rule("continue"),))
    graph.find("f", "counter", "x", "a", does="signal", signal=ADD).work("a")
    world = telling(graph.build())
    run = world.start("p")
    other = world.names.runs["counter", "x"]
    world.do(run, Terminate())
    world.do(run, Rewind(to="start"))
    world.settle()
    assert sums(world, other) == [2], "it is told once more"
    assert world.ended(run, "m").failure == "name taken", "and what was started is still there"
    world.do(other, Terminate())
    world.do(run, Terminate())
    world.do(run, Rewind(to="step", n=world.ended(run, "m").n))
    world.settle()
    assert world.names.runs["counter", "x"] != other
    assert world.is_open(run, "a")


def test_a_failed_step_is_tried_again_by_a_rewind() -> None:
    world = telling(finder("p", "signal", signal=ADD, on_failure=()))
    run = world.start("p")
    assert world.status(run) == RunStatus.FAILED
    other = world.start("counter", name="x")
    world.do(run, Rewind(to="failed"))
    world.settle()
    assert (world.status(run), sums(world, other)) == (RunStatus.COMPLETED, [1])


def test_a_run_is_taken_back_by_one_that_finds_it() -> None:
    """A rewind by name, of one that has kept its name."""
    world = telling(finder("p", "signal", signal=Rewind(to="start")))
    run = world.start("counter", name="x")
    assert ask(world, "p")["code"] == "not ended"
    world.names.lasting.add(run)
    world.do(run, Terminate())
    assert ask(world, "p") == {"run": f"run-{run}"}
    assert world.status(run) == RunStatus.RUNNING


def test_threads_find_side_by_side() -> None:
    key = look(lambda scene: scene.var("INPUT"))
    graph = Graph("p").scope("l", "f", items=look(lambda scene: ["x", "y", "x", "x"]), parallel=True)
    world = telling(graph.find("f", "counter", key, "g", does="signal", signal=ADD).find("g", "counter", key).build())
    runs = [world.start("counter", name=name) for name in "xy"]
    run = world.start("p")
    assert world.status(run) == RunStatus.COMPLETED
    assert sums(world, *runs) == [3, 1]


def test_a_handler_of_a_thread_sees_what_failed() -> None:
    graph = Graph("p").call("c", thread="f", to="a").work("a")
    graph.find("f", "counter", "x", on_failure=(Rule("body", to="h"),)).work("h", input=var("INPUT"))
    world = telling(graph.build())
    run = world.start("p")
    assert world.opened(run, "h").input["code"] == "not found"
    world.report(run, "h")
    assert world.is_open(run, "a")


def test_a_skipped_step_finds_nothing() -> None:
    world = telling(Graph("p").work("a", "f").find("f", "counter", "x", does="start").build())
    run = world.start("p")
    world.do(run, Skip(slot="f", output="skipped"))
    world.report(run, "a")
    assert world.output(run) == "skipped"
    assert list(world.runs) == [run]


def test_ways_on_may_look_at_what_came_of_it() -> None:
    found = look(lambda scene: output(scene.newest("f"))["status"] == "RUNNING", "f")
    graph = Graph("p").find("f", "counter", "x", (edge("yes", found, seen=out("f")), edge("no")), on_failure=(Rule("continue"),))
    world = telling(graph.assign("yes", output=var("seen")).assign("no", output="no").build())
    other = world.start("counter", name="x")
    run = world.start("p")
    assert world.output(run)["run"] == f"run-{other}"


def test_each_look_leads_to_the_runs_own_steps() -> None:
    """A time arm beside, an event: nothing of it is disturbed by what comes by name."""
    waits = Graph("waits").wait("w", on_event("e"), after(1_000, to="late"), on_merge(stays=True)).assign("late", output="late")
    world = World(waits.build(), finder("p", "signal", "waits", signal=Merge(changes={"a": 1})))
    run = world.start("waits", name="x")
    assert ask(world, "p") == {"run": f"run-{run}"}
    assert world.var(run, "a") == 1
    world.tick(1_000)
    assert world.output(run) == "late"
    assert isinstance(world.newest(run, "w"), Step)
    assert world.ended(run, "w").status == StepStatus.COMPLETED
