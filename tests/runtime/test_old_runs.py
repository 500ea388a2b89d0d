"""What a store of an older version holds of runs that no language makes yet opens, reads as it did, and goes on.

`tests/data/engine.db.gz` is the file that an engine of version 0.1.0.dev0 left behind, packed; `engine.json` names the runs in
it, what each was like, and how many rows each table has. It was made by running the processes below in that version: waits and
events that meet by key, placeholders of runs that have not been started, threads, branches that were made on the way, records and
families of them, timers and limits. Towards the end durable signals were written and not taken up, one of every kind that may
stand in the inbox, with that version's own encoders. `tests/server/test_old_data.py` has the file of a whole server.

The processes are part of the data: a run goes on where its process was, so none of them may change. The clock goes on from when
the file was closed.
"""

from __future__ import annotations

import gzip
import json
import sqlite3
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from tests.kernel.graphs import Graph, after, card, look, on_event, on_merge, on_trigger, out, outside, var
from tests.runtime.harness import Shapes, handles
from tests.runtime.living import Living, living

from pelton.kernel.model.process import Fragment, Limit, Limits, NewRun, Process, Rule, RunSignal
from pelton.kernel.model.signals import EventArrived, Report, Resume, Trigger
from pelton.kernel.model.state import OpenStep, Run, RunStatus
from pelton.runtime.api import ActionContext, ClaimRequest, CorrelateCommand, StartCommand
from pelton.runtime.caller import SERVER

DATA = Path(__file__).resolve().parent.parent / "data"
FILE = gzip.decompress((DATA / "engine.db.gz").read_bytes())
TOLD = json.loads((DATA / "engine.json").read_text("utf-8"))
RUNS: dict[str, Any] = TOLD["runs"]
HOUR = 3_600_000
MINUTE = 60_000
KEY = look(lambda scene: scene.newest("$start").output, "$start")  # type: ignore[union-attr]


def keyed() -> Process:
    """Its key is its input."""
    return Graph("keyed").wait("w", on_event("paid", key=KEY), outside()).build()


def expected() -> Process:
    return Graph("expected").wait("w", on_event("go"), to="last").wait("last", outside()).build()


def threads() -> Process:
    graph = Graph("threads").body("", shared=1).call("c", thread="t", to="z").work("z", input=var("shared"))
    graph.body("t", own=look(lambda c: c.var("shared") + 10, "$shared"))
    graph.assign("t", "u", shared=look(lambda c: c.var("shared") + 1, "$shared"))
    return graph.work("u", input=look(lambda c: [c.var("own"), c.var("shared")], "$own", "$shared")).build()


def handled() -> Process:
    """A failure of `a` is handled in a thread."""
    graph = Graph("handled").body("", v=0).work("a", "b", on_failure=(Rule("body", to="h"),)).work("b")
    return graph.work("h", input=var("INPUT")).build()


def alarmed() -> Process:
    graph = Graph("alarmed").body("", [("alarm", "i")]).wait("w", outside(), to="x").work("x")
    return graph.work("i", input=var("INPUT")).build()


def fragment_of(name: str, value: Any) -> Fragment:
    graph = Graph()
    for slot in value:
        graph.work(slot)
    return Fragment(nodes=graph.nodes, branches=(*value, "j"), joins={"j": tuple(value)})


def dynamic() -> Process:
    return Graph("dynamic", fragment=fragment_of).fork("f", dynamic=look(lambda c: c.input)).join("j", to="z").work("z").build()


def busy() -> Process:
    """More steps than one commit may have."""
    graph = Graph("busy").body("", n=0).scope("l", "a", "z", again=look(lambda c: c.iteration < 700), keep=2)
    return graph.assign("a", n=look(lambda c: c.var("n") + 1, "$n"), trace=False).work("z", input=var("n")).build()


def timed() -> Process:
    return Graph("timed").wait("w", after(10 * MINUTE, "late"), outside()).work("late", queue="lates").build()


def distant() -> Process:
    return Graph("distant").wait("w", after(300 * 24 * HOUR), outside()).build()


def limited() -> Process:
    limits = Limits(queue=Limit(after=10 * MINUTE, action="fail"))
    return Graph("limited").work("a", queue="limited", limits=limits).build()


def merging() -> Process:
    merged = on_merge("z", condition=look(lambda c: c.var("ok") == "merged", "$ok"))
    return Graph("merging").body("", ok="").wait("w", merged).work("z", input=var("ok")).build()


def pair() -> Process:
    return Graph("pair").body("", list=[1]).work("a", "b", queue="as").work("b", queue="bs").build()


def better() -> Process:
    return Graph("pair", 2).body("", list=[1]).work("a", "c", queue="as").work("c", queue="cs").build()


def asking() -> Process:
    """Goes on with the first answer of its child."""
    return Graph("asking").call("c", "kid", "z", awaits="reply").work("z", input=out("c")).build()


def kid() -> Process:
    return Graph("kid").wait("k", outside()).build()


def mother() -> Process:
    return Graph("mother").call("c", "kid", to="z", input=look(lambda c: c.input)).work("z", input=out("c")).build()


def ticket() -> Process:
    graph = Graph("ticket", records=card()).wait("w", on_trigger("close", "done"), on_trigger("note", "w"))
    return graph.assign("done", record=look(lambda scene: {**scene.record, "state": "closed"})).build()


def family() -> Process:
    def begun(scene: Any) -> list[NewRun]:
        return [NewRun({"name": "ticket"}, {"of": number}) for number in range(scene.input["children"])]

    graph = Graph("family", records=card()).send("send", look(begun), "w")
    graph.wait("w", on_trigger("finish", "tell", guard=look(lambda scene: scene.counts() == {"closed": scene.input["children"]})))
    told = look(lambda scene: [RunSignal(scene.input["to"], Trigger(name="note", changes={"tags": ["told"]}, strict=False))])
    return graph.send("tell", told).build()


def noted() -> Process:
    return Graph("noted").wait("w", outside()).build()


PROCESSES = (
    keyed, expected, threads, handled, alarmed, dynamic, busy, timed, distant, limited, merging, pair, asking, kid, mother,
    ticket, family, noted,
)  # fmt: skip


def notes(context: ActionContext) -> list[StartCommand]:
    return [StartCommand(process="noted", input={"type": context.event.type, "body": context.event.body})]


def shapes() -> Shapes:
    """The language of the file: names of the processes above."""
    found = Shapes()
    found.processes.update({build().name: build for build in PROCESSES}, better=better)
    for kind in ("run.not_started", "held.expired", "shop.fact"):
        found.handlers[kind] = handles(kind, notes)
    return found


# ---- the file, opened


class Old:
    """An engine on a copy of the file."""

    def __init__(self, at: Living) -> None:
        self.at = at
        self.engine = at.engine

    async def head(self, name: str | int) -> Run:
        found = await self.engine.head(SERVER, RUNS[name] if isinstance(name, str) else name)
        assert found is not None
        return found

    async def report(self, name: str, slot: str, output: Any = None) -> None:
        await self.engine.signal(SERVER, RUNS[name], Report(slot=slot, output=output))

    async def opened(self, name: str, slot: str) -> OpenStep:
        """The open step, as soon as it is there."""

        async def look_for() -> list[OpenStep]:
            steps = await self.engine.steps(SERVER, RUNS[name])
            return [step for step in steps if isinstance(step, OpenStep) and step.slot == slot]

        return await self.at.until_found(look_for)

    async def ended(self, name: str | int, status: RunStatus = RunStatus.COMPLETED) -> Any:
        """The output, as soon as it has ended."""
        output = await self.at.ended(RUNS[name] if isinstance(name, str) else name)
        assert (await self.head(name)).status == status
        return output

    async def becomes(self, name: str, status: RunStatus) -> None:
        async def look_at() -> list[Run]:
            head = await self.head(name)
            return [head] if head.status == status else []

        await self.at.until_found(look_at)

    async def outputs(self, name: str) -> dict[str, Any]:
        return {step.slot: step.output for step in await self.engine.steps(SERVER, RUNS[name])}

    async def counts(self, name: str) -> dict[str, Any]:
        view = await self.engine.view(SERVER, RUNS[name])
        assert view is not None
        return {key: value for key, value in view.variables.items() if key.startswith("#")}

    async def notes(self, kind: str) -> list[Any]:
        """What runs that handlers of that type have started say."""
        found = []
        for run in await self.engine.store.runs("default", process="noted"):
            view = await self.engine.view(SERVER, run.key)
            if view is not None and isinstance(view.start.output, dict) and view.start.output.get("type") == kind:
                found.append(view.start.output["body"])
        return found


@pytest_asyncio.fixture
async def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Old]:
    """A quarter of an hour later."""
    (tmp_path / "pelton.db").write_bytes(FILE)
    ahead = (TOLD["closed"] + 15 * MINUTE) * 1_000_000 - time.time_ns()
    now = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: now() + ahead)
    async with living(tmp_path, shapes=shapes()) as at:
        yield Old(at)


def test_every_kind_of_row_is_in_the_file(tmp_path: Path) -> None:
    (tmp_path / "pelton.db").write_bytes(FILE)
    file = sqlite3.connect(tmp_path / "pelton.db")
    counts = {name: file.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in TOLD["rows"]}
    file.close()
    assert counts == TOLD["rows"]
    # The other file has these.
    assert {name for name, count in counts.items() if not count} == {"blob", "dead", "delivery", "seen"}


async def test_runs_and_records_read_as_they_did(old: Old) -> None:
    for name in ("keyed", "expected_a", "threads", "handled", "alarmed", "dynamic", "pair_leased", "ticket", "ticket_closed"):
        assert RunStatus((await old.head(name)).status).name == TOLD["statuses"][str(RUNS[name])]
    past = await old.engine.past(SERVER, RUNS["ticket"])
    assert [[record.number, record.since, record.body] for record, _ in past] == TOLD["ticket"]
    for _, since, body in TOLD["ticket"]:
        record = await old.engine.record(SERVER, RUNS["ticket"], since)
        assert record is not None
        assert record.body == body
    assert await old.engine.record(SERVER, RUNS["ticket_gone"]) is None
    assert [record.body["n"] for record, _ in await old.engine.past(SERVER, RUNS["ticket_gone"])] == ["ticket_gone"]
    found = await old.engine.store.candidates("default", "ticket", [[("tag", "b", False)]], 10)
    assert found == [RUNS["ticket"]]
    [line] = await old.engine.logs(SERVER, RUNS["ticket"], 1)
    assert line.text == "a line"


async def test_a_keyed_event_finds_the_wait_that_was_there(old: Old) -> None:
    met = await old.engine.correlate(SERVER, CorrelateCommand(name="paid", key="k1", body={"sum": 5}))
    assert [run for run, _ in met.taken] == [RUNS["keyed"]]
    assert await old.ended("keyed") == {"sum": 5}


async def test_a_held_event_is_claimed_when_its_wait_opens(old: Old) -> None:
    head = await old.engine.start(SERVER, StartCommand(process="keyed", input="k-held"))
    assert await old.ended(head.key) == {"sum": 7}


async def test_a_placeholder_becomes_its_run(old: Old) -> None:
    head = await old.engine.start(SERVER, StartCommand(process="expected", key="a", on_same_key="fail if live"))
    assert head.key == RUNS["expected_a"]
    assert await old.ended("expected_a") == "end"
    assert (await old.outputs("expected_a"))["w"] == "early"


async def test_what_was_awaited_too_long_goes(old: Old) -> None:
    [missing] = await old.at.until_found(lambda: _some(old.notes("run.not_started")))
    assert missing["data"] == {"held": 1}
    assert await old.engine.head(SERVER, RUNS["expected_b"]) is None
    [expired] = await old.at.until_found(lambda: _some(old.notes("held.expired")))
    assert (expired["name"], expired["key"]) == ("paid", "k-old")


async def test_a_name_leads_to_its_run(old: Old) -> None:
    go = EventArrived(id=5, name="go", body="late")
    applied = await old.engine.signal_named(SERVER, "expected", "n", go)
    assert applied.run.key == RUNS["named"]


async def test_threads_go_on(old: Old) -> None:
    assert (await old.opened("threads", "u")).input == [11, 2]
    await old.report("threads", "u")
    assert (await old.opened("threads", "z")).input == 2
    assert (await old.opened("handled", "h")).input == {"why": 1}
    await old.report("handled", "h")
    await old.opened("handled", "b")
    await old.report("alarmed", "i")
    await old.report("alarmed", "w")
    await old.opened("alarmed", "x")


async def test_branches_that_were_made_on_the_way_are_joined(old: Old) -> None:
    await old.report("dynamic", "t2", 2)
    await old.opened("dynamic", "z")
    assert (await old.outputs("dynamic"))["t1"] == 1


async def test_timers_and_limits_are_over(old: Old) -> None:
    await old.opened("timed", "late")
    await old.ended("limited", RunStatus.TIMED_OUT)
    await old.ended("distant")  # by a durable signal: it would have taken a year


async def test_work_that_was_handed_out_is_reported(old: Old) -> None:
    step = await old.opened("pair_leased", "a")
    assert step.worker == "old-worker"
    report = Report(n=step.n, attempt=step.attempt, output="done", worker="old-worker")
    [result] = await old.engine.report(SERVER, [(RUNS["pair_leased"], report)])
    assert result.error is None
    await old.opened("pair_leased", "b")


async def test_a_loop_that_ran_out_of_fuel_goes_on(old: Old) -> None:
    assert (await old.opened("busy", "z")).input == 700


async def test_signals_of_families_and_records(old: Old) -> None:
    assert (await old.opened("mother", "z")).input == "grown"
    await old.becomes("mother_failed", RunStatus.RUNNING)
    assert (await old.opened("mother_failed", "c")).child == RUNS["kid_of_mother_failed"]
    assert (await old.opened("asking", "z")).input == "pong"

    async def counted() -> list[bool]:
        return [True] if await old.counts("family") == {"#closed": 2} else []

    await old.at.until_found(counted)
    await old.engine.signal(SERVER, RUNS["family"], Trigger(name="finish"))
    await old.ended("family")

    async def told() -> list[bool]:
        record = await old.engine.record(SERVER, RUNS["ticket_told"])
        return [True] if record is not None and record.body.get("tags") == ["told"] else []

    await old.at.until_found(told)
    await old.at.quiet()
    amended = await old.engine.record(SERVER, RUNS["ticket_amended"])
    assert amended is not None
    assert amended.body["n"] == "amended"
    assert await old.engine.record(SERVER, RUNS["ticket_retired"]) is None
    await old.becomes("ticket_retired", RunStatus.TERMINATED)
    [line] = [line for line in await old.engine.logs(SERVER, RUNS["ticket"], 1) if line.text != "a line"]
    assert "nothing" in line.text  # the trigger that led nowhere


async def test_signals_of_events_workers_and_starts(old: Old) -> None:
    assert (await old.opened("merging", "z")).input == "merged"
    assert await old.ended("keyed_second") == "reported"
    assert (await old.opened("named", "last")).first
    assert (await old.outputs("named"))["w"] == "durable"
    await old.opened("begun", "w")
    view = await old.engine.view(SERVER, RUNS["begun"])
    assert view is not None
    assert (view.start.output, view.start.input["correlation"]) == ({"from": "a start"}, "c-1")
    assert view.run.hops == 2


async def test_signals_of_operators(old: Old) -> None:
    await old.ended("pair_ended", RunStatus.TERMINATED)
    await old.becomes("pair_halted", RunStatus.PAUSED)
    await old.engine.signal(SERVER, RUNS["pair_halted"], Resume())
    await old.becomes("pair_halted", RunStatus.RUNNING)
    await old.becomes("pair_paused", RunStatus.RUNNING)
    assert (await old.opened("pair_failed", "a")).attempt == 1
    await old.at.quiet()
    items = await old.engine.claim(SERVER, ClaimRequest(queues=["as"], count=100, worker="new"))
    assert RUNS["pair_hurried"] in {item.run.key for item in items}
    for name in ("pair_skipped", "pair_changed", "pair_upgraded"):
        await old.report(name, "a")
    await old.ended("pair_skipped")
    assert (await old.outputs("pair_skipped"))["b"] == "skipped"
    view = await old.engine.view(SERVER, RUNS["pair_changed"])
    assert view is not None
    assert view.variables["list"] == [1, 2]
    await old.opened("pair_upgraded", "c")


async def test_a_job_for_many_runs_is_done(old: Old) -> None:
    for number in range(3):
        assert await old.ended(f"many_{number}") is not None
    await old.at.quiet()
    results = await old.engine.results(SERVER, TOLD["job"])
    assert (results[0].run, results[0].n) == (0, 3)
    assert {row.run: row.outcome for row in results[1:]} == {RUNS[f"many_{number}"]: "signalled" for number in range(3)}


async def _some(found: Any) -> Any:
    notes = await found
    return [notes] if notes else []
