"""Webhooks that are no CloudEvents, the handshake of those that are, and compressed bodies."""

from __future__ import annotations

import base64
import gzip
import json
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from tests.server.running import WAITING, starter

from pelton.client import AsyncClient
from pelton.testing import running_server

CLOUD = {"content-type": "application/cloudevents+json"}
EVENT = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t", "data": {"a": 1}}


def zipped(body: bytes) -> bytes:
    return gzip.compress(body, mtime=0)


@asynccontextmanager
async def receiving(**settings: Any) -> AsyncIterator[httpx.AsyncClient]:
    async with running_server(**settings) as server, httpx.AsyncClient(base_url=server.url, timeout=60) as http:
        yield http


async def taken(http: httpx.AsyncClient, answer: httpx.Response, status: int = 201) -> Any:
    assert answer.status_code == status, (answer.status_code, answer.text)
    return (await http.get(f"/v1/events/{answer.json()['key']}")).json()


@pytest.mark.parametrize(
    ("kind", "body", "data"),
    [
        ("application/json", b'{"action": "opened", "number": 7}', {"action": "opened", "number": 7}),
        ("application/vnd.github+json; charset=utf-8", b"[1]", [1]),
        ("application/x-www-form-urlencoded", b"a=1&b=x+y&b=%C3%BC&c=", {"a": "1", "b": ["x y", "ü"], "c": ""}),
        ("application/xml", "<note>grüß</note>".encode(), "<note>grüß</note>"),
        ("text/xml; charset=utf-8", b"<a/>", "<a/>"),
        ("application/soap+xml", b"<b/>", "<b/>"),
        ("text/plain", b"hello", "hello"),
        ("", b'{"a": 1}', {"a": 1}),
        ("", b"hello", "hello"),
        ("application/octet-stream", b"\x00\xff", base64.b64encode(b"\x00\xff").decode()),
        ("application/xml", b"<a>\xff</a>", base64.b64encode(b"<a>\xff</a>").decode()),
        ("application/json", b"", None),
    ],
)
async def test_any_body_becomes_the_data_of_an_event(kind: str, body: bytes, data: Any) -> None:
    async with receiving() as http:
        event = await taken(http, await http.post("/v1/hooks/shop", content=body, headers={"content-type": kind} if kind else {}))
        assert (event["type"], event["source"], event.get("data")) == ("shop", "/v1/hooks/shop", data)
        assert event["id"]
        assert event.get("attributes", {}).get("datacontenttype", "") == kind


async def test_source_type_and_id_come_from_the_request() -> None:
    async with receiving() as http:
        url = "/v1/hooks/git?type=git.push&source=/git/main&subject=main&id_header=X-Delivery"
        headers = {"x-delivery": "d-1", "content-type": "application/json"}
        first = await taken(http, await http.post(url, content=b"{}", headers=headers))
        assert [first[name] for name in ("type", "source", "subject", "id")] == ["git.push", "/git/main", "main", "d-1"]
        again = await http.post(url, content=b"{}", headers=headers)
        assert (again.status_code, again.json()["outcome"]) == (200, "duplicate")
        other = await http.post(url, content=b'{"n": 1}', headers=headers)
        assert other.status_code == 409
        new = [await http.post(url, content=b"{}", headers={"content-type": "application/json"}) for _ in range(2)]
        assert {answer.json()["outcome"] for answer in new} == {"accepted"}  # without the header nothing tells repeats apart
        named = await taken(http, await http.post("/v1/hooks/a%2Fb?id=own", content=b"{}"))
        assert (named["type"], named["id"]) == ("a/b", "own")


async def test_a_webhook_starts_a_workflow_in_its_callers_name() -> None:
    token = "token-of-alice-0001"
    async with receiving(users=(f"alice={token}",)) as http:
        http.headers["authorization"] = f"Bearer {token}"
        await http.post("/api/metadata/workflow", json=WAITING)
        await http.post("/api/event", json=starter("on_shop", "shop", "waiting", "$.number > 1 && $.header.userId == 'alice'"))
        answer = await http.post("/v1/hooks/shop", json={"number": 2})
        assert [each["outcome"] for each in answer.json()["effects"]] == ["started"]
        assert (await http.post("/v1/hooks/shop", content=b"{}", headers={"authorization": "x"})).status_code == 401


async def test_bad_hooks_are_refused() -> None:
    async with receiving() as http:
        for url, headers, body in (
            ("/v1/hooks/a?source=pelton", {}, b"{}"),
            ("/v1/hooks/a?type=%07", {}, b"{}"),
            ("/v1/hooks/a", {"content-type": "application/json"}, b"{half"),
            ("/v1/hooks/a", {"content-type": "application/x-www-form-urlencoded"}, b"a=%FF"),
            ("/v1/hooks/a", {"content-type": "application/x-www-form-urlencoded"}, b"a=1&" * 2000),
            ("/v1/hooks/a", {"ce-peltonhops": "x"}, b"{}"),
        ):
            answer = await http.post(url, content=body, headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (400, "invalid"), (url, answer.text)


async def test_a_hook_takes_cloudevents_as_such() -> None:
    async with receiving() as http:
        event = await taken(http, await http.post("/v1/hooks/shop", json=EVENT, headers=CLOUD))
        assert (event["type"], event["source"], event["data"]) == ("t", "/s", {"a": 1})
        binary = {"ce-specversion": "1.0", "ce-id": "2", "ce-source": "/s", "ce-type": "t"}
        event = await taken(http, await http.post("/v1/hooks/shop", json={"a": 2}, headers=binary))
        assert (event["type"], event["data"]) == ("t", {"a": 2})


@pytest.mark.parametrize("path", ["/v1/events", "/v1/hooks/shop"])
async def test_the_handshake_of_webhooks_is_answered(path: str) -> None:
    async with receiving(api_keys=("key-of-this-server",)) as http:
        asked = {"webhook-request-origin": "eventemitter.example.com", "webhook-request-rate": "120"}
        assert (await http.options(path, headers=asked)).status_code == 401
        http.headers["authorization"] = "Bearer key-of-this-server"
        answer = await http.options(path, headers=asked)
        assert answer.status_code == 200
        assert answer.headers["webhook-allowed-origin"] == "eventemitter.example.com"
        assert answer.headers["webhook-allowed-rate"] == "*"
        assert "POST" in answer.headers["allow"]
        plain = await http.options(path)
        assert (plain.status_code, "webhook-allowed-origin" in plain.headers) == (200, False)
        assert (await http.options(path, headers={"webhook-request-origin": "a b"})).status_code == 400


@pytest.mark.parametrize("coding", ["gzip", "x-gzip", "GZIP", "deflate", "identity"])
async def test_compressed_bodies_are_unpacked(coding: str) -> None:
    body = json.dumps(EVENT).encode()
    packed = zlib.compress(body) if coding == "deflate" else body if coding == "identity" else zipped(body)
    async with receiving() as http:
        event = await taken(http, await http.post("/v1/events", content=packed, headers={**CLOUD, "content-encoding": coding}))
        assert event["data"] == {"a": 1}
        answer = await http.post("/v1/hooks/shop", content=packed, headers={"content-encoding": coding})
        assert (await taken(http, answer))["data"] == EVENT
        if coding == "gzip":
            manual = zipped(b'{"subject": ') + zipped(b'"s", "message": "m"}')  # two members are one body
            answer = await http.post("/notification/api/manualevent", content=manual, headers={"content-encoding": coding})
            assert answer.status_code == 201


@pytest.mark.parametrize(
    ("coding", "body", "status"),
    [
        ("br", b"x", 415),
        ("gzip, gzip", b"x", 415),
        ("gzip", b"no gzip", 400),
        ("gzip", zipped(b"x" * 100)[:-9], 400),
        ("gzip", zipped(b"") * 200, 400),
        ("deflate", b"\x00", 400),
        ("gzip", zipped(b" " * 3_000_000), 413),
        ("gzip", zipped(b" " * 600_000) * 3, 413),
    ],
)
async def test_what_cannot_be_unpacked_is_refused(coding: str, body: bytes, status: int) -> None:
    async with receiving(max_body=1_000_000) as http:
        for path in ("/v1/events", "/v1/hooks/shop", "/notification/api/manualevent", "/api/workflow"):
            answer = await http.post(path, content=body, headers={**CLOUD, "content-encoding": coding})
            assert answer.status_code == status, (path, answer.text)


async def test_the_client_posts_to_hooks() -> None:
    async with running_server() as server:
        client: AsyncClient = server.client
        one = await client.post_hook("shop", {"n": 1}, id="a")
        assert (one.source, one.id, one.outcome) == ("/v1/hooks/shop", "a", "accepted")
        assert (await client.post_hook("shop", {"n": 1}, id="a")).outcome == "duplicate"
        two = await client.post_hook("a b", b"<x/>", type="order", source="/o", subject="7", content_type="text/xml")
        event = await client.event(two.key)
        assert (event.type, event.source, event.subject, event.data) == ("order", "/o", "7", "<x/>")
