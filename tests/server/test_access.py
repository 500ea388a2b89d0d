"""Who may call."""

from __future__ import annotations

import pytest

from pelton.runtime.caller import Caller
from pelton.server.access import Access, Denied
from pelton.server.config import Config

KEY = "correct-horse-battery"


def scope(**headers: str) -> dict[str, object]:
    return {"headers": [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in headers.items()]}


@pytest.mark.parametrize(
    ("headers", "passes"),
    [
        ({"authorization": f"Bearer {KEY}"}, True),
        ({"authorization": f"bearer  {KEY} "}, True),
        ({"x_authorization": KEY}, True),
        ({"x_authorization": "second-key-of-the-two"}, True),
        ({"authorization": f"Basic {KEY}"}, False),
        ({"authorization": KEY}, False),
        ({"authorization": "Bearer"}, False),
        ({"authorization": f"Bearer {KEY[:-1]}"}, False),
        ({"authorization": f"Bearer {KEY}x"}, False),
        ({"x_authorization": "\xff\xfe"}, False),
        ({"host": "127.0.0.1"}, False),
        ({}, False),
    ],
)
def test_keys(headers: dict[str, str], passes: bool) -> None:
    access = Access(Config(host="0.0.0.0", api_keys=(KEY, "second-key-of-the-two")))
    denied = access.denied(scope(**headers))
    assert (denied is None) == passes
    if denied is not None:
        assert denied.status == 401
        assert KEY not in str(denied)


@pytest.mark.parametrize(
    ("headers", "passes"),
    [
        ({"host": "127.0.0.1:8080"}, True),
        ({"host": "localhost:8080"}, True),
        ({"host": "[::1]:8080"}, True),
        ({"host": "localhost:8080", "origin": "http://localhost:8080"}, True),
        ({}, True),
        ({"host": "evil.example"}, False),
        ({"host": "127.0.0.1.evil.example:8080"}, False),
        ({"host": "localhost:8080", "origin": "https://evil.example"}, False),
        ({"host": "localhost:8080", "origin": "null"}, False),
        ({"host": "[::1"}, False),
        ({"host": "localhost:8080", "sec_fetch_site": "cross-site"}, False),
        ({"host": "localhost:8080", "sec_fetch_site": "Same-Site"}, False),
        ({"host": "localhost:8080", "sec_fetch_site": "cross-site", "referer": "http://localhost:8080/"}, False),
        ({"host": "localhost:8080", "sec_fetch_site": "same-origin"}, True),
        ({"host": "localhost:8080", "sec_fetch_site": "none"}, True),
        ({"host": "localhost:8080", "sec_fetch_site": "same-site", "origin": "http://localhost:3000"}, True),
        ({"host": "localhost:8080", "sec_fetch_site": "same-origin", "origin": "https://evil.example"}, False),
        ({"host": "localhost:8080", "referer": "https://evil.example/page"}, False),
        ({"host": "localhost:8080", "referer": "http://127.0.0.1:8080/docs"}, True),
    ],
)
def test_a_web_page_cannot_use_a_developers_server(headers: dict[str, str], passes: bool) -> None:
    assert (Access(Config()).denied(scope(**headers)) is None) == passes


def test_who_said_that_anybody_may_gets_that() -> None:
    access = Access(Config(host="0.0.0.0", allow_anonymous=True))
    assert access.denied(scope(host="anything", origin="https://any.example")) is None


def test_a_token_says_who_calls() -> None:
    access = Access(Config(api_keys=(KEY,), users=("ann=token-of-ann-000001", "bob=token=of=bob=0002", "ann=second-of-ann-0003")))
    assert access.mode == "keys"
    assert access.users == {"ann", "bob"}
    assert access.admit(scope(authorization="Bearer token-of-ann-000001")) == Caller(user="ann")
    assert access.admit(scope(authorization="Bearer second-of-ann-0003")) == Caller(user="ann")
    assert access.admit(scope(x_authorization="token=of=bob=0002")) == Caller(user="bob")
    assert access.admit(scope(authorization=f"Bearer {KEY}")) == Caller()
    for headers in ({}, {"authorization": "Bearer ann"}, {"authorization": "Bearer ann=token-of-ann-000001"}):
        assert isinstance(access.admit(scope(**headers)), Denied)


def test_a_key_says_in_which_namespace() -> None:
    keys = ("acme=key-of-acme-0000001", "acme=second-key-of-acme-2", "zeta=token-of-ann-000001")
    access = Access(Config(namespace_keys=keys, users=("ann=token-of-ann-000001",), api_keys=(KEY,)))
    assert access.admit(scope(authorization="Bearer key-of-acme-0000001")) == Caller("acme")
    assert access.admit(scope(authorization="Bearer second-key-of-acme-2")) == Caller("acme")
    assert access.admit(scope(authorization="Bearer token-of-ann-000001")) == Caller("zeta", "ann")
    assert access.admit(scope(authorization=f"Bearer {KEY}")) == Caller()
    only = Access(Config(namespace_keys=keys[:1]))
    assert only.mode == "keys"
    assert isinstance(only.admit(scope()), Denied)


def test_some_keys_may_say_whose_an_event_is() -> None:
    ann, gateway = "token-of-ann-000001", "key-of-the-gateway1"
    access = Access(Config(users=(f"ann={ann}",), namespace_keys=(f"acme={gateway}",), forwarders=(gateway, ann)))
    assert access.admit(scope(authorization=f"Bearer {gateway}")) == Caller("acme", forwards=True)
    assert access.admit(scope(authorization=f"Bearer {ann}")) == Caller(user="ann", forwards=True)
    only = Access(Config(forwarders=(gateway,)))
    assert only.admit(scope(authorization=f"Bearer {gateway}")) == Caller(forwards=True)
    assert isinstance(only.admit(scope()), Denied)


def test_without_access_control_any_token_passes_and_names_nobody() -> None:
    assert Access(Config()).admit(scope(host="127.0.0.1", authorization="Bearer whatever")) == Caller(forwards=True)
    assert Access(Config(host="0.0.0.0", allow_anonymous=True)).admit(scope()) == Caller(forwards=True)
