"""What the runtime counts on with every connector: each that comes with Pelton, and the twin in memory that tests use.

A connector that only sends, or is only received from, is held to its half, and to saying so for the other one.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.connectors.receiver import running_receiver
from tests.patience import PATIENCE
from tests.sqs_server import free_port

from pelton.connectors.files.connector import FilesConnector
from pelton.connectors.port import Connector, Incoming, Outgoing, Permanent, Subscription, Temporary
from pelton.connectors.sqs import SqsConnector
from pelton.connectors.webhook import WebhookConnector
from pelton.net.http import GuardedHttp
from pelton.testing import MemoryConnector


class Rig:
    """A connector with what a test needs around it. `poison`: a body that the system refuses for good. `arrived`: bodies that
    came to an address, in order. `bring`: has somebody else put a message there. `unreachable`: the same kind of connector, whose
    system is not there, and an address on it."""

    def __init__(self, connector: Connector, address: str, bad: str, unreachable: tuple[Connector, str]) -> None:
        self.connector = connector
        self.address = address
        self.bad = bad
        self.unreachable = unreachable
        self.poison = b""
        self.arrived: Callable[[], Awaitable[Sequence[bytes]]] | None = None
        self.bring: Callable[[str], Awaitable[Any]] | None = None


async def memory(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Rig]:
    connector, away = MemoryConnector(visibility=1.0), MemoryConnector()
    away.down = "it is away"
    connector.refuses = lambda message: "it is bad" if message.body == b"poison" else None
    rig = Rig(connector, "orders", "a b", (away, "orders"))

    async def arrived() -> list[bytes]:
        return [message.body for message in connector.sent["orders"]]

    async def bring(name: str) -> None:
        connector.put("orders", name.encode())

    rig.poison, rig.arrived, rig.bring = b"poison", arrived, bring
    yield rig
    await connector.close()
    await away.close()


async def sqs(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Rig]:
    endpoint: str = request.getfixturevalue("sqs_endpoint")
    queue = f"conformance-{secrets.token_hex(4)}"
    connector = SqsConnector(endpoint=endpoint, wait_seconds=1, visibility_seconds=4)  # a test waits it out
    other = SqsConnector(endpoint=endpoint, wait_seconds=1)
    away = SqsConnector(endpoint=f"http://127.0.0.1:{free_port()}", wait_seconds=1)
    rig = Rig(connector, queue, "a b", (away, queue))

    async def arrived() -> list[bytes]:
        subscription, found = other.subscribe(queue), list[bytes]()
        async for batch in subscription.batches():
            found += [message.body for message in batch]
            if len(found) >= 2:
                break
        await subscription.close()
        return sorted(found)

    async def bring(name: str) -> None:
        assert await other.send(queue, [Outgoing(name, name.encode(), "text/plain", {}, "k")]) == [None]

    rig.arrived, rig.bring = arrived, bring
    yield rig
    for each in (connector, other, away):
        await each.close()


async def files(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Rig]:
    folder = tmp_path / "in"
    folder.mkdir()
    connector = FilesConnector({"/in": str(folder)}, 10)
    rig = Rig(connector, "/in", "/out", (FilesConnector({"/in": str(tmp_path / "away")}, 10), "/in"))

    async def bring(name: str) -> None:
        (folder / name).write_text(name)

    rig.bring = bring
    yield rig
    await connector.close()


async def webhook(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Rig]:
    port = GuardedHttp(allow_private=True)
    async with running_receiver() as receiver:
        connector = WebhookConnector(port)
        away = f"http://127.0.0.1:{free_port()}/hook"
        rig = Rig(connector, receiver.url, "no url", (WebhookConnector(port), away))

        async def arrived() -> list[bytes]:
            return [body.encode() for body in receiver.bodies if not body.startswith("400")]

        rig.poison, rig.arrived = b"400", arrived
        yield rig
        await connector.close()
        await port.close()


MADE: dict[str, Callable[[Path, pytest.FixtureRequest], AsyncIterator[Rig]]] = {
    "memory": memory, "sqs": sqs, "files": files, "webhook": webhook,
}  # fmt: skip
SENDING, RECEIVING = ("memory", "sqs", "webhook"), ("memory", "sqs", "files")


@pytest.fixture
async def rig(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Rig]:
    async for made in MADE[request.param](tmp_path, request):
        yield made


every = pytest.mark.parametrize("rig", MADE, indirect=True)
sending = pytest.mark.parametrize("rig", SENDING, indirect=True)
receiving = pytest.mark.parametrize("rig", RECEIVING, indirect=True)


def message(name: str, body: bytes | None = None, key: str = "k") -> Outgoing:
    return Outgoing(name, f"200 {name}".encode() if body is None else body, "text/plain", {"trace": "t"}, key)


async def pull(subscription: Subscription, count: int = 1) -> list[Incoming]:
    found: list[Incoming] = []
    async with asyncio.timeout(PATIENCE):
        async for batch in subscription.batches():
            found += batch
            if len(found) >= count:
                break
    return found


# ---- both ways


@every
def test_an_address_is_checked_without_the_system(rig: Rig) -> None:
    away, address = rig.unreachable
    assert away.check(address) is None
    assert rig.connector.check(rig.address) is None
    reason = rig.connector.check(rig.bad)
    assert reason is not None
    assert ": " in reason  # what is wrong, then the remedy
    assert rig.connector.health() == {}


@every
def test_a_scheme_is_a_word(rig: Rig) -> None:
    assert rig.connector.scheme.isalnum()


@every
async def test_it_may_be_closed_twice_and_unused(rig: Rig) -> None:
    await rig.connector.close()
    await rig.connector.close()


# ---- sending


@sending
async def test_what_is_sent_arrives_and_has_an_outcome_each(rig: Rig) -> None:
    assert rig.arrived is not None
    outcomes = await rig.connector.send(rig.address, [message("1"), message("2")])
    assert list(outcomes) == [None, None]
    assert await rig.arrived() == [b"200 1", b"200 2"]
    assert {address: health.healthy for address, health in rig.connector.health().items()} == {rig.address: True}


@sending
async def test_nothing_to_send_is_nothing(rig: Rig) -> None:
    assert list(await rig.connector.send(rig.address, [])) == []


@sending
async def test_a_message_that_is_refused_for_good_harms_no_other(rig: Rig) -> None:
    assert rig.arrived is not None
    batch = [message("1", key="a"), message("bad", rig.poison, key="b"), message("2", key="c")]
    outcomes = await rig.connector.send(rig.address, batch)
    assert [type(outcome) for outcome in outcomes] == [type(None), Permanent, type(None)]
    assert sorted(await rig.arrived()) == [b"200 1", b"200 2"]


@sending
async def test_a_system_out_of_reach_is_temporary_for_every_message(rig: Rig) -> None:
    away, address = rig.unreachable
    outcomes = await away.send(address, [message("1"), message("2", key="other")])
    assert [type(outcome) for outcome in outcomes] == [Temporary, Temporary]
    assert all(str(outcome) for outcome in outcomes)
    (health,) = away.health().values()
    assert (health.healthy, bool(health.detail), health.since > 0) == (False, True, True)
    await away.close()


@sending
async def test_a_bad_address_is_permanent(rig: Rig) -> None:
    outcomes = await rig.connector.send(rig.bad, [message("1")])
    assert [type(outcome) for outcome in outcomes] == [Permanent]


@pytest.mark.parametrize("rig", ["files"], indirect=True)
async def test_what_is_only_received_from_refuses_to_send(rig: Rig) -> None:
    outcomes = await rig.connector.send(rig.address, [message("1"), message("2")])
    assert [type(outcome) for outcome in outcomes] == [Permanent, Permanent]


# ---- receiving


@receiving
async def test_a_message_is_received_once_when_it_is_acknowledged(rig: Rig) -> None:
    assert rig.bring is not None
    subscription = rig.connector.subscribe(rig.address)
    await rig.bring("one")
    (found,) = await pull(subscription)
    assert found.id
    assert found.deliveries == 1
    assert (found.event is None) == (found.body == b"one")
    await subscription.acknowledge([found])
    await rig.bring("two")
    (other,) = await pull(subscription)
    assert other.id != found.id
    await subscription.acknowledge([other])
    await subscription.close()
    assert {address: health.healthy for address, health in rig.connector.health().items()} == {rig.address: True}


@receiving
async def test_what_is_given_back_comes_again_soon_as_the_same(rig: Rig) -> None:
    assert rig.bring is not None
    subscription = rig.connector.subscribe(rig.address)
    await rig.bring("one")
    (found,) = await pull(subscription)
    await subscription.give_back([found])
    (again,) = await pull(subscription)
    assert (again.id, again.body, again.deliveries >= found.deliveries) == (found.id, found.body, True)
    assert again.event == found.event or (found.event is not None and again.event is not None)
    await subscription.acknowledge([again])
    await subscription.close()


@receiving
async def test_what_was_not_acknowledged_comes_again_to_the_next_subscription(rig: Rig) -> None:
    assert rig.bring is not None
    subscription = rig.connector.subscribe(rig.address)
    await rig.bring("one")
    (found,) = await pull(subscription)
    await subscription.close()
    following = rig.connector.subscribe(rig.address)
    (again,) = await pull(following)
    assert again.id == found.id
    await following.acknowledge([again])
    await following.close()


@receiving
async def test_closing_ends_who_waits(rig: Rig) -> None:
    subscription = rig.connector.subscribe(rig.address)
    waiting = asyncio.create_task(pull(subscription))
    for _ in range(100):  # turns of the loop, until it waits
        await asyncio.sleep(0)
    if rig.connector.scheme == "files":  # the runtime cancels who waits, then closes
        waiting.cancel()
    await subscription.close()
    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(waiting, return_exceptions=True)


@receiving
async def test_receiving_out_of_reach_is_temporary_and_from_a_bad_address_permanent(rig: Rig) -> None:
    away, address = rig.unreachable
    for connector, where, kind in ((away, address, Temporary), (rig.connector, rig.bad, Permanent)):
        subscription = connector.subscribe(where)
        with pytest.raises(kind):
            await pull(subscription)
        await subscription.close()
    assert [health.healthy for health in away.health().values()] == [False]
    await away.close()


@pytest.mark.parametrize("rig", ["webhook"], indirect=True)
async def test_what_is_only_sent_to_says_so_when_it_is_subscribed(rig: Rig) -> None:
    with pytest.raises(Permanent):
        await pull(rig.connector.subscribe(rig.address))


@pytest.mark.parametrize("rig", ["files"], indirect=True)
async def test_a_source_that_keeps_a_bookmark_goes_on_from_it(rig: Rig) -> None:
    assert rig.bring is not None
    first: Any = rig.connector.subscribe(rig.address)
    await rig.bring("one")
    (found,) = await pull(first)
    assert found.bookmark is not None
    await first.close()
    following: Any = rig.connector.subscribe(rig.address)
    following.resume([found.bookmark])
    await rig.bring("two")
    (other,) = await pull(following)
    assert other.bookmark is not None
    assert other.bookmark[0] != found.bookmark[0]
    await following.close()
