"""Namespaces side by side: the same names of processes, handlers, keys, queues and events, and nothing seen of one another."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from msgspec import json
from tests.kernel.graphs import Graph, look, on_event, outside
from tests.runtime.harness import Shapes, handles
from tests.runtime.living import Living, living

from pelton.errors import Code, PeltonError
from pelton.kernel.model.process import Process
from pelton.kernel.model.signals import EventArrived, Report, Terminate
from pelton.kernel.model.state import Run, RunStatus
from pelton.runtime.api import ActionContext, ClaimRequest, CorrelateCommand, EventIn, SignalCommand, StartCommand
from pelton.runtime.caller import SERVER, Caller, server_in

HOUR = 3_600_000
CALLERS = (SERVER, server_in("acme"), Caller("zeta", "ann", "r-1"))


def job() -> Process:
    return Graph("job").work("a", queue="q").build()


def waits() -> Process:
    key = look(lambda scene: scene.newest("$start").output, "$start")  # type: ignore[union-attr]
    return Graph("waits").wait("w", on_event("paid", key=key), outside()).build()


def starts(context: ActionContext) -> list[StartCommand]:
    return [StartCommand(process="job", input=context.payload, key=str(context.payload))]


def ended(context: ActionContext) -> list[StartCommand]:
    return [StartCommand(process="waits", input="from the end")]


def shaped(kind: str, plan: Callable[[ActionContext], list[StartCommand]]) -> Shapes:
    shapes = Shapes()
    shapes.processes.update(job=job, waits=waits)
    for caller in CALLERS:  # bodies that differ by namespace
        shapes.processes.update({f"job@{caller.namespace}": job, f"waits@{caller.namespace}": waits})
    shapes.handlers["h"] = handles(kind, plan)
    return shapes


@pytest.fixture
async def at(tmp_path: Path) -> AsyncIterator[Living]:
    shapes = shaped("placed", starts)
    async with living(tmp_path, shapes=shapes) as found:
        for caller in CALLERS:
            for name in ("job", "waits"):
                await found.engine.define(caller, "process", "shapes", name, 1, json.encode(f"{name}@{caller.namespace}"))
            await found.engine.define(caller, "handler", "shapes", "h", 1, json.encode(["h", caller.namespace]))
        yield found


def others(caller: Caller) -> list[Caller]:
    return [other for other in CALLERS if other is not caller]


async def test_the_same_names_have_definitions_of_their_own(at: Living) -> None:
    rows = [await at.engine.definition(caller, "process", "job") for caller in CALLERS]
    assert [json.decode(row.body) for row in rows if row is not None] == ["job@default", "job@acme", "job@zeta"]
    assert rows[2] is not None
    assert rows[2].actor == "ann"
    bound = [(await at.engine.bind(caller, "job")).definition for caller in CALLERS]
    assert len(set(bound)) == 3
    await at.engine.undefine(CALLERS[1], "process", "job", 1)
    assert [await at.engine.definition(caller, "process", "job") is not None for caller in CALLERS] == [True, False, True]
    assert [len(await at.engine.definitions(caller, "process")) for caller in CALLERS] == [2, 1, 2]


async def test_runs_and_their_keys_are_seen_in_their_own_namespace_only(at: Living) -> None:
    heads = [await at.engine.start(caller, StartCommand(process="job", key="k", input=caller.namespace)) for caller in CALLERS]
    assert len({head.key for head in heads}) == 3
    refused_before: dict[tuple[str, int], str] = {}
    for caller, head in zip(CALLERS, heads, strict=True):
        assert [run.key for run in await at.engine.runs(caller)] == [head.key]
        assert await at.engine.runs_named(caller, "key", "job", "k") == [head.key]
        with pytest.raises(PeltonError) as twice:
            await at.engine.start(caller, StartCommand(process="job", key="k"))
        assert twice.value.code is Code.CONFLICT
        for other in others(caller):
            assert await at.engine.view(other, head.key) is None
            assert await at.engine.head(other, head.key) is None
            assert await at.engine.step(other, head.key, 1) is None
            assert await at.engine.steps(other, head.key) == []
            assert await at.engine.newest(other, head.key, "a") is None
            assert await at.engine.logs(other, head.key, 1) == []
            for call in (
                at.engine.signal(other, head.key, Terminate()),
                at.engine.remove(other, head.key),
                at.engine.log(other, head.key, 1, [(0, "x")]),
                at.engine.extend(other, head.key, 1),
            ):
                with pytest.raises(PeltonError) as refused:
                    await call
                assert refused.value.code is Code.UNKNOWN_RUN
            [result] = await at.engine.report(other, [(head.key, Report(n=1))])
            assert result.error is not None
            assert result.error.code is Code.UNKNOWN_RUN
            refused_before[other.namespace, head.key] = result.error.message
    applied = await at.engine.signal_named(CALLERS[1], "job", "k", Terminate())
    assert applied.run.key == heads[1].key
    assert [run.status for run in [await head_of(at, each.key) for each in heads]] == [
        RunStatus.RUNNING,
        RunStatus.TERMINATED,
        RunStatus.RUNNING,
    ]
    for caller, head in zip(CALLERS, heads, strict=True):
        await at.engine.remove(caller, head.key)
        for other in others(caller):
            [result] = await at.engine.report(other, [(head.key, Report(n=1))])
            assert result.error is not None
            assert result.error.message == refused_before[other.namespace, head.key], "what is elsewhere looks absent"


async def head_of(at: Living, run: int) -> Run:
    found = await at.store.head(run)
    assert found is not None
    return found


async def test_work_goes_to_workers_of_its_namespace(at: Living) -> None:
    for caller in CALLERS:
        await at.engine.start(caller, StartCommand(process="job", input=caller.namespace))
    for caller in reversed(CALLERS):
        assert await at.engine.queue_sizes(caller) == {"q": 1}
        items = await at.engine.claim(caller, ClaimRequest(queues=["q"], count=10, worker=f"w-{caller.namespace}"))
        assert [item.start.output for item in items] == [caller.namespace]
        assert [worker for _, worker, _ in at.engine.polled(caller)] == [f"w-{caller.namespace}"]
        [item] = items
        results, _ = await at.engine.exchange(caller, [(item.run.key, Report(n=item.step.n))], None)
        assert [result.error for result in results] == [None]


async def test_an_event_of_one_id_is_an_event_in_each(at: Living) -> None:
    keys = []
    for caller in CALLERS:
        event = EventIn(source="/shop", type="placed", id="1", body=7)
        (posted,) = await at.engine.ingest(caller, [event])
        assert (posted.duplicate, [effect.outcome for effect in posted.effects]) == (False, ["started"])
        keys.append(posted.key)
    for caller, key in zip(CALLERS, keys, strict=True):
        assert [row.key for row in await at.engine.events(caller)] == [key]
        found = await at.engine.event_by_id(caller, "/shop", "1")
        assert found is not None
        assert found.key == key
        assert (await at.engine.explain(caller, key, "h")).verdict == "fired"
        for other in others(caller):
            assert await at.engine.event(other, key) is None
            with pytest.raises(PeltonError) as refused:
                await at.engine.explain(other, key, "h")
            assert refused.value.code is Code.NOT_FOUND
        assert [run.ns for run in await at.engine.runs(caller)] == [caller.namespace]


async def test_an_event_says_nothing_about_where_it_goes(at: Living) -> None:
    """The caller's namespace counts, whatever the event says."""
    await at.engine.ingest(CALLERS[1], [EventIn(source="/shop", type="placed", id="1", ns="zeta", body=7)])
    assert [len(await at.engine.events(caller)) for caller in CALLERS] == [0, 1, 0]


async def test_keyed_events_meet_waits_of_their_namespace(at: Living) -> None:
    runs = [(await at.engine.start(caller, StartCommand(process="waits", input="k"))).key for caller in CALLERS]
    met = await at.engine.correlate(CALLERS[1], CorrelateCommand(name="paid", key="k", body="acme"))
    assert [run for run, _ in met.taken] == [runs[1]]
    assert (await at.engine.correlate(CALLERS[1], CorrelateCommand(name="paid", key="k", body="again", hold=HOUR))).held
    assert [len(await at.engine.held(caller)) for caller in CALLERS] == [0, 1, 0]
    assert await at.store.waiting("default", "paid", "k", 9) != []
    expected = await at.engine.signal_named(CALLERS[2], "waits", "later", EventArrived(id=1, name="paid", body=1), hold=HOUR)
    assert expected.run.ns == "zeta"
    begun = await at.engine.start(SERVER, StartCommand(process="waits", key="later", input="x"))
    assert begun.key != expected.run.key, "what waits for a run of one namespace is not for another's"


async def test_results_of_a_job_are_for_those_who_gave_it(at: Living) -> None:
    runs = [(await at.engine.start(CALLERS[1], StartCommand(process="waits", input="k"))).key for _ in range(3)]
    foreign = (await at.engine.start(SERVER, StartCommand(process="waits", input="k"))).key
    number = await at.engine.signal_many(CALLERS[1], [*runs, foreign], Terminate())
    await at.quiet()
    whole, *results = await at.engine.results(CALLERS[1], number)
    assert (whole.n, sorted(row.outcome for row in results)) == (4, ["failed", "signalled", "signalled", "signalled"])
    assert [await at.engine.results(other, number) for other in others(CALLERS[1])] == [[], []]
    head = await at.store.head(foreign)
    assert head is not None
    assert head.status == RunStatus.RUNNING


async def test_an_action_reaches_runs_of_its_namespace_only(at: Living) -> None:
    foreign = await at.engine.start(SERVER, StartCommand(process="waits", input="k"))
    at.shapes.handlers["reaches"] = handles("reach", lambda context: [SignalCommand(run=foreign.key, signal=Terminate())])
    await at.engine.define(CALLERS[1], "handler", "shapes", "reaches", 1, b"1")
    (posted,) = await at.engine.ingest(CALLERS[1], [EventIn(source="/s", type="reach")])
    assert [effect.outcome for effect in posted.effects] == ["failed"]
    head = await at.store.head(foreign.key)
    assert head is not None
    assert head.status == RunStatus.RUNNING


async def test_actions_in_commits_of_their_own_reach_runs_of_their_namespace_only(at: Living) -> None:
    runs = [(await at.engine.start(caller, StartCommand(process="waits", input="k"))).key for caller in CALLERS]
    many = [SignalCommand(run=run, signal=Terminate(strict=False)) for run in runs * 15]
    at.shapes.handlers["reaches"] = handles("reach", lambda context: many)
    await at.engine.define(CALLERS[1], "handler", "shapes", "reaches", 1, b"1")
    (posted,) = await at.engine.ingest(CALLERS[1], [EventIn(source="/s", type="reach")])
    assert posted.effects[-1].detail == "in a separate commit"
    await at.quiet()
    assert [(await head_of(at, run)).status for run in runs] == [RunStatus.RUNNING, RunStatus.TERMINATED, RunStatus.RUNNING]


async def test_a_queue_whose_name_looks_like_one_of_another_namespace_is_another(at: Living) -> None:
    name = "acme\x1fq"
    at.shapes.processes["sly"] = lambda: Graph("sly").work("a", queue=name).build()
    for caller in CALLERS:
        await at.engine.define(caller, "process", "shapes", "sly", 1, b'"sly"')
        await at.engine.start(caller, StartCommand(process="sly", input=caller.namespace))
    for caller in others(CALLERS[1]):
        assert await at.engine.queue_sizes(caller) == {name: 1}
    assert await at.engine.queue_sizes(CALLERS[1]) == {"q": 1}
    for caller in CALLERS:
        items = await at.engine.claim(caller, ClaimRequest(queues=[name, "q"], count=10, worker="w"))
        assert [item.start.output for item in items] == [caller.namespace]
        assert ("q", "w") in [(queue, worker) for queue, worker, _ in at.engine.polled(caller)]


async def test_handlers_of_every_namespace_are_heard_after_a_restart(tmp_path: Path) -> None:
    """What a run announces becomes an event where someone listens, also when that namespace was silent since the start."""
    shapes = shaped("run.ended", ended)
    acme = server_in("acme")
    async with living(tmp_path, shapes=shapes) as at:
        for name in ("job", "waits"):
            await at.engine.define(acme, "process", "shapes", name, 1, json.encode(name))
        run = (await at.engine.start(acme, StartCommand(process="job"))).key
        await at.engine.define(acme, "handler", "shapes", "h", 1, b"1")
    async with living(tmp_path, shapes=shapes) as at:
        assert at.engine.namespaces() == ["acme", "default"]
        await at.engine.signal(acme, run, Terminate())
        await at.quiet()
        assert [row.type for row in await at.engine.events(acme)] == ["run.ended"]
        assert await at.engine.events(SERVER) == []
