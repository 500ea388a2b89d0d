"""From an address text to the connector behind it, with real connectors."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.patience import PATIENCE

from pelton.connectors.health import HealthBook
from pelton.connectors.registry import MAX_ADDRESS, AddressError, Connectors
from pelton.connectors.sqs import SqsConnector


def registry() -> Connectors:
    return Connectors([SqsConnector()])


def test_the_first_colon_splits() -> None:
    assert registry().parse("sqs:orders") == ("sqs", "orders")
    assert registry().split("webhook:http://host:80/a:b") == ("webhook", "http://host:80/a:b")
    assert registry().split("unknown:x") == ("unknown", "x")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("orders", "the address 'orders' has no colon: write it as scheme:name, with one of sqs"),
        ("", "has no colon"),
        (":orders", "has no scheme before its colon"),
        ("sqs:", "has no name after its colon"),
        ("kafka:orders", "unknown scheme 'kafka': use one of sqs"),
        ("SQS:orders", "unknown scheme 'SQS'"),
        (" sqs:orders", "unknown scheme ' sqs'"),
        ("sqs:a b", "is refused: 'a b' cannot be the name of an SQS queue"),
        ("sqs:" + "x" * MAX_ADDRESS, f"the limit is {MAX_ADDRESS}"),
    ],
)
def test_addresses_that_are_none(text: str, said: str) -> None:
    with pytest.raises(AddressError) as caught:
        registry().parse(text)
    assert said in str(caught.value)


def test_no_connectors_at_all() -> None:
    with pytest.raises(AddressError, match="this server has no connectors"):
        Connectors().parse("sqs:orders")


@given(st.text())
def test_any_text_is_an_address_or_an_address_error(text: str) -> None:
    try:
        scheme, address = registry().parse(text)
    except AddressError:
        return
    assert f"{scheme}:{address}" == text


def test_one_connector_a_scheme() -> None:
    with pytest.raises(ValueError, match="two connectors have the scheme 'sqs'"):
        Connectors([SqsConnector(), SqsConnector()])


async def test_finding_health_and_close() -> None:
    sqs = SqsConnector(endpoint="nowhere", region="x")
    connectors = Connectors([sqs])
    assert connectors.find("sqs:orders") == (sqs, "orders")
    assert connectors.get("sqs") is sqs
    assert connectors.get("kafka") is None
    with pytest.raises(Exception, match="nowhere"):
        await sqs.call("orders", "receive_message")
    assert list(connectors.health()) == ["sqs:orders"]
    await connectors.close()


async def test_one_that_fails_to_close_does_not_keep_the_others_open() -> None:
    class Stuck(SqsConnector):
        scheme = "stuck"

        async def close(self) -> None:
            raise OSError("broken")

    sqs = SqsConnector()
    connectors = Connectors([Stuck(), sqs])
    with pytest.raises(ExceptionGroup, match="did not close cleanly"):
        await connectors.close()
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(Exception, match="closed"):
            await sqs.call("orders", "receive_message")


def test_health_says_since_when_and_stays_small() -> None:
    now = 0

    def clock() -> int:
        return now

    book = HealthBook(clock, limit=2)
    book.good("a")
    now = 5
    book.good("a")
    assert book.view()["a"].since == 0
    book.bad("a", "down")
    now = 6
    book.bad("a", "still down")
    assert (book.view()["a"].since, book.view()["a"].detail, book.view()["a"].healthy) == (5, "still down", False)
    book.good("b")
    book.good("a")
    book.good("c")
    assert sorted(book.view()) == ["a", "c"]
