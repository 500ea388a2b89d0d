"""The SQS connector against a real server."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.patience import PATIENCE, happens, promised, retried_when_slow
from tests.sqs_server import SqsServer, start_sqs

from pelton.connectors.port import Connector, Incoming, Outgoing, Permanent, Temporary
from pelton.connectors.sqs import MAX_BATCH_BYTES, SqsConnector, SqsSubscription

Make = Callable[..., SqsConnector]


@pytest.fixture
async def make() -> AsyncIterator[Make]:
    made: list[SqsConnector] = []

    def make(**options: Any) -> SqsConnector:
        made.append(SqsConnector(**{"wait_seconds": 2, **options}))
        return made[-1]

    yield make
    for connector in made:
        await connector.close()


@pytest.fixture
def connector(make: Make, sqs_endpoint: str) -> SqsConnector:
    return make(endpoint=sqs_endpoint)


GENEROUS = 15.0  # seconds: shorter than the long polls and visibility timeouts that must not be waited for


def message(number: int | str, body: str | bytes = "{}", key: str = "k", **headers: str) -> Outgoing:
    raw = body.encode() if isinstance(body, str) else body
    return Outgoing(f"id-{number}", raw, "application/json", headers, key)


async def within(seconds: float, awaitable: Awaitable[Any]) -> Any:
    async with asyncio.timeout(seconds):
        return await awaitable


async def pull(subscription: SqsSubscription, count: int) -> list[Incoming]:
    """The next `count` messages, not acknowledged."""
    got: list[Incoming] = []
    async with asyncio.timeout(PATIENCE):
        async with contextlib.aclosing(subscription.batches()) as batches:  # type: ignore[type-var]
            async for batch in batches:
                assert batch
                got.extend(batch)
                if len(got) >= count:
                    break
    return got


async def received(client: Any, queue: str, count: int) -> list[dict[str, Any]]:
    """What an independent receiver finds."""
    url = (await client.get_queue_url(QueueName=queue))["QueueUrl"]
    found: list[dict[str, Any]] = []
    async with asyncio.timeout(PATIENCE):
        while len(found) < count:
            reply = await client.receive_message(
                QueueUrl=url,
                MaxNumberOfMessages=10,
                WaitTimeSeconds=1,
                MessageAttributeNames=["All"],
                MessageSystemAttributeNames=["All"],
            )
            found.extend(reply.get("Messages", []))
    return found


def texts(outcomes: Sequence[Exception | None]) -> list[str]:
    return [f"{type(outcome).__name__}: {outcome}" for outcome in outcomes]


def test_it_is_a_connector() -> None:
    connector: Connector = SqsConnector()
    assert connector.scheme == "sqs"


@pytest.mark.parametrize("name", ["a", "orders", "Orders_2-x", "x" * 80, "orders.fifo", "x" * 75 + ".fifo"])
def test_names_that_are_queues(name: str) -> None:
    assert SqsConnector().check(name) is None


@pytest.mark.parametrize(
    "name",
    ["", ".fifo", "a b", "x" * 81, "x" * 76 + ".fifo", "a.b", "a.fifo.fifo", "https://sqs/1/a", "ä", "a\n", "a/b", "a:b", "٣"],
)
async def test_names_that_are_none_are_refused_without_a_server(name: str) -> None:
    connector = SqsConnector()
    assert "SQS queue" in str(connector.check(name))
    (outcome,) = await connector.send(name, [message(1)])
    assert isinstance(outcome, Permanent)
    with pytest.raises(Permanent, match=r"\.fifo at the end"):
        await anext(aiter(connector.subscribe(name).batches()))


@pytest.mark.parametrize(
    ("option", "value"), [("wait_seconds", 0), ("wait_seconds", 21), ("visibility_seconds", 0), ("receives", 0), ("receives", 17)]
)
def test_options_out_of_range(option: str, value: int) -> None:
    with pytest.raises(ValueError, match=rf"{option} is {value}: it must be between"):
        SqsConnector(**{option: value})  # type: ignore[arg-type]


class TestSending:
    async def test_many_messages_arrive_in_order_with_their_attributes(
        self, connector: SqsConnector, sqs_client: Any, sqs_queue: str
    ) -> None:
        outcomes = await connector.send(sqs_queue, [message(n, f'{{"n":{n}}}', trace=f"t{n}") for n in range(25)])
        assert outcomes == [None] * 25
        found = await received(sqs_client, sqs_queue, 25)
        assert [m["Body"] for m in found] == [f'{{"n":{n}}}' for n in range(25)]
        attributes = {name: value["StringValue"] for name, value in found[7]["MessageAttributes"].items()}
        assert attributes == {"pelton-id": "id-7", "trace": "t7", "content-type": "application/json"}
        assert connector.health()[sqs_queue].healthy

    async def test_nothing_to_send(self, connector: SqsConnector, sqs_queue: str) -> None:
        assert await connector.send(sqs_queue, []) == []

    async def test_ten_attributes_at_most_and_only_good_ones(
        self, connector: SqsConnector, sqs_client: Any, sqs_queue: str
    ) -> None:
        headers = {"aws.x": "no", "bad name": "no", "empty": "", "nul": "a\0", "dots..": "no", "pelton-id": "forged"}
        headers |= {f"h{n}": str(n) for n in range(20)}
        assert await connector.send(sqs_queue, [message(1, **headers)]) == [None]
        (found,) = await received(sqs_client, sqs_queue, 1)
        attributes = found["MessageAttributes"]
        assert sorted(attributes) == sorted(["pelton-id", *(f"h{n}" for n in range(9))])
        assert attributes["pelton-id"]["StringValue"] == "id-1"

    async def test_bodies_that_sqs_cannot_carry_leave_the_others_alone(
        self, connector: SqsConnector, sqs_client: Any, sqs_queue: str
    ) -> None:
        outcomes = await connector.send(
            sqs_queue,
            [
                message(1, "one"),
                message(2, b"\xff\xfe"),
                message(3, ""),
                message(4, "a\0b"),
                message(5, "x" * (MAX_BATCH_BYTES + 1)),
                message(6, "\ufffe"),
                message(7, "seven 🦆\t\r\n"),
            ],
        )
        assert [type(outcome) for outcome in outcomes] == [type(None), *[Permanent] * 5, type(None)]
        said = texts(outcomes)
        assert "id-2: the body is not UTF-8 at byte 0" in said[1]
        assert "base64" in said[1]
        assert "empty" in said[2]
        assert "U+0000 at position 1" in said[3]
        assert f"has {MAX_BATCH_BYTES + 1 + 53} bytes" in said[4]
        assert f"limit of SQS is {MAX_BATCH_BYTES}" in said[4]
        assert "U+FFFE" in said[5]
        assert [m["Body"] for m in await received(sqs_client, sqs_queue, 2)] == ["one", "seven 🦆\t\r\n"]

    async def test_calls_stay_below_the_size_of_a_batch(self, connector: SqsConnector, sqs_client: Any, sqs_queue: str) -> None:
        """Ten of 100 kB are 1 MB: they fit in ten entries and not in one call."""
        assert await connector.send(sqs_queue, [message(n, str(n) * 100_000) for n in range(10)]) == [None] * 10
        assert [m["Body"][0] for m in await received(sqs_client, sqs_queue, 10)] == [str(n) for n in range(10)]

    async def test_a_message_of_exactly_the_limit_is_taken(self, connector: SqsConnector, sqs_queue: str) -> None:
        attributes = len("pelton-id" + "String" + "id-1") + len("content-type" + "String" + "application/json")
        outcomes = await connector.send(sqs_queue, [message(1, "x" * (MAX_BATCH_BYTES - attributes))])
        assert outcomes == [None]
        (outcome,) = await connector.send(sqs_queue, [message(1, "x" * (MAX_BATCH_BYTES - attributes + 1))])
        assert isinstance(outcome, Permanent)

    @pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")  # larger than any call in earnest
    async def test_a_call_refused_as_a_whole_is_repeated_one_by_one(
        self, connector: SqsConnector, sqs_client: Any, sqs_queue: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The server's limit of a batch is below what the connector takes it for: each message on its own is good or bad."""
        monkeypatch.setattr(connector, "max_batch_bytes", 10_000_000)
        sizes = [400_000, 400_000, 1_100_000, 400_000]
        outcomes = await connector.send(sqs_queue, [message(n, str(n) * size) for n, size in enumerate(sizes)])
        assert [type(outcome) for outcome in outcomes] == [type(None), type(None), Permanent, type(None)], texts(outcomes)
        assert [m["Body"][0] for m in await received(sqs_client, sqs_queue, 3)] == ["0", "1", "3"]

    async def test_a_queue_with_a_lower_limit(self, connector: SqsConnector, sqs_client: Any, sqs_queue: str) -> None:
        await sqs_client.create_queue(QueueName=sqs_queue, Attributes={"MaximumMessageSize": "2048"})
        outcomes = await connector.send(sqs_queue, [message(1, "a"), message(2, "b" * 4_000), message(3, "c")])
        assert [type(outcome) for outcome in outcomes] == [type(None), Permanent, type(None)]
        assert "shorter than 2048 bytes" in str(outcomes[1])

    async def test_the_queue_is_found_by_its_whole_name(self, connector: SqsConnector, sqs_client: Any, sqs_queue: str) -> None:
        await sqs_client.create_queue(QueueName=f"{sqs_queue}-longer")
        assert await connector.send(sqs_queue, [message(1)]) == [None]
        assert len(await received(sqs_client, sqs_queue, 1)) == 1
        longer = (await sqs_client.get_queue_url(QueueName=f"{sqs_queue}-longer"))["QueueUrl"]
        assert not (await sqs_client.receive_message(QueueUrl=longer)).get("Messages")

    async def test_a_missing_queue_is_not_created_when_that_is_off(self, make: Make, sqs_endpoint: str, sqs_queue: str) -> None:
        connector = make(endpoint=sqs_endpoint, create_missing=False)
        (outcome,) = await connector.send(sqs_queue, [message(1)])
        assert isinstance(outcome, Temporary)
        assert "does not exist: create it, or allow" in str(outcome)
        with pytest.raises(Temporary, match="does not exist"):
            await pull(connector.subscribe(sqs_queue), 1)
        assert "does not exist" in connector.health()[sqs_queue].detail

    async def test_many_senders_of_one_missing_queue(self, connector: SqsConnector, sqs_client: Any, sqs_queue: str) -> None:
        results = await asyncio.gather(*(connector.send(sqs_queue, [message(n)]) for n in range(8)))
        assert results == [[None]] * 8
        assert len(await received(sqs_client, sqs_queue, 8)) == 8

    async def test_a_queue_deleted_meanwhile_is_made_anew(self, connector: SqsConnector, sqs_client: Any, sqs_queue: str) -> None:
        assert await connector.send(sqs_queue, [message(1)]) == [None]
        url = (await sqs_client.get_queue_url(QueueName=sqs_queue))["QueueUrl"]
        await sqs_client.delete_queue(QueueUrl=url)
        results = await asyncio.gather(*(connector.send(sqs_queue, [message(n)]) for n in (2, 3, 4)))
        assert results == [[None]] * 3
        assert len(await received(sqs_client, sqs_queue, 3)) == 3


class TestFifo:
    async def test_groups_and_deduplication(self, connector: SqsConnector, sqs_client: Any, sqs_queue: str) -> None:
        queue = f"{sqs_queue}.fifo"
        sent = [message(n, f"{n}", key="ab"[n % 2]) for n in range(6)]
        assert await connector.send(queue, sent) == [None] * 6
        assert await connector.send(queue, sent[:2]) == [None] * 2  # a repeat, taken and not kept
        subscription = connector.subscribe(queue)
        got: list[Incoming] = []
        while len(got) < 6:
            batch = await pull(subscription, 1)
            got.extend(batch)
            await subscription.acknowledge(batch)
        assert [m.body for m in got if int(m.body) % 2 == 0] == [b"0", b"2", b"4"]
        assert [m.body for m in got if int(m.body) % 2 == 1] == [b"1", b"3", b"5"]
        assert await nothing_left(sqs_client, queue)

    async def test_keys_and_ids_that_sqs_does_not_take_as_they_are(
        self, connector: SqsConnector, sqs_client: Any, sqs_queue: str
    ) -> None:
        queue = f"{sqs_queue}.fifo"
        odd = [message("x" * 300, "1", key="ü " * 200), message("two words", "2", key=""), message(3, "3", key="plain")]
        assert await connector.send(queue, odd) == [None] * 3
        found = await received(sqs_client, queue, 3)
        groups = {m["Body"]: m["Attributes"]["MessageGroupId"] for m in found}
        assert groups["3"] == "plain"
        assert groups["2"] == "-"
        assert len(groups["1"]) == 64


class TestReceiving:
    async def test_what_comes_in(self, make: Make, sqs_endpoint: str, sqs_queue: str) -> None:
        connector = make(endpoint=sqs_endpoint, receives=1)  # of two polls at once, either may be answered first
        await connector.send(sqs_queue, [message(n, f"b{n}", trace="t") for n in range(12)])
        subscription = connector.subscribe(sqs_queue)
        got = await pull(subscription, 12)
        assert [m.body for m in got] == [f"b{n}".encode() for n in range(12)]
        assert got[3].headers == {"pelton-id": "id-3", "trace": "t", "content-type": "application/json"}
        assert {m.deliveries for m in got} == {1}
        assert len({m.id for m in got}) == 12

    async def test_acknowledged_messages_do_not_come_again(
        self, make: Make, sqs_endpoint: str, sqs_client: Any, sqs_queue: str
    ) -> None:
        connector = make(endpoint=sqs_endpoint)
        await connector.send(sqs_queue, [message(n) for n in range(12)])
        subscription = connector.subscribe(sqs_queue)
        await subscription.acknowledge(await pull(subscription, 12))
        assert await nothing_left(sqs_client, sqs_queue)

    @retried_when_slow
    async def test_what_was_not_acknowledged_comes_again_and_is_counted(
        self, make: Make, sqs_endpoint: str, sqs_queue: str
    ) -> None:
        connector = make(endpoint=sqs_endpoint, visibility_seconds=1)
        await connector.send(sqs_queue, [message(1)])
        subscription = connector.subscribe(sqs_queue)
        (first,) = await pull(subscription, 1)
        (second,) = await pull(subscription, 1)
        await subscription.acknowledge([second])
        promised(second.deliveries, 3)  # once more for each second that we were away
        assert first.id == second.id
        assert (first.deliveries, second.deliveries) == (1, 2)

    async def test_given_back_comes_again_at_once(self, connector: SqsConnector, sqs_queue: str) -> None:
        await connector.send(sqs_queue, [message(n) for n in range(11)])
        subscription = connector.subscribe(sqs_queue)
        first = await pull(subscription, 11)
        await subscription.give_back(first)
        again = await within(GENEROUS, pull(subscription, 11))  # the visibility timeout is 60 s
        assert {m.id for m in again} == {m.id for m in first}
        assert {m.deliveries for m in again} == {2}

    async def test_a_poll_is_woken_by_a_message(self, make: Make, sqs_endpoint: str, sqs_queue: str) -> None:
        connector = make(endpoint=sqs_endpoint, wait_seconds=20)
        waiting = asyncio.create_task(pull(connector.subscribe(sqs_queue), 1))
        await until(lambda: connector.knows(sqs_queue))
        await connector.send(sqs_queue, [message(1)])
        assert len(await within(GENEROUS, waiting)) == 1

    async def test_a_missing_queue_is_created_by_a_receiver(
        self, connector: SqsConnector, sqs_client: Any, sqs_queue: str
    ) -> None:
        waiting = asyncio.create_task(pull(connector.subscribe(sqs_queue), 1))
        await until(lambda: connector.knows(sqs_queue))
        url = (await sqs_client.get_queue_url(QueueName=sqs_queue))["QueueUrl"]
        await sqs_client.send_message(QueueUrl=url, MessageBody="from outside")
        (got,) = await within(GENEROUS, waiting)
        assert got.body == b"from outside"
        assert got.headers == {}

    async def test_a_queue_deleted_while_received_from(
        self, make: Make, sqs_endpoint: str, sqs_client: Any, sqs_queue: str
    ) -> None:
        connector = make(endpoint=sqs_endpoint, wait_seconds=1)
        await connector.send(sqs_queue, [message(1)])
        subscription = connector.subscribe(sqs_queue)
        first = await pull(subscription, 1)
        await sqs_client.delete_queue(QueueUrl=(await sqs_client.get_queue_url(QueueName=sqs_queue))["QueueUrl"])
        await subscription.acknowledge(first)  # nothing to delete from: no error
        assert await connector.send(sqs_queue, [message(2, "two")]) == [None]
        (second,) = await pull(subscription, 1)
        assert second.body == b"two"

    @retried_when_slow
    async def test_a_batch_that_nobody_pulled_in_time_is_dropped(
        self, make: Make, sqs_endpoint: str, sqs_queue: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Its messages may already be with another receiver: they come again, counted, instead of twice at a time."""
        connector = make(endpoint=sqs_endpoint, visibility_seconds=2, receives=1)
        await connector.send(sqs_queue, [message(1)])
        subscription = connector.subscribe(sqs_queue)
        loop = asyncio.get_running_loop()
        poll = await subscription._poll()
        stale: asyncio.Task[Any] = loop.create_task(_result((poll[0] - 1.5, poll[1])))
        subscription._polls.append(stale)
        (got,) = await pull(subscription, 1)
        await subscription.acknowledge([got])
        promised(got.deliveries, 3)
        assert got.deliveries == 2

    async def test_binary_attributes_are_left_out(self, connector: SqsConnector, sqs_client: Any, sqs_queue: str) -> None:
        url = (await sqs_client.create_queue(QueueName=sqs_queue))["QueueUrl"]
        attributes = {
            "raw": {"DataType": "Binary", "BinaryValue": b"\0"},
            "count": {"DataType": "Number", "StringValue": "3"},
        }
        await sqs_client.send_message(QueueUrl=url, MessageBody="x", MessageAttributes=attributes)
        (got,) = await pull(connector.subscribe(sqs_queue), 1)
        assert got.headers == {"count": "3"}


class TestStopping:
    async def test_close_ends_a_long_poll_at_once(self, make: Make, sqs_endpoint: str, sqs_queue: str) -> None:
        connector = make(endpoint=sqs_endpoint, wait_seconds=20)
        subscription = connector.subscribe(sqs_queue)
        waiting = asyncio.create_task(drain(subscription))
        await until(lambda: connector.knows(sqs_queue))
        await within(GENEROUS, subscription.close())
        assert await within(GENEROUS, waiting) == []
        await within(GENEROUS, subscription.close())  # again: harmless

    async def test_close_gives_back_what_was_not_pulled(self, make: Make, sqs_endpoint: str, sqs_queue: str) -> None:
        connector = make(endpoint=sqs_endpoint, wait_seconds=20, receives=2)
        await connector.send(sqs_queue, [message(n) for n in range(15)])
        subscription = connector.subscribe(sqs_queue)
        batches = subscription.batches()
        taken = await within(GENEROUS, anext(batches))
        await until(lambda: all(poll.done() for poll in subscription._polls))
        await within(GENEROUS, subscription.close())
        with pytest.raises(StopAsyncIteration):
            await within(GENEROUS, anext(batches))
        other = connector.subscribe(sqs_queue)
        rest = await within(GENEROUS, pull(other, 15 - len(taken)))
        assert {m.id for m in rest}.isdisjoint({m.id for m in taken})
        await other.acknowledge([*taken, *rest])

    async def test_a_cancelled_pull_loses_nothing(self, make: Make, sqs_endpoint: str, sqs_queue: str) -> None:
        connector = make(endpoint=sqs_endpoint, wait_seconds=20)
        subscription = connector.subscribe(sqs_queue)
        waiting = asyncio.create_task(pull(subscription, 1))
        await until(lambda: connector.knows(sqs_queue))
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await within(GENEROUS, waiting)
        await connector.send(sqs_queue, [message(1)])
        (got,) = await within(GENEROUS, pull(subscription, 1))
        assert got.deliveries == 1

    async def test_acknowledging_after_the_subscription_was_closed(
        self, make: Make, sqs_endpoint: str, sqs_client: Any, sqs_queue: str
    ) -> None:
        """The commit may end after the flow: what it took is still taken."""
        connector = make(endpoint=sqs_endpoint)
        await connector.send(sqs_queue, [message(1)])
        subscription = connector.subscribe(sqs_queue)
        got = await pull(subscription, 1)
        await subscription.close()
        await subscription.acknowledge(got)
        assert await nothing_left(sqs_client, sqs_queue)

    async def test_a_closed_connector_says_so(self, connector: SqsConnector, sqs_queue: str) -> None:
        subscription = connector.subscribe(sqs_queue)
        waiting = asyncio.create_task(drain(subscription))
        await until(lambda: connector.knows(sqs_queue))
        await within(GENEROUS, connector.close())
        assert await within(GENEROUS, waiting) == []
        (outcome,) = await connector.send(sqs_queue, [message(1)])
        assert isinstance(outcome, Temporary)
        assert "closed" in str(outcome)


class TestTrouble:
    async def test_a_server_that_is_down_and_comes_back(
        self, make: Make, tmp_path: Path, sqs_environment: None, sqs_queue: str
    ) -> None:
        server: SqsServer = start_sqs(tmp_path)
        now = iter(range(1_000, 2_000))
        connector = make(endpoint=server.url, clock=lambda: next(now), wait_seconds=20)
        try:
            assert await connector.send(sqs_queue, [message(1)]) == [None]
            good = connector.health()[sqs_queue]
            subscription = connector.subscribe(sqs_queue)
            await subscription.acknowledge(await pull(subscription, 1))
            waiting = asyncio.create_task(pull(subscription, 1))
            await until(lambda: bool(subscription._polls))
            await asyncio.to_thread(server.stop)
            with pytest.raises(Temporary, match="could not be reached"):
                await within(GENEROUS, waiting)
            outcomes = await connector.send(sqs_queue, [message(n) for n in range(15)])
            assert {type(outcome) for outcome in outcomes} == {Temporary}
            down = connector.health()[sqs_queue]
            assert not down.healthy
            assert "could not be reached" in down.detail
            assert down.since > good.since
            await asyncio.to_thread(server.start)
            assert await connector.send(sqs_queue, [message(2, "two")]) == [None]
            assert connector.health()[sqs_queue].healthy
            with contextlib.suppress(Temporary):  # a poll from before may still have its failure to tell
                await pull(subscription, 1)
            await subscription.close()
        finally:
            await asyncio.to_thread(server.stop)

    async def test_nobody_listens(self, make: Make, sqs_environment: None, unused_tcp_port: int) -> None:
        connector = make(endpoint=f"http://127.0.0.1:{unused_tcp_port}")
        (outcome,) = await connector.send("orders", [message(1)])
        assert isinstance(outcome, Temporary)
        assert (
            f"'orders' could not be reached: Could not connect to the endpoint URL: \"http://127.0.0.1:{unused_tcp_port}"
            in str(outcome)
        )

    async def test_no_region(self, make: Make, sqs_environment: None, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("AWS_REGION")
        (outcome,) = await make(endpoint="http://127.0.0.1:9").send("orders", [message(1)])
        assert isinstance(outcome, Temporary)
        assert "set AWS_REGION" in str(outcome)

    async def test_no_credentials(self, make: Make, sqs_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        connector = make(endpoint=sqs_endpoint)
        (outcome,) = await connector.send("orders", [message(1)])
        assert isinstance(outcome, Temporary)
        assert "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" in str(outcome)
        with pytest.raises(Temporary, match="AWS_ACCESS_KEY_ID"):
            await pull(connector.subscribe("orders"), 1)

    async def test_an_endpoint_that_is_no_url(self, make: Make, sqs_environment: None) -> None:
        (outcome,) = await make(endpoint="localhost:9324").send("orders", [message(1)])
        assert isinstance(outcome, Temporary)
        assert "the configured endpoint 'localhost:9324' cannot be used" in str(outcome)

    async def test_the_environment_gives_the_endpoint(
        self, make: Make, sqs_endpoint: str, sqs_client: Any, sqs_queue: str
    ) -> None:
        assert await make().send(sqs_queue, [message(1)]) == [None]
        assert len(await received(sqs_client, sqs_queue, 1)) == 1


NOWHERE = SqsConnector(endpoint="nowhere", region="x")  # fails before any connection


@given(st.lists(st.tuples(st.binary(max_size=40), st.text(max_size=200), st.text(max_size=5)), max_size=30))
async def test_anything_gets_an_outcome(contents: list[tuple[bytes, str, str]]) -> None:
    """Any messages, an endpoint that cannot be used: one outcome a message, Temporary or Permanent, and nothing is raised."""
    sent = [Outgoing(text, body, text, {text: text}, key) for body, text, key in contents]
    for name in ("orders", "orders.fifo"):
        outcomes = await NOWHERE.send(name, sent)
        assert len(outcomes) == len(sent)
        assert {type(outcome) for outcome in outcomes} <= {Temporary, Permanent}


async def until(condition: Callable[[], bool]) -> None:
    await happens(condition)  # it is in the server or in a client library, which signal nothing


async def drain(subscription: SqsSubscription) -> list[Incoming]:
    return [message async for batch in subscription.batches() for message in batch]


async def nothing_left(client: Any, queue: str) -> bool:
    """Neither waiting nor held by a receiver."""
    url = (await client.get_queue_url(QueueName=queue))["QueueUrl"]
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    counts = (await client.get_queue_attributes(QueueUrl=url, AttributeNames=names))["Attributes"]
    return [counts[name] for name in names] == ["0", "0"]


async def _result(value: Any) -> Any:
    return value
