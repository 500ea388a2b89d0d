"""The webhook connector against a real HTTP server."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.connectors.receiver import Receiver, running_receiver

from pelton.connectors.port import Connector, Outgoing, Permanent, Temporary, public_address, public_detail
from pelton.connectors.registry import AddressError, Connectors
from pelton.connectors.webhook import WebhookConnector
from pelton.net.http import GuardedHttp


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with running_receiver() as receiver:
        yield receiver


@pytest.fixture
async def webhook() -> AsyncIterator[WebhookConnector]:
    port = GuardedHttp(allow_private=True)
    yield WebhookConnector(port)
    await port.close()


def message(number: int, body: str, key: str = "k", **headers: str) -> Outgoing:
    return Outgoing(f"id-{number}", body.encode(), "application/json", headers, key)


def test_it_is_a_connector() -> None:
    connector: Connector = WebhookConnector(GuardedHttp())
    assert connector.scheme == "webhook"


async def test_what_a_receiver_gets(webhook: WebhookConnector, receiver: Receiver) -> None:
    assert await webhook.send(receiver.url, [message(1, "200 hello", trace="t", **{"Webhook-Id": "forged"})]) == [None]
    assert receiver.bodies == ["200 hello"]
    got = receiver.headers[0]
    assert (got["idempotency-key"], got["webhook-id"], got["content-type"], got["trace"]) == (
        "id-1",
        "id-1",
        "application/json",
        "t",
    )
    assert webhook.health()[receiver.url].healthy


async def test_order_within_a_key_and_company_between_keys(webhook: WebhookConnector, receiver: Receiver) -> None:
    sent = [message(n, f"200 {n}", key=str(n % 4)) for n in range(40)]
    assert await webhook.send(receiver.url, sent) == [None] * 40
    for key in range(4):
        assert [int(b.split()[1]) for b in receiver.bodies if int(b.split()[1]) % 4 == key] == list(range(key, 40, 4))
    assert receiver.most_at_once <= 4


@pytest.mark.parametrize(
    ("status", "kind", "said"),
    [
        (400, Permanent, "the receiver answered 400 Bad Request: because of 400[31mxxx"),
        (404, Permanent, "404"),
        (410, Permanent, "410"),
        (302, Permanent, "redirects are not followed"),
        (408, Temporary, "408"),
        (429, Temporary, "(Retry-After: 7)"),
        (500, Temporary, "500"),
        (503, Temporary, "(Retry-After: 7)"),
    ],
)
async def test_what_an_answer_means(
    webhook: WebhookConnector, receiver: Receiver, status: int, kind: type[Exception], said: str
) -> None:
    (outcome,) = await webhook.send(receiver.url, [message(1, f"{status}")])
    assert type(outcome) is kind
    assert said in str(outcome)
    assert len(str(outcome)) < 400
    assert str(outcome).isprintable()
    assert webhook.health()[receiver.url].healthy is (kind is Permanent)


async def test_a_refused_message_does_not_stop_the_next(webhook: WebhookConnector, receiver: Receiver) -> None:
    outcomes = await webhook.send(receiver.url, [message(1, "400"), message(2, "201")])
    assert [type(outcome) for outcome in outcomes] == [Permanent, type(None)]


async def test_a_failed_message_holds_back_its_key_only(webhook: WebhookConnector, receiver: Receiver) -> None:
    outcomes = await webhook.send(receiver.url, [message(1, "500", "a"), message(2, "200 a", "a"), message(3, "200 b", "b")])
    assert [type(outcome) for outcome in outcomes] == [Temporary, Temporary, type(None)]
    assert "earlier message of the same key" in str(outcomes[1])
    assert sorted(receiver.bodies) == ["200 b", "500"]


async def test_a_host_that_asks_for_a_pause_gets_it(receiver: Receiver) -> None:
    port = GuardedHttp(allow_private=True)
    webhook = WebhookConnector(port, side_by_side=1)
    outcomes = await webhook.send(receiver.url, [message(1, "429", "a"), message(2, "200", "b"), message(3, "200", "c")])
    assert [type(outcome) for outcome in outcomes] == [Temporary] * 3
    assert receiver.bodies == ["429"]
    await port.close()


async def test_nobody_listens(webhook: WebhookConnector, unused_tcp_port: int) -> None:
    url = f"http://127.0.0.1:{unused_tcp_port}/hook?token=secret"
    outcomes = await webhook.send(url, [message(n, "200", str(n)) for n in range(20)])
    assert {type(outcome) for outcome in outcomes} == {Temporary}
    assert "could not be reached" in str(outcomes[0])
    assert "secret" not in str(outcomes[0])
    assert not webhook.health()[url].healthy


async def test_inner_addresses_are_refused(receiver: Receiver) -> None:
    port = GuardedHttp()
    webhook = WebhookConnector(port)
    for url in (receiver.url, receiver.url.replace("127.0.0.1", "localhost")):
        (outcome,) = await webhook.send(url, [message(1, "200")])
        assert isinstance(outcome, Permanent)
        assert "a loopback address" in str(outcome)
    assert receiver.bodies == []
    with pytest.raises(AddressError, match="a loopback address"):
        Connectors([webhook]).parse(f"webhook:{receiver.url}")
    await port.close()


async def test_nothing_comes_from_a_webhook(webhook: WebhookConnector) -> None:
    subscription = webhook.subscribe("https://example.com")
    with pytest.raises(Permanent, match="POST to Pelton instead"):
        await anext(aiter(subscription.batches()))
    await subscription.acknowledge([])
    await subscription.give_back([])
    await subscription.close()


async def test_no_messages(webhook: WebhookConnector) -> None:
    assert await webhook.send("http://127.0.0.1:9/", []) == []


@pytest.mark.parametrize(
    ("address", "start"),
    [
        ("webhook:https://hooks.example/services/T/B/SECRET?sig=SECRET", "webhook:https://hooks.example/..."),
        ("webhook:HTTP://user:SECRET@hooks.example:8443/x#SECRET", "webhook:HTTP://hooks.example:8443/..."),
        ("webhook:https://SECRET@SECRET@hooks.example?SECRET", "webhook:https://hooks.example/..."),
        ("other:https://hooks.example/SECRET", "other:https://hooks.example/..."),
    ],
)
def test_what_everybody_may_see_of_an_address(address: str, start: str) -> None:
    shown = public_address(address)
    assert shown.startswith(start)
    assert "SECRET" not in shown
    assert shown != public_address(address + "x")
    detail = public_detail(f"POST {address.partition(':')[2]} was refused", address)
    assert "SECRET" not in detail
    assert "refused" in detail


@pytest.mark.parametrize("address", ["sqs:orders", "sqs://backup/orders", "wire:a", "conductor:e"])
def test_names_of_queues_are_shown(address: str) -> None:
    assert public_address(address) == address
    assert public_detail(f"no {address}", address) == f"no {address}"
