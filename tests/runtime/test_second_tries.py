"""Two engines that want the same runs: who has lost once locks what it was about, and does not lose again to the same rows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import pytest
from msgspec import json
from tests.kernel.graphs import Graph, look, on_event
from tests.patience import happens
from tests.runtime.harness import Shapes, handles
from tests.runtime.nodes import STORES, Pair, seat, two

from pelton.kernel.machine.scene import Scene
from pelton.kernel.model.process import Process
from pelton.kernel.model.signals import EventArrived
from pelton.runtime.api import ActionContext, Command, EventIn, SignalCommand, StartCommand
from pelton.runtime.caller import SERVER
from pelton.runtime.commit import second_tries
from pelton.runtime.commit.requests import WriteRequest
from pelton.store.row_locks import Owner, RowName

case = pytest.mark.parametrize("kind", STORES)
FEW = 3  # tries of one request


def counting() -> Process:
    """Every `more` is counted, so that one taken twice shows."""
    graph = Graph("counting", output=look(lambda scene: scene.var("hits") or 0))
    graph.body("", hits=0)
    more = on_event("more", stays=True, hits=look(lambda scene: scene.var("hits") + 1))
    return graph.wait("w", more, on_event("stop", "")).build()


def both_in_turn(context: ActionContext) -> Sequence[Command]:
    """A signal to each of the runs that the event names, in its order, and so in one group."""
    ident, runs = context.event.event_id, context.event.body
    return [SignalCommand(run=run, signal=EventArrived(id=hash((ident, run)) >> 1, name="more")) for run in runs]


def adding(text: str) -> Callable[[Scene], Any]:
    return lambda scene: scene.var("hits") + text


async def begin(pair: Pair) -> int:
    return (await pair.a.engine.start(SERVER, StartCommand(process="counting"))).key


async def hits(pair: Pair, run: int) -> int:
    view = await pair.a.engine.view(SERVER, run)
    assert view is not None
    return int(view.variables.get("hits", 0))


def most_tries(pair: Pair) -> int:
    return max(at.engine.committer.stats["most_tries"] for at in pair.both)


def handling() -> Shapes:
    shapes = Shapes()
    shapes.handlers["h"] = handles("both", both_in_turn)
    return shapes


async def post(at: Any, name: str, runs: list[int]) -> None:
    (found,) = await at.engine.ingest(SERVER, [EventIn(source="s", type="both", id=name, body=runs)])
    assert found.state == "matched", found


async def change(pair: Pair, run: int, ident: int) -> None:
    await pair.b.engine.signal(SERVER, run, EventArrived(id=ident, name="more"))


async def free(pair: Pair) -> None:
    """Nothing is locked any more."""
    store: Any = pair.store
    await happens(lambda: not store._row_locks, "all locks are given back")


@case
async def test_signals_and_events_that_cross_are_all_applied_after_a_few_tries(kind: str, tmp_path: Path) -> None:
    """To one run, and to two runs in one group, in both orders, through both engines at once."""
    async with two(kind, tmp_path, counting, shapes=handling()) as pair:
        await pair.a.engine.define(SERVER, "handler", "shapes", "h", 1, json.encode("h"))
        one, other = await begin(pair), await begin(pair)
        for at in pair.both:
            await at.engine.ingest(SERVER, [EventIn(source="s", type="else", id=at.engine.work.instance, body={})])

        async def send(at: Any, first: int) -> None:
            for number in range(first, first + 20):
                await at.engine.signal(SERVER, one, EventArrived(id=number, name="more"))

        async def cross(at: Any, line: int) -> None:
            for number in range(10):
                runs = [one, other] if (line + number) % 2 else [other, one]
                await post(at, f"{at.engine.work.instance} {line} {number}", runs)

        sends = [send(at, 1000 * line + 20 * side) for side, at in enumerate(pair.both) for line in range(8)]
        crossings = [cross(at, line) for at in pair.both for line in range(4)]
        await asyncio.gather(*sends, *crossings)
        assert (await hits(pair, one), await hits(pair, other)) == (320 + 80, 80)
        assert sum(at.engine.committer.stats["lost"] for at in pair.both) > 0
        assert most_tries(pair) <= FEW
        await free(pair)


async def test_who_has_lost_once_wins_however_often_the_other_tries(tmp_path: Path) -> None:
    """The other engine changes the run before each commit of this one, if it can."""
    async with two("memory", tmp_path, counting) as pair:
        run = await begin(pair)
        tried: list[asyncio.Future[Any]] = []

        async def try_it() -> None:
            tried.append(asyncio.ensure_future(pair.b.engine.signal(SERVER, run, EventArrived(id=len(tried) + 1, name="more"))))
            await asyncio.wait(tried[-1:], timeout=0.05)
            seat(pair.a).before = try_it

        seat(pair.a).before = try_it
        await pair.a.engine.signal(SERVER, run, EventArrived(id=1_000, name="more"))
        seat(pair.a).before = None
        await asyncio.gather(*tried)
        assert pair.a.engine.committer.stats["most_tries"] == 1
        assert await hits(pair, run) == len(tried) + 1
        await free(pair)


async def test_a_second_try_that_needs_more_rows_takes_them_with_the_others(tmp_path: Path) -> None:
    """The handler of the second try has another run, too, which the other engine changes at the last moment."""
    locked: list[set[RowName]] = []
    async with two("memory", tmp_path, counting, shapes=handling()) as pair:
        one, other = await begin(pair), await begin(pair)
        wanted = [one]

        def plan(context: ActionContext) -> Sequence[Command]:
            return [SignalCommand(run=run, signal=EventArrived(id=run, name="more")) for run in wanted]

        pair.shapes.handlers["h"] = handles("both", plan)
        await pair.a.engine.define(SERVER, "handler", "shapes", "h", 1, json.encode("h"))
        inner = pair.store.lock

        async def lock(owner: Owner, rows: Collection[RowName], wait: float) -> bool:
            locked.append(set(rows))
            return await inner(owner, rows, wait)

        pair.store.lock = lock  # type: ignore[method-assign]

        async def first() -> None:
            await change(pair, one, 1)
            wanted.append(other)
            seat(pair.a).before = lambda: change(pair, other, 2)

        seat(pair.a).before = first
        await post(pair.a, "e", [])
        assert locked == [{one}, {one, other}]
        assert (await hits(pair, one), await hits(pair, other)) == (2, 2)
        await free(pair)


@case
async def test_the_rows_of_an_engine_that_was_declared_dead_are_free(kind: str, tmp_path: Path) -> None:
    async with two(kind, tmp_path, counting) as pair:
        run = await begin(pair)
        assert await pair.store.lock(pair.b.engine.nodes.fence, [run], 1.0)
        sent = asyncio.ensure_future(pair.a.engine.signal(SERVER, run, EventArrived(id=1, name="more")))
        await happens(lambda: pair.a.engine.committer.stats["most_tries"] == 1)
        assert not sent.done()
        await pair.a.engine.nodes.declare_dead(pair.b.engine.nodes.number)
        await sent
        assert await hits(pair, run) == 1


@case
async def test_an_engine_that_closes_leaves_nothing_locked(kind: str, tmp_path: Path) -> None:
    async with two(kind, tmp_path, counting) as pair:
        run = await begin(pair)
        assert await pair.store.lock(pair.b.engine.nodes.fence, [run], 1.0)
        await pair.b.engine.close(1.0)
        await pair.a.engine.signal(SERVER, run, EventArrived(id=1, name="more"))
        await free(pair)


async def test_signals_that_come_while_a_lock_is_waited_for_keep_their_order(tmp_path: Path) -> None:
    def listing() -> Process:
        graph = Graph("counting")
        graph.body("", hits="")
        return graph.wait("w", *(on_event(name, stays=True, hits=look(adding(name))) for name in "abc")).build()

    async with two("memory", tmp_path, listing) as pair:
        run = await begin(pair)
        other = pair.b.engine.nodes.fence
        assert await pair.store.lock(other, [run], 1.0)
        submit = pair.a.engine.committer.submit
        sent = [submit(run, EventArrived(id=1, name="a"))]
        await happens(lambda: pair.a.engine.committer.stats["most_tries"] == 1)
        sent += [submit(run, EventArrived(id=2, name="b")), submit(run, EventArrived(id=3, name="c"))]
        await asyncio.sleep(0)
        await pair.store.unlock(other, [run])
        await asyncio.gather(*sent)
        view = await pair.a.engine.view(SERVER, run)
        assert view is not None
        assert view.variables["hits"] == "abc"
        assert most_tries(pair) == 1


async def test_a_lock_is_not_held_for_ever_by_an_engine_that_does_not_get_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(second_tries, "HOLD", 0.0)
    async with two("memory", tmp_path, counting) as pair:
        run = await begin(pair)

        async def stay() -> None:
            await free(pair)
            await change(pair, run, 2)

        async def first() -> None:
            await change(pair, run, 1)
            seat(pair.a).before = stay

        seat(pair.a).before = first
        await pair.a.engine.signal(SERVER, run, EventArrived(id=3, name="more"))
        assert await hits(pair, run) == 3
        assert most_tries(pair) == 2


async def test_what_is_too_much_to_be_locked_is_tried_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(second_tries, "ROWS", 0)
    async with two("memory", tmp_path, counting) as pair:
        run = await begin(pair)
        seat(pair.a).before = lambda: change(pair, run, 7)
        await pair.a.engine.signal(SERVER, run, EventArrived(id=1, name="more"))
        assert await hits(pair, run) == 2


async def test_a_run_that_was_forgotten_while_its_lock_is_waited_for_may_be_locked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another lock that has the run, too, was given meanwhile. Both groups' requests are performed again."""
    async with two("memory", tmp_path, counting) as pair:
        committer = pair.a.engine.committer
        given = [asyncio.Event(), asyncio.Event()]
        asked = iter(given)
        performed: list[Any] = []

        async def lock(owner: Owner, rows: Collection[RowName], wait: float) -> bool:
            return await next(asked).wait()

        monkeypatch.setattr(committer.workspace.store, "lock", lock, raising=False)
        tries = second_tries.SecondTries(
            committer.workspace, committer.loader.begin_run, committer.release, committer.spawn, performed.extend
        )
        first, second = WriteRequest(lambda group: None, asyncio.Future()), WriteRequest(lambda group: None, asyncio.Future())
        for number, request in enumerate((first, second)):
            assert tries.begin((1, 1), {77}, [request])
            await asyncio.sleep(0)
            if not number:
                committer.workspace.forget(77)
        for number, event in enumerate(given, 1):
            event.set()
            await happens(lambda number=number: len(performed) == number)
        assert performed == [first, second]
        for request in performed:
            tries.done(request)
