"""All parts of the runtime at one story, on a real store and a real (if small) system outside: orders come from a directory, are
priced, paid, packed by a worker, rested and shipped into another directory, while the server is stopped and started in between.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec import json
from tests.kernel.graphs import Graph, after, look, on_event, outside
from tests.patience import happens
from tests.runtime.harness import Shapes, handles
from tests.runtime.living import Living, living

from pelton.connectors.port import Health, Incoming, Outgoing
from pelton.connectors.registry import Connectors
from pelton.kernel.model.process import Process
from pelton.kernel.model.signals import EventArrived, Report, Terminate
from pelton.kernel.model.state import OpenStep, RunStatus
from pelton.runtime.api import ClaimRequest, CorrelateCommand, StartCommand, WorkItem
from pelton.runtime.caller import SERVER
from pelton.runtime.engine import LocalEngine

ORDERS = 8
HOUR = 3_600_000


class Shelf:
    """A system of directories: a message is a file, named by its id; an acknowledged one is gone."""

    scheme = "shelf"

    def __init__(self, root: Path) -> None:
        self.root = root

    def check(self, address: str) -> str | None:
        return None if address.isalpha() else "name a directory in letters"

    def place(self, address: str) -> Path:
        place = self.root / address
        place.mkdir(exist_ok=True)
        return place

    def put(self, address: str, name: str, body: bytes) -> None:
        draft = self.root / f"{address}-{name}"
        draft.write_bytes(body)
        draft.rename(self.place(address) / name)

    async def send(self, address: str, messages: Sequence[Outgoing]) -> Sequence[Exception | None]:
        for message in messages:
            self.put(address, message.id, message.body)
        return [None] * len(messages)

    def subscribe(self, address: str) -> Flow:
        return Flow(self.place(address))

    def health(self) -> Mapping[str, Health]:
        return {}

    async def close(self) -> None:
        """Nothing is open."""


class Flow:
    def __init__(self, place: Path) -> None:
        self.place = place
        self.given: set[str] = set()

    async def batches(self) -> AsyncIterator[Sequence[Incoming]]:
        while True:
            fresh = sorted(file for file in self.place.iterdir() if file.name not in self.given)
            self.given |= {file.name for file in fresh}
            if fresh:  # what follows a dot is not part of the message's id: the same one may come twice
                yield [Incoming(file.name.partition(".")[0], file.read_bytes(), {}, file, 1) for file in fresh]
            await asyncio.sleep(0.005)

    async def acknowledge(self, messages: Sequence[Incoming]) -> None:
        for message in messages:
            message.handle.unlink(missing_ok=True)

    async def give_back(self, messages: Sequence[Incoming]) -> None:
        self.given -= {message.handle.name for message in messages}

    async def close(self) -> None:
        """Nothing is open."""


def order() -> Process:
    start = look(lambda scene: scene.newest("$start").output, "$start")  # type: ignore[union-attr]
    number = look(lambda scene: scene.newest("$start").output["number"], "$start")  # type: ignore[union-attr]
    shipped = look(
        lambda scene: {"order": scene.newest("$start").output["number"], "price": scene.newest("price").output},  # type: ignore[union-attr]
        "$start",
        "price",
    )
    graph = Graph("order").work("price", "pay", queue="@price", input=start)
    graph.wait("pay", on_event("paid", key=number), after(HOUR), to="pack").work("pack", "rest", queue="pack")
    graph.call("rest", "rest", "ship").emit("ship", "shelf:shipped", shipped, to="told")
    return graph.wait("told", outside()).build()


def rest() -> Process:
    return Graph("rest").wait("r", after(20)).build()


async def price(item: WorkItem) -> Report:
    value: Any = item.step.input
    return Report(n=item.step.n, output=10 * value["number"])


def prepare(engine: LocalEngine) -> None:
    engine.add_operation("price", price)


async def slots(at: Living) -> list[str]:
    """Where the orders stand."""
    found: list[str] = []
    for run in await at.store.runs("default", process="order", live=True):
        rows = await at.engine.steps(SERVER, run.key)
        found += [row.slot for row in rows if isinstance(row, OpenStep)]
    return sorted(found)


async def stands(at: Living, *places: str) -> None:
    async def so() -> bool:
        return await slots(at) == sorted(places)

    await happens(so, f"the orders stand at {places}")


async def pack(at: Living, count: int) -> None:
    done = 0
    while done < count:
        items = await at.engine.claim(SERVER, ClaimRequest(queues=["pack"], count=min(3, count - done), wait=5000))
        results = await at.engine.report(SERVER, [(item.run.key, Report(n=item.step.n)) for item in items])
        assert [result.error for result in results] == [None] * len(items)
        done += len(items)


async def test_orders_come_in_and_go_out_once(tmp_path: Path) -> None:
    shelf, shapes = Shelf(tmp_path), Shapes()
    shapes.handlers["h"] = handles(
        "shelf:orders",
        lambda context: [
            StartCommand(process="order", input=context.payload, key=str(context.payload["number"]), on_same_key="fail if live")
        ],
    )
    shapes.handlers["given up"] = handles("held.expired", lambda context: [])
    options: dict[str, Any] = {"shapes": shapes, "prepare": prepare, "connectors": Connectors([shelf])}
    numbers = list(range(1, ORDERS + 1))
    async with living(tmp_path, order, rest, **options) as at:
        for name in ("h", "given up"):
            await at.engine.define(SERVER, "handler", "shapes", name, 1, json.encode(name))
        early = [await pay(at, number) for number in numbers[:3]]
        assert early == [0, 0, 0]
        for number in numbers:
            for copy in ("", ".again"):
                shelf.put("orders", f"m{number}{copy}", json.encode({"number": number}))
        await stands(at, *["pack"] * 3, *["pay"] * (ORDERS - 3))
        assert await at.engine.held(SERVER) == []
        await pack(at, 2)
    async with living(tmp_path, order, rest, **options) as at:
        assert [await pay(at, number) for number in numbers[3:]] == [1] * (ORDERS - 3)
        await pack(at, ORDERS - 2)
        await stands(at, *["told"] * ORDERS)
        shelf.put("orders", "m1.late", json.encode({"number": 1}))  # known still, after a restart
        await at.engine.correlate(SERVER, CorrelateCommand(name="paid", key="99", hold=1))
        await at.until_found(lambda: at.store.events("default", type="held.expired"))
        runs = [run.key for run in await at.store.runs("default", process="order")]
        assert len(runs) == ORDERS
        with at.engine.watch(SERVER, runs[0]) as watch:
            job = await at.engine.signal_many(SERVER, runs, Report(slot="told", output="done"))
            assert await watch.changed(5.0)
        assert [await at.ended(run) for run in runs] == ["done"] * ORDERS
        await at.quiet()
        assert len(await at.engine.results(SERVER, job)) == ORDERS + 1
        await nothing_left(at)
    sent = sorted((json.decode(file.read_bytes()) for file in shelf.place("shipped").iterdir()), key=lambda each: each["order"])
    assert sent == [{"order": number, "price": 10 * number} for number in numbers]
    assert not list(shelf.place("orders").iterdir())


async def pay(at: Living, number: int) -> int:
    met = await at.engine.correlate(SERVER, CorrelateCommand(name="paid", key=str(number), hold=HOUR))
    return len(met.taken)


async def nothing_left(at: Living) -> None:
    assert await at.store.timers(2**62, 9) == []
    assert await at.engine.held(SERVER) == []
    assert await at.engine.dead(SERVER) == []
    assert await at.store.queue_sizes() == {}
    for number in range(1, ORDERS + 1):
        assert await at.store.run_keys("default", "key", "order", str(number), True) == []
        assert await at.store.waiting("default", "paid", str(number), 9) == []


async def test_what_is_kept_for_a_run_and_what_ends_early(tmp_path: Path) -> None:
    """A parent that is ended takes its child along, frees its name, and what comes for the name then waits for the next one."""

    def caller() -> Process:
        return Graph("caller").call("c", "sleeper", "w").wait("w", on_event("go")).build()

    def sleeper() -> Process:
        return Graph("sleeper").wait("s", after(HOUR), on_event("wake", key="k")).build()

    async with living(tmp_path, caller, sleeper, cache_bytes=1) as at:
        start = StartCommand(process="caller", key="n", on_same_key="fail if live")
        first = await at.engine.start(SERVER, start)
        (child,) = await at.store.runs("default", process="sleeper")
        await at.engine.signal(SERVER, first.key, Terminate(reason="enough"))
        await at.quiet()
        stored = await at.store.head(child.key)
        assert stored is not None
        assert stored.status == RunStatus.TERMINATED
        assert await at.store.timers(2**62, 9) == []
        go = EventArrived(id=1, name="go", body="went")
        await at.engine.signal_named(SERVER, "caller", "n", go, hold=HOUR)
        second = await at.engine.start(SERVER, start)
        assert second.key != first.key
        met = await at.engine.correlate(SERVER, CorrelateCommand(name="wake", key="k"))
        assert len(met.taken) == 1
        assert await at.ended(second.key) == "went"
        assert await at.store.held_for(second.key, 9) == []
