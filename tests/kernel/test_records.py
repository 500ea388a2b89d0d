"""The document that a run keeps about itself: its values in time, what it is found by, what parents know of their children."""

from __future__ import annotations

from typing import Any

import pytest
from tests.kernel.graphs import Graph, card, look, on_trigger, outside, when
from tests.kernel.invariants import check_counters
from tests.kernel.memory import AllReads
from tests.kernel.world import World

from pelton.kernel.machine.advance import advance
from pelton.kernel.machine.tokens.lifecycle import MOST_HOPS
from pelton.kernel.model.process import NewRun, Process, RunSignal
from pelton.kernel.model.reads import RecordKey
from pelton.kernel.model.signals import Amend, Count, Pause, Retire, Rewind, Terminate, Trigger
from pelton.kernel.model.state import Record, RunStatus, StartMeta
from pelton.kernel.model.transition import StartRun, Transition


def ready(scene: Any) -> bool:
    return bool((scene.record or {}).get("done", 0) >= 100)


def ticket(name: str = "ticket") -> Process:
    """open → (close, when done >= 100) → the end; `note` stays; what is closed is said in the record."""
    graph = Graph(name, records=card())
    graph.wait(
        "open",
        on_trigger("close", "closing", guard=look(ready)),
        on_trigger("drop", "closing"),
        on_trigger("note", stays=True),
        outside("closing"),
    )
    graph.assign("closing", "closed", record=look(lambda scene: {**scene.record, "state": "closed"}))
    return graph.end("closed").build()


def one(input: Any = None, **more: Any) -> tuple[World, int]:
    world = World(ticket())
    return world, world.start("ticket", input, **more)


# ---- values in time


def test_a_run_begins_with_a_value() -> None:
    world, run = one({"x": 1}, meta=StartMeta(actor="ann"))
    assert world.record(run) == Record(run, world.now * 1000, 1, True, {"by": "ann", "x": 1})
    assert world.found("state", "open") == [world.record(run)]


def test_a_start_whose_record_is_refused_leaves_nothing() -> None:
    world = World(ticket())
    assert world.refuse(1, world.starting("ticket", "refused")).code == "invalid"
    assert not world.runs


def test_a_guard_sees_the_changes_of_its_trigger_and_they_are_kept_only_when_it_is_taken() -> None:
    world, run = one()
    world.now += 1
    refused = world.refuse(run, Trigger(name="close", changes={"done": 99}))
    assert (refused.code, refused.trace) == ("guard", [{"arm": 0, "guard": "", "value": False}])
    assert world.values(run) == [{"by": ""}]
    world.do(run, Trigger(name="close", changes={"done": 100}, strict=False))
    assert world.status(run) == RunStatus.COMPLETED
    # The change and what the way on makes of it happen together: one value.
    assert world.values(run) == [{"by": ""}, {"by": "", "done": 100, "state": "closed"}]
    assert not world.runs[run].record.live  # type: ignore[union-attr]


def test_a_tolerant_trigger_that_is_refused_leaves_a_note() -> None:
    world, run = one()
    rev = world.head(run).rev
    world.do(run, Trigger(name="close", changes={"done": 1}, strict=False))
    assert world.notes[-1][1].code == "guard"
    assert world.head(run).rev == rev + 1
    assert world.values(run) == [{"by": ""}]


def test_a_change_that_the_language_refuses_refuses_the_trigger() -> None:
    world, run = one()
    assert world.refuse(run, Trigger(name="note", changes={"bad": 1, "x": 2})).detail == "bad is 1"
    assert world.refuse(run, Amend(changes={"bad": 1})).code == "invalid"


def test_values_of_one_microsecond_follow_one_another() -> None:
    world, run = one()
    for x in range(5):
        world.do(run, Trigger(name="note", changes={"x": x}))
    stamp = world.now * 1000
    assert [record.since for record, _ in world.runs[run].past] == [stamp + i for i in range(5)]
    world.now += 1
    world.do(run, Amend(changes={"x": 9}))
    assert world.runs[run].record.since == stamp + 1000  # type: ignore[union-attr]


def test_a_clock_that_went_back_does_not_make_values_overlap() -> None:
    world, run = one()
    world.now -= 500_000
    for x in range(3):
        world.do(run, Amend(changes={"x": x}))
    assert world.runs[run].record.since == 1_000_000_003  # type: ignore[union-attr]


@pytest.mark.parametrize("signal", [Amend, Trigger])
def test_the_same_change_again_is_no_new_value(signal: type[Any]) -> None:
    world, run = one({"x": [1, {"y": 2.5}]})
    named = {"name": "note"} if signal is Trigger else {}
    for _ in range(3):
        world.now += 1
        world.do(run, signal(changes={"x": [1, {"y": 2.5}]}, **named))
    assert len(world.values(run)) == 1


@pytest.mark.parametrize(("old", "new"), [(1, True), (0, False), (1, 1.0), ([1], [True]), ({"a": 0}, {"a": False})])
def test_values_that_only_python_takes_for_equal_are_different(old: Any, new: Any) -> None:
    world, run = one({"x": old})
    world.do(run, Amend(changes={"x": new}))
    assert len(world.values(run)) == 2
    assert type(world.body(run)["x"]) is type(new)


def test_the_order_of_members_is_no_change() -> None:
    world, run = one({"x": {"a": 1, "b": 2}})
    world.do(run, Amend(changes={"x": {"b": 2, "a": 1}}))
    assert len(world.values(run)) == 1


def test_a_value_that_was_never_seen_is_none() -> None:
    """The trigger's change is taken back on the way on, within the same transition."""
    graph = Graph("there and back", records=card())
    graph.wait("w", on_trigger("go", "back")).assign("back", "w", record=look(lambda scene: {**scene.record, "x": 1}))
    world = World(graph.build())
    run = world.start("there and back", {"x": 1})
    world.now += 1
    change = world.do(run, Trigger(name="go", changes={"x": 2}))
    assert world.values(run) == [{"by": "", "x": 1}]
    assert change.record_change is None


def test_attributes_follow_the_value() -> None:
    world, run = one({"tags": ["a", "b", "a"]})
    world.do(run, Amend(changes={"tags": ["b", "c"]}))
    assert world.runs[run].attributes == {("state", "open"), ("tag", "b"), ("tag", "c")}
    assert world.found("tag", "a") == []
    assert world.found("tag", "c") == [world.record(run)]


def test_actors_and_requests_are_told_to_the_language() -> None:
    def change(body: Any, changes: Any, moment: Any) -> Any:
        return {**body, "log": [*body.get("log", []), [moment.actor, moment.request, moment.now]]}

    graph = Graph("logged", records=card(change)).wait("w", on_trigger("go", stays=True))
    world = World(graph.build())
    run = world.start("logged", meta=StartMeta(actor="ann", extra={"request": "r0"}))
    world.do(run, Trigger(name="go", actor="bob", request="r1"))
    world.do(run, Amend(actor="cleo"))
    assert world.body(run)["log"] == [["bob", "r1", world.now], ["cleo", "", world.now]]
    assert world.body(run)["by"] == "ann"


# ---- start and trigger together


def test_a_start_with_a_trigger_makes_one_value() -> None:
    world, run = one({"x": 1}, trigger=Trigger(name="close", changes={"done": 100}, actor="bob"))
    assert world.status(run) == RunStatus.COMPLETED
    assert world.record(run) == Record(run, world.now * 1000, 1, False, {"by": "", "x": 1, "done": 100, "state": "closed"})
    assert world.runs[run].past == []


@pytest.mark.parametrize(
    "trigger", [Trigger(name="close", changes={"done": 1}), Trigger(name="close", strict=False), Trigger(name="unknown")]
)
def test_a_start_whose_trigger_is_refused_leaves_nothing(trigger: Trigger) -> None:
    world = World(ticket())
    start = world.starting("ticket", trigger=trigger)
    assert world.refuse(start.key, start).code == "guard"
    assert not world.runs


def test_a_start_that_ends_before_its_trigger_is_refused() -> None:
    world = World(Graph("brief", records=card()).assign("a", output=1).build())
    start = world.starting("brief", trigger=Trigger(name="t"))
    assert world.refuse(start.key, start).code == "ended"


# ---- amended and retired


def test_an_amendment_of_a_finished_run_opens_an_era() -> None:
    world, run = one(trigger=Trigger(name="drop"))
    world.now += 1
    world.do(run, Amend(changes={"x": 1}))
    head = world.head(run)
    assert (head.status, head.era) == (RunStatus.COMPLETED, 1)
    assert world.body(run) == {"by": "", "state": "closed", "x": 1}
    world.do(run, Amend(changes={"x": 1}))
    assert world.head(run).era == 1, "nothing was amended"


def test_an_amendment_of_a_running_run_opens_none() -> None:
    world, run = one()
    world.do(run, Amend(changes={"x": 1}))
    world.do(run, Pause())
    world.do(run, Amend(changes={"x": 2}))
    assert world.head(run).era == 0
    assert [body.get("x") for body in world.values(run)] == [None, 1, 2]


def test_a_retired_run_ends_and_what_it_was_stays() -> None:
    world, run = one({"tags": ["a"]})
    world.now += 1
    world.do(run, Retire(reason="a mistake"))
    rows = world.runs[run]
    assert (world.status(run), world.reason(run)) == (RunStatus.TERMINATED, "a mistake")
    assert (rows.record, rows.attributes) == (None, set())
    assert rows.past == [(Record(run, 1_000_000_000, 1, True, {"by": "", "tags": ["a"]}), world.now * 1000)]


def test_a_finished_run_is_retired_in_an_era_of_its_own() -> None:
    world, run = one(trigger=Trigger(name="drop"))
    world.do(run, Retire())
    head = world.head(run)
    assert (head.status, head.era, world.record(run)) == (RunStatus.COMPLETED, 1, None)


@pytest.mark.parametrize("trigger", [None, Trigger(name="drop")])
def test_nothing_can_be_done_with_what_was_retired(trigger: Trigger | None) -> None:
    world, run = one(trigger=trigger)
    world.do(run, Retire())
    assert world.refuse(run, Retire()).code == "not found"
    assert world.refuse(run, Amend(changes={"x": 1})).code == "not found"
    assert world.refuse(run, Trigger(name="note")).code == "ended"
    assert world.refuse(run, Rewind(to="start")).code == "not found"
    world.do(run, Retire(strict=False))
    assert world.notes[-1][1].code == "not found"


def test_a_run_begun_again_goes_on_with_the_numbers() -> None:
    world, run = one({"x": 1}, trigger=Trigger(name="drop"))
    world.do(run, Amend(changes={"x": 5}))
    world.do(run, Rewind(to="start"))
    assert world.values(run)[-1] == {"by": "", "x": 1}
    assert world.record(run).number == 3  # type: ignore[union-attr]
    assert world.is_open(run, "open")


def test_runs_that_keep_no_record_say_so() -> None:
    world = World(Graph("plain").wait("w", outside()).build())
    run = world.start("plain")
    for signal in (Amend(changes={"x": 1}), Retire()):
        refused = world.refuse(run, signal)
        assert refused.code == "invalid"
        assert "no record" in refused.detail


# ---- other runs


def family(children: int, *, trigger: Trigger | None = None, linked: bool = True) -> Process:
    """Begins children, then waits until all that it has are closed."""

    def begun(scene: Any) -> list[NewRun]:
        return [NewRun({"name": "ticket"}, {"of": i}, trigger=trigger, linked=linked) for i in range(children)]

    graph = Graph("family", records=card()).send("send", look(begun), "w")
    graph.wait("w", on_trigger("finish", "end", guard=look(lambda scene: set(scene.counts()) <= {"closed"})))
    return graph.end("end").build()


def family_world(children: int, **more: Any) -> tuple[World, int]:
    world = World(family(children, **more), ticket())
    run = world.start("family")
    return world, run


def test_children_are_begun_and_counted() -> None:
    world, run = family_world(3)
    children = world.children(run)
    assert world.ended(run, "send").output == [{"run": child} for child in children]
    assert [world.head(child).root for child in children] == [run] * 3
    assert [world.head(child).parent_n for child in children] == [0] * 3
    assert world.counts(run) == {"open": 3}
    world.do(children[0], Trigger(name="drop"))
    world.do(children[1], Amend(changes={"state": "odd"}))
    world.do(children[2], Retire())
    assert world.counts(run) == {"closed": 1, "odd": 1}
    world.do(children[0], Amend(changes={"state": "odd"}))
    assert world.counts(run) == {"odd": 2}
    world.do(children[0], Retire())
    world.do(children[1], Retire())
    assert world.counts(run) == {}


def test_children_that_are_not_linked_are_nobodys() -> None:
    world, run = family_world(2, linked=False)
    assert world.children(run) == []
    assert world.counts(run) == {}
    assert sorted(world.head(key).parent for key in world.runs) == [0, 0, 0]


def test_a_child_that_begins_with_a_trigger_is_counted_once_as_what_it_comes_to() -> None:
    world, run = family_world(2, trigger=Trigger(name="drop", changes={"x": 1}))
    assert world.counts(run) == {"closed": 2}
    world.do(run, Trigger(name="finish"))
    assert world.status(run) == RunStatus.COMPLETED


def test_a_child_whose_trigger_is_refused_is_not_begun() -> None:
    world, run = family_world(2, trigger=Trigger(name="close"))
    assert list(world.runs) == [run]
    assert world.counts(run) == {}


def test_a_process_that_does_not_exist_stops_nothing_else() -> None:
    what = [NewRun({"name": "nobody"}, None), NewRun({"name": "ticket"}, None)]
    world = World(Graph("p", records=card()).send("send", look(lambda scene: what), "w").wait("w", outside()).build(), ticket())
    run = world.start("p")
    assert world.ended(run, "send").output == [{"error": "there is no process named 'nobody'"}, {"run": run + 1}]
    assert world.counts(run) == {"open": 1}


def test_signals_are_told_in_commits_of_their_own() -> None:
    def told(scene: Any) -> list[RunSignal]:
        return [
            RunSignal(scene.input["to"], Trigger(name="note", changes={"x": 1}, strict=False)),
            RunSignal(10_000, Retire(strict=False)),
        ]

    world = World(ticket(), Graph("teller").send("send", look(told)).build())
    run = world.start("ticket")
    teller = world.start("teller", {"to": run}, settle=False)
    assert (world.status(teller), world.body(run)) == (RunStatus.COMPLETED, {"by": ""})
    world.settle()
    assert world.body(run) == {"by": "", "x": 1}


def closer() -> Process:
    """A child that tells its parent when it is closed."""
    graph = Graph("ticket", records=card()).wait("open", on_trigger("drop", "closing"))
    graph.assign("closing", "tell", record=look(lambda scene: {**scene.record, "state": "closed"}))
    graph.send("tell", look(lambda scene: [RunSignal(scene.run.parent, Trigger(name="finish", strict=False))]))
    return graph.build()


def test_of_two_children_that_close_at_once_exactly_the_last_one_lets_the_parent_pass() -> None:
    world = World(family(2), closer())
    run = world.start("family")
    first, second = world.children(run)
    # In one commit each, with what they tell their parent still on its way when the other closes.
    world.do(first, Trigger(name="drop"))
    told = world.later.popleft()
    world.send(*told)
    assert (world.status(run), world.notes[-1][1].code) == (RunStatus.RUNNING, "guard")
    world.do(second, Trigger(name="drop"))
    world.settle()
    assert world.status(run) == RunStatus.COMPLETED

    run = world.start("family")
    first, second = world.children(run)
    world.do(first, Trigger(name="drop"))
    world.do(second, Trigger(name="drop"))
    notes = len(world.notes)
    world.settle()  # both come when all are closed: the first passes, the second finds the parent over
    assert world.status(run) == RunStatus.COMPLETED
    assert [note.code for _, note in world.notes[notes:]] == ["ended"]


def test_a_condition_over_the_counters_is_looked_at_when_they_change() -> None:
    graph = Graph("family", records=card()).send("send", [NewRun({"name": "ticket"}, None)] * 2, "w")
    graph.wait("w", when(lambda scene: scene.counts() == {"closed": 2}, "$#closed", "$#open", to="end"))
    world = World(graph.end("end").build(), ticket())
    run = world.start("family")
    first, second = world.children(run)
    world.do(first, Trigger(name="drop"))
    assert world.status(run) == RunStatus.RUNNING
    world.do(second, Trigger(name="drop"))
    assert world.status(run) == RunStatus.COMPLETED


def test_a_parent_that_is_over_counts_on() -> None:
    world, run = family_world(1)
    world.do(run, Terminate())
    (child,) = world.children(run)
    world.do(child, Trigger(name="drop"))
    assert world.counts(run) == {"closed": 1}
    assert world.head(run).era == 0


def test_a_parent_of_a_thousand_children_does_the_same_for_each() -> None:
    world = World(family(1_000), closer(), thorough=False, both=False)
    run = world.start("family")
    children = world.children(run)
    assert world.counts(run) == {"open": 1_000}
    costs = []
    for child in children:
        before = len(world.costs)
        world.do(child, Trigger(name="drop"))
        world.settle()
        costs.append([(cost.read, cost.written) for cost in world.costs[before:]])
    assert world.status(run) == RunStatus.COMPLETED
    assert costs[5] == costs[500] == costs[990]
    assert sum(read + written for read, written in costs[500]) < 50
    check_counters(world)


def test_most_of_many_children_begin_in_commits_of_their_own() -> None:
    world = World(family(120), ticket(), both=False)
    signal = world.starting("family")
    change = world.do(signal.key, signal)
    started = [effect for effect in change.effects if isinstance(effect, StartRun)]
    assert [effect.later for effect in started] == [False] * 50 + [True] * 70
    assert world.counts(signal.key) == {"open": 50, "": 70}
    assert world.refuse(signal.key, Trigger(name="finish")).code == "guard"
    world.settle()
    assert world.counts(signal.key) == {"open": 120}


def test_children_that_have_not_begun_are_not_overlooked() -> None:
    """The first fifty are closed before the others begin: not all are."""
    world = World(family(60), closer(), both=False)
    signal = world.starting("family")
    world.do(signal.key, signal)
    coming = list(world.later)
    world.later.clear()
    for child in world.children(signal.key):
        world.thorough = False  # those that are coming are not where they are looked for
        world.do(child, Trigger(name="drop"))
    world.settle()
    assert world.counts(signal.key) == {"closed": 50, "": 10}
    assert {note.code for _, note in world.notes} == {"guard"}
    assert world.status(signal.key) == RunStatus.RUNNING
    world.later.extend(coming)
    world.settle()
    for child in world.children(signal.key)[50:]:
        world.do(child, Trigger(name="drop"))
    world.settle()
    assert world.status(signal.key) == RunStatus.COMPLETED


def test_children_without_records_begin_too() -> None:
    world = World(Graph("p").send("s", [NewRun({"name": "plain"}, None)] * 60, "w").wait("w", outside()).build(), ticket())
    world.define(Graph("plain").wait("w", outside()).build())
    run = world.start("p", settle=False)
    assert world.counts(run) == {"": 10}
    world.settle()
    assert world.counts(run) == {}


def test_runs_that_begin_one_another_come_to_an_end() -> None:
    world = World(Graph("ticket", records=card()).send("s", [NewRun({"name": "ticket"}, None)], "w").wait("w", outside()).build())
    run = world.start("ticket")
    assert len(world.runs) == MOST_HOPS + 1
    assert all(world.head(key).root == run for key in world.runs)


# ---- runs that are found


def test_a_guard_looks_at_the_records_of_other_runs() -> None:
    """The next in line may go only when nobody of the same line is before it."""

    def first(scene: Any) -> bool:
        line = scene.found("tag", scene.record["tags"][0])
        return bool(line) and min(record.run for record in line if record.live) == scene.run.key

    graph = Graph("turn", records=card()).wait("w", on_trigger("go", "z", guard=look(first)))
    world = World(graph.assign("z", record=look(lambda scene: {**scene.record, "state": "closed"})).build())
    a, b, c = (world.start("turn", {"tags": [tag]}) for tag in ("x", "x", "y"))
    assert world.refuse(b, Trigger(name="go")).code == "guard"
    world.do(c, Trigger(name="go"))
    world.do(a, Trigger(name="go"))
    world.do(b, Trigger(name="go"))


def test_the_record_is_read_once_for_a_signal() -> None:
    world, run = one()
    before = len(world.costs)
    world.do(run, Trigger(name="close", changes={"done": 100}))
    assert world.costs[before].read <= 6
    assert world.costs[before].rounds <= 6


def test_processes_without_records_are_not_asked_for_one() -> None:
    world = World(Graph("plain").wait("w", on_trigger("t", guard=look(lambda scene: scene.var("x") == 1, "$x"))).build())
    run = world.start("plain")
    facts = AllReads(world, run, {})
    lookup = facts.lookup
    asked: list[Any] = []

    def look_up(key: Any) -> Any:
        asked.append(type(key))
        return lookup(key)

    facts.lookup = look_up  # type: ignore[method-assign]
    assert isinstance(advance(world.definitions[1], facts, Trigger(name="t", changes={"x": 1}), world.now), Transition)
    assert asked
    assert RecordKey not in asked


def test_counts_that_come_in_another_order_come_to_the_same() -> None:
    world = World(Graph("p").wait("w", outside()).build(), both=True)
    run = world.start("p")
    for changes in ({"open": -1, "closed": 1}, {"open": 1}, {"open": 1}):
        world.thorough = False  # there are no children
        world.do(run, Count(changes=changes))
    assert world.counts(run) == {"open": 1, "closed": 1}
