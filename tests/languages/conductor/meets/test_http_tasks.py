"""What people's HTTP tasks meet: busy hosts, redirects, charsets, large replies, slow services."""

from __future__ import annotations

from typing import Any

import pytest
from tests.languages.conductor.api import Api, Reply, step, task

OK = Reply(200, "OK", (("Content-Type", "application/json"),), b"{}")


def http(**request: Any) -> dict[str, Any]:
    return step("HTTP", "h", inputParameters={"http_request": {"uri": "http://one.test/a/b", "method": "GET", **request}})


def moved(status: int, to: str) -> Reply:
    return Reply(status, "Moved", (("location", to),), b"")


# ---- redirects


@pytest.mark.parametrize(
    ("status", "method", "then"),
    [
        (301, "GET", "GET"), (302, "GET", "GET"), (303, "GET", "GET"), (307, "GET", "GET"), (308, "GET", "GET"),
        (301, "POST", "GET"), (302, "PUT", "GET"), (303, "DELETE", "GET"), (307, "POST", "POST"), (308, "PUT", "PUT"),
        (302, "HEAD", "HEAD"),
    ],
)  # fmt: skip
async def test_redirects_are_followed(api: Api, status: int, method: str, then: str) -> None:
    api.web.replies += [moved(status, "../c?d=1#e"), OK]
    found = await api.ended(await api.run([http(method=method, body={"x": 1}, headers={"Authorization": "a", "X-Own": "b"})]))
    assert task(found, "h")["outputData"]["response"]["statusCode"] == 200
    (_, _, first, body), (after, url, headers, rest) = api.web.requests
    assert (after, url) == (then, "http://one.test/c?d=1")
    assert rest == (body if then == method else b"")
    assert (headers["Authorization"], headers["X-Own"]) == ("a", "b")
    assert ("Content-Type" in headers) is bool(rest)
    assert "Content-Type" in first


async def test_credentials_stay_with_their_host(api: Api) -> None:
    api.web.replies += [moved(302, "https://other.test/x"), OK]
    await api.ended(await api.run([http(headers={"Authorization": "a", "Cookie": "c", "X-Own": "b"})]))
    headers = api.web.requests[1][2]
    assert headers == {"X-Own": "b", "Accept": "application/json"}


@pytest.mark.parametrize("to", ["", "ftp://other.test/x", "http://[bad"])
async def test_a_redirect_that_leads_nowhere_is_the_reply(api: Api, to: str) -> None:
    api.web.replies += [moved(302, to)]
    found = await api.ended(await api.run([http()]), "FAILED")
    assert task(found, "h")["outputData"]["response"]["statusCode"] == 302


async def test_a_redirect_to_less_security_is_not_followed(api: Api) -> None:
    api.web.replies += [moved(302, "http://one.test/x")]
    found = await api.ended(await api.run([http(uri="https://one.test/x")]), "FAILED")
    assert task(found, "h")["outputData"]["response"]["statusCode"] == 302
    assert len(api.web.requests) == 1


async def test_redirects_in_a_circle_fail_the_task(api: Api) -> None:
    api.web.replies += [moved(302, "/again")] * 30
    found = await api.ended(await api.run([http()]), "FAILED")
    assert "20 redirects" in found["reasonForIncompletion"]
    assert len(api.web.requests) == 21


# ---- limits


@pytest.mark.parametrize(
    ("given", "connecting", "reading"),
    [
        ({}, 3, 3),
        ({"readTimeOut": 0, "connectionTimeOut": 0}, 300, 3600),
        ({"readTimeOut": "0"}, 3, 3600),
        ({"readTimeOut": 300_000}, 3, 300),
        ({"readTimeOut": "300000", "connectionTimeOut": 500}, 0.5, 300),
        ({"readTimeOut": 2**53 - 1}, 3, 3600),
        ({"readTimeOut": -1, "connectionTimeOut": None}, 3, 3),
        ({"readTimeOut": "soon"}, 3, 3),
    ],
)
async def test_time_outs_are_as_given_and_nought_is_none(
    api: Api, given: dict[str, Any], connecting: float, reading: float
) -> None:
    api.web.replies.append(OK)
    await api.ended(await api.run([http(**given)]))
    [limits] = api.web.limits
    assert (limits["connect_timeout"], limits["read_timeout"]) == (connecting, reading)


async def test_a_reply_may_be_as_large_as_what_workers_send_and_a_busy_host_is_waited_for(api: Api) -> None:
    api.web.replies.append(OK)
    await api.ended(await api.run([http()]))
    [limits] = api.web.limits
    assert (limits["max_response"], limits["patient"]) == (5_000_000, True)


# ---- what comes and goes


@pytest.mark.parametrize(
    ("kind", "body", "value"),
    [
        ("text/plain; charset=ISO-8859-1", "Grüße".encode("latin-1"), "Grüße"),
        ('text/plain; Charset="windows-1252"', "5 €".encode("cp1252"), "5 €"),
        ("application/xml; charset=ISO-8859-1", "<a>ü</a>".encode("latin-1"), "<a>ü</a>"),
        ("application/xml", '<?xml version="1.0" encoding="ISO-8859-1"?><a>ü</a>'.encode("latin-1"),
         '<?xml version="1.0" encoding="ISO-8859-1"?><a>ü</a>'),
        ("text/csv; charset=shift_jis", "日本".encode("shift_jis"), "日本"),
        ("application/json; charset=ISO-8859-1", '{"a":"ü"}'.encode("latin-1"), {"a": "ü"}),
        ("application/json; charset=UTF-16", '{"a":"ü"}'.encode("utf-16"), {"a": "ü"}),
        ("text/plain", "Grüße".encode(), "Grüße"),
        ("text/plain; charset=no-such", "Grüße".encode(), "Grüße"),
        ("text/plain; charset=base64", b"R3I=", "R3I="),
        ("text/plain; charset=utf-8", b"\xff", "\ufffd"),
    ],
)  # fmt: skip
async def test_text_is_read_by_its_charset(api: Api, kind: str, body: bytes, value: Any) -> None:
    api.web.replies.append(Reply(200, "OK", (("content-type", kind),), body))
    found = await api.ended(await api.run([http()]))
    assert task(found, "h")["outputData"]["response"]["body"] == value


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ({}, "application/json"),
        ({"accept": "text/csv"}, "text/csv"),
        ({"accept": ["a/b", "c/d"]}, "a/b, c/d"),
        ({"headers": {"accept": "x/y"}}, None),
    ],
)
async def test_json_is_asked_for_unless_something_else_is(api: Api, given: dict[str, Any], sent: str | None) -> None:
    api.web.replies.append(OK)
    await api.ended(await api.run([http(**given)]))
    assert api.web.requests[0][2].get("Accept") == sent
