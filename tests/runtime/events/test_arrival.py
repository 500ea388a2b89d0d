"""The order of arrival: whatever overtakes what on the way, events act as if one had come after the other was committed."""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.exploring import examples
from tests.kernel.graphs import Graph, card, on_trigger
from tests.runtime.harness import Gate, Rig, Shapes, Wrapped, handles

from pelton.errors import PeltonError
from pelton.kernel.expressions.base import Evaluation, ExpressionError, Outcome, Unanswered
from pelton.kernel.model.process import Process
from pelton.kernel.model.signals import Trigger
from pelton.runtime.api import ActionContext, Command, EventIn, Ingested, MatchCommand, StartCommand
from pelton.runtime.cache.shared import Shared
from pelton.runtime.events.arrival import ArrivalOrder, ArrivalTicket
from pelton.runtime.events.ingest import EventIngester
from pelton.store.memory.store import MemoryStore
from pelton.store.port import Store
from pelton.store.sqlite.store import SqliteStore
from pelton.testing.losing_store import losing

STORES = ("memory", "sqlite")
FIELDS = ("tags", "state", "log")


class Op(NamedTuple):
    """What an event asks for: a card (`make`), or for all cards with this tag and state ("" = any) another state (`move`)."""

    kind: str
    tag: str = ""
    state: str = ""
    to: str = ""
    indexed: bool = True
    slow: bool = False  # asks a script first
    line: str = "one"  # its handler


def noted(body: Any, changes: Mapping[str, Any], moment: Any) -> Any:
    return {**body, "state": changes["to"] or body["state"], "log": [*body["log"], changes["n"]]}


def cards() -> Process:
    return Graph("card", records=card(noted)).wait("open", on_trigger("note", stays=True)).build()


def passes(op: Op, body: Mapping[str, Any]) -> bool:
    return (not op.tag or op.tag in body["tags"]) and (not op.state or op.state == body["state"])


def plan(context: ActionContext) -> Sequence[Command]:
    number, *rest = context.payload
    op = Op(*rest)
    if op.slow:
        question = Evaluation("javascript", f"{number}", "", 0, 0, 1_000)
        if context.evaluated(question) is None:
            raise Unanswered(question)
    if op.kind == "fails":
        raise ExpressionError("it fails")
    if op.kind == "make":
        return [StartCommand(process="card", input={"tags": [op.tag], "state": "a", "log": [number]})]
    conjuncts: list[list[tuple[str, str, bool]]] = [[("tag", op.tag, False)]] if op.tag and op.indexed else []
    if op.state and op.indexed:
        conjuncts.append([("state", op.state, False)])
    note = Trigger(name="note", changes={"to": op.to, "n": number}, strict=False)
    return [MatchCommand(process="card", where=lambda record: passes(op, record.body), conjuncts=conjuncts, signal=note)]


def oracle(ops: Sequence[Op]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for number, op in enumerate(ops):
        if op.kind == "make":
            found.append({"tags": [op.tag], "state": "a", "log": [number]})
        elif op.kind == "move":
            for each in [each for each in found if passes(op, each)]:
                each["state"] = op.to or each["state"]
                each["log"].append(number)
    return found


class Scripts:
    """Answers whenever the dice say."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice

    async def answer(self, questions: Sequence[Evaluation]) -> Sequence[Outcome]:
        for _ in range(self._dice.randrange(40)):
            await asyncio.sleep(0)
        return [Outcome(value=True) for _ in questions]


class Slow(Wrapped):
    """Reads that take their time, each its own."""

    def __init__(self, inner: Store, dice: random.Random) -> None:
        super().__init__(inner)
        self._dice = dice

    async def _wait(self) -> None:
        for _ in range(self._dice.randrange(12)):
            await asyncio.sleep(0)

    async def candidates(self, *given: Any) -> Any:
        await self._wait()
        found = await self.inner.candidates(*given)
        await self._wait()
        return found

    async def records_of(self, *given: Any) -> Any:
        found = await self.inner.records_of(*given)
        await self._wait()
        return found

    async def records(self, *given: Any, **more: Any) -> Any:
        found = await self.inner.records(*given, **more)
        await self._wait()
        return found


@asynccontextmanager
async def world(
    kind: str, path: Path, wrap: Callable[[Store], Any] = lambda inner: inner, **options: Any
) -> AsyncIterator[tuple[Rig, EventIngester]]:
    store: Store = MemoryStore() if kind == "memory" else SqliteStore(path / "pelton.db", "relaxed")
    await store.open()
    at = Rig(cast(Store, wrap(store)), Shapes(), **options)
    try:
        await at.define(cards)
        for name in ("one", "two", "three"):
            await at.handle(name, handles(name, plan, records="card"))
        await at.handle("else", handles("else", lambda context: []))
        yield at, EventIngester(at.committer)
    finally:
        await at.committer.stop(1.0)
        await store.close()


def event(number: int, op: Op) -> EventIn:
    return EventIn(source="s", type=op.line, id=str(number), body=[number, *op])


async def bodies(at: Rig) -> list[Any]:
    found = await at.store.records("default", process="card", limit=5_000)
    return sorted(({name: record.body[name] for name in FIELDS} for record in found), key=lambda body: body["log"][0])


async def play(at: Rig, router: EventIngester, ops: Sequence[Op]) -> list[Ingested]:
    outcomes = await router.ingest([event(number, op) for number, op in enumerate(ops)])
    assert not [outcome for outcome in outcomes if isinstance(outcome, PeltonError)]
    return cast(list[Ingested], outcomes)


# ---- bursts


@pytest.mark.parametrize("kind", STORES)
async def test_cards_made_and_moved_twice_in_one_burst_all_arrive(kind: str, tmp_path: Path) -> None:
    async with world(kind, tmp_path) as (at, router):
        ops: list[Op] = []
        for key in map(str, range(100)):
            ops += [Op("make", key, line="one"), Op("move", key, "a", "b", line="two"), Op("move", key, "b", "c", line="three")]
        await play(at, router, ops)
        assert await bodies(at) == oracle(ops)
        assert {body["state"] for body in await bodies(at)} == {"c"}


@pytest.mark.parametrize("kind", STORES)
async def test_a_thousand_events_for_one_card_act_in_their_order(kind: str, tmp_path: Path) -> None:
    async with world(kind, tmp_path) as (at, router):
        ops = [Op("make", "k"), *(Op("move", "k") for _ in range(999))]
        batches = at.committer.stats["batches"]
        await play(at, router, ops)
        assert (await bodies(at))[0]["log"] == list(range(1000))
        assert at.committer.stats["batches"] - batches < 100, "many events share a commit"


async def test_four_senders_keep_their_own_order(tmp_path: Path) -> None:
    async with world("memory", tmp_path) as (at, router):
        await play(at, router, [Op("make", str(sender)) for sender in range(4)])

        async def send(sender: int) -> None:
            for first in range(0, 100, 20):
                await router.ingest(
                    [event(1000 * (sender + 1) + each, Op("move", str(sender))) for each in range(first, first + 20)]
                )

        await asyncio.gather(*map(send, range(4)))
        for sender, body in enumerate(await bodies(at)):
            assert body["log"][1:] == [1000 * (sender + 1) + each for each in range(100)]


operation = st.builds(
    Op,
    st.sampled_from(["make", "move", "move", "move", "fails"]),
    st.sampled_from(["x", "y", "z", ""]),
    st.sampled_from(["", "a", "b"]),
    st.sampled_from(["", "a", "b"]),
    st.booleans(),
    st.booleans(),
    st.sampled_from(["one", "two", "three"]),
)


@examples(60)
@given(
    bursts=st.lists(st.lists(operation, min_size=1, max_size=14), min_size=1, max_size=3),
    seed=st.integers(0, 1000),
    rate=st.sampled_from([0.0, 0.15, 0.3]),
    cold=st.booleans(),
)
def test_any_burst_comes_to_what_its_events_come_to_one_by_one(
    bursts: list[list[Op]], seed: int, rate: float, cold: bool
) -> None:
    async def run(path: Path) -> None:
        dice = random.Random(seed)
        options: dict[str, Any] = {"scripts": Scripts(dice), "tries": 1_000}
        if cold:
            options["cache_bytes"] = 1
        ops = [op for burst in bursts for op in burst]
        async with world("memory", path, lambda inner: Slow(losing(inner, seed, rate), dice), **options) as (at, router):
            numbered = iter(enumerate(ops))
            posts = []
            for burst in bursts:
                posts.append(asyncio.ensure_future(router.ingest([event(*next(numbered)) for _ in burst])))
                for _ in range(dice.randrange(30)):
                    await asyncio.sleep(0)
            for outcomes in await asyncio.gather(*posts):
                assert not [outcome for outcome in outcomes if isinstance(outcome, PeltonError)]
            assert await bodies(at) == oracle(ops)
            assert not router._under_way, "nobody is left in line"
            assert not at.committer.workspace.record_log._searches
            assert not at.committer.workspace.lanes._known

    with tempfile.TemporaryDirectory() as place:
        asyncio.run(run(Path(place)))


# ---- who holds whom


class Asked:
    """A script pool that answers when the test says so."""

    def __init__(self) -> None:
        self.may = asyncio.Event()
        self.error: Exception | None = None

    async def answer(self, questions: Sequence[Evaluation]) -> Sequence[Outcome]:
        await self.may.wait()
        if self.error is not None:
            raise self.error
        return [Outcome(value=True) for _ in questions]


async def turns(count: int = 60) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_a_slow_event_holds_those_for_its_own_handlers_only(tmp_path: Path) -> None:
    asked = Asked()
    async with world("memory", tmp_path, scripts=asked) as (at, router):
        slow = asyncio.ensure_future(router.ingest([event(0, Op("make", "x", slow=True))]))
        behind = asyncio.ensure_future(router.ingest([event(1, Op("make", "y"))]))
        other = asyncio.ensure_future(router.ingest([event(2, Op("make", "z", line="else"))]))
        await asyncio.wait_for(other, 30)
        await turns()
        assert not slow.done()
        assert not behind.done()
        asked.may.set()
        await asyncio.gather(slow, behind)
        assert [body["log"] for body in await bodies(at)] == [[0], [1]]


@pytest.mark.parametrize("how", ["script", "plan", "store", "test", "too many hops"])
async def test_the_line_moves_on_however_an_event_ends(how: str, tmp_path: Path) -> None:
    asked = Asked()
    asked.may.set()

    class Failing(Wrapped):
        fails = False

        async def candidates(self, *given: Any) -> Any:
            if self.fails:
                raise RuntimeError("the disk is gone")
            return await self.inner.candidates(*given)

    def wrap(inner: Store) -> Any:
        return Failing(inner)

    async with world("memory", tmp_path, wrap, scripts=asked) as (at, router):
        await play(at, router, [Op("make", "x")])
        store = cast(Failing, at.store)
        first = event(1, Op("move", "x", slow=how == "script"))
        if how == "script":
            asked.error = RuntimeError("the pool is gone")
        elif how == "plan":
            first = event(1, Op("fails"))
        elif how == "store":
            store.fails = True
        elif how == "test":
            first.body[2] = 5  # `5 in tags or ...`: the test of each record fails
            first.body[5] = False
        else:
            first.hops = 65
        ending = asyncio.ensure_future(router.ingest([first]))
        second = asyncio.ensure_future(router.ingest([event(2, Op("move", "x", indexed=False))]))
        await asyncio.wait_for(asyncio.gather(ending, second), 30)
        assert (await bodies(at))[0]["log"] == [0, 2]
        assert not router._under_way


async def test_a_repeat_of_what_is_known_by_the_store_only_holds_nobody(tmp_path: Path) -> None:
    async with world("memory", tmp_path) as (at, router):
        await play(at, router, [Op("make", "x"), Op("move", "x")])
        again = EventIngester(at.committer)
        outcomes = await again.ingest([event(0, Op("make", "x")), event(1, Op("move", "x")), event(2, Op("move", "x"))])
        assert [cast(Ingested, each).duplicate for each in outcomes] == [True, True, False]
        assert (await bodies(at))[0]["log"] == [0, 1, 2]
        assert not again._under_way


async def test_those_built_on_a_lost_group_act_again_behind_it(tmp_path: Path) -> None:
    """The first event makes a card fit what the second looks for."""
    async with world("memory", tmp_path, Gate) as (at, router):
        gate = cast(Gate, at.store)
        await play(at, router, [Op("make", "x"), Op("make", "y")])
        left = [2]

        def lose(group: Any) -> str:
            if group.events and left[0]:
                left[0] -= 1
                return "run 1"
            return ""

        gate.lose = lose
        ops = [Op("move", "x", "a", "b", line="two"), Op("move", "", "b", "c", False, line="one"), Op("move", "y", "", "b")]
        outcomes = await router.ingest([event(number, op) for number, op in enumerate(ops, 2)])
        assert all(isinstance(outcome, Ingested) for outcome in outcomes)
        assert [(body["state"], body["log"]) for body in await bodies(at)] == [("c", [0, 2, 3]), ("b", [1, 4])]


# ---- why an event found nothing


async def test_an_update_that_finds_nothing_says_what_it_looked_at(tmp_path: Path) -> None:
    async with world("memory", tmp_path) as (at, router):
        await play(at, router, [Op("make", "x"), Op("make", "y")])
        (posted,) = await router.ingest([event(2, Op("move", "nowhere"))])
        assert isinstance(posted, Ingested)
        assert (posted.state, posted.effects[0].outcome) == ("unmatched", "unmatched")
        assert "looked at 2" in posted.effects[0].detail
        assert cast(dict[str, Any], posted.effects[0].output)["looked"] == 2


# ---- the order itself


def test_who_is_next_need_not_stand_in_line() -> None:
    order = ArrivalOrder(lambda shared: None)
    one, two, three = (order.begin(key) for key in (1, 2, 3))
    assert order.is_next(one, ["x"])
    assert not order.is_next(two, ["y"]), "what comes before it may concern anything"
    order.place(one, ["x"])
    assert not order.is_next(two, ["y", "x"])
    assert order.is_next(two, ["y"])
    assert order.has_come(two)
    order.acted(two)
    order.again(two, ["y"])
    assert not order.is_next(three, ["y"]), "what is lost goes before it again"
    assert order.is_next(three, ["z"])
    order.end(one)
    assert order.is_next(three, ["x"])
    assert not order.end(two)
    assert order.end(three)


def test_lines_of_turns() -> None:
    freed: list[int] = []

    def release(shared: Shared) -> None:
        freed.append(cast(ArrivalTicket, shared).key)
        shared.waiting.clear()

    order = ArrivalOrder(release)
    one, two, three, four = (order.begin(key) for key in (1, 2, 3, 4))

    def waits(turn: ArrivalTicket) -> bool:
        if order.has_come(turn):
            return False
        order.wait(turn)
        turn.waiting.append(turn)
        return True

    order.place(two, ["x"])
    order.place(three, ["y"])
    assert waits(two)
    assert waits(three)
    order.place(one, ["x"])
    assert freed == [3], "it is known that what is before it does not concern it"
    order.place(four, ["x", "y"])
    assert waits(four)
    order.acted(one)
    assert freed == [3, 2]
    order.again(one, ["x"])
    assert waits(two), "what is lost goes before it again"
    order.end(one)
    order.end(three)
    order.end(two)
    assert freed == [3, 2, 2, 4]
    assert order.end(four)
