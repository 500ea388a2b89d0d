"""What the official CloudEvents SDK sends, by both of its interfaces and in both modes, and what other senders may send."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from cloudevents.core.bindings import http as second
from cloudevents.core.v1.event import CloudEvent as SecondEvent
from cloudevents.v1 import conversion as first
from cloudevents.v1.http import CloudEvent as FirstEvent
from tests.patience import happens

from pelton.testing import running_server

STRUCTURED = "application/cloudevents+json"
BINARY = {"ce-specversion": "1.0", "ce-source": "/s", "ce-type": "t"}
ODD = "Screenshot 9.41\u202fPM \u200d\u0301\U0001f468\u200d\U0001f469.png"


class Receiver:
    def __init__(self, url: str) -> None:
        self.http = httpx.AsyncClient(base_url=url, timeout=60)

    async def post(self, headers: Mapping[str, Any], body: bytes, status: int = 201) -> Any:
        """The event as it is kept; for a refusal the problem."""
        answer = await self.send(headers, body)
        assert answer.status_code == status, (answer.status_code, answer.text)
        return await self.event(answer.json()["key"]) if status < 300 else answer.json()

    async def send(self, headers: Mapping[str, Any], body: bytes) -> httpx.Response:
        return await self.http.post("/v1/events", content=body, headers=httpx.Headers(dict(headers), encoding="utf-8"))

    async def event(self, key: str) -> Any:
        return (await self.http.get(f"/v1/events/{key}")).json()


@asynccontextmanager
async def receiving(**settings: Any) -> AsyncIterator[Receiver]:
    async with running_server(**settings) as server:
        receiver = Receiver(server.url)
        try:
            yield receiver
        finally:
            await receiver.http.aclose()


@pytest.mark.parametrize("data", [{"message": "Hello World!"}, {"a": [1, None]}, "grüß dich", b"\x00\xff\x01"])
@pytest.mark.parametrize("attributes", [{}, {"subject": ODD, "tenant": "a"}])
async def test_an_event_of_the_sdk_is_the_same_in_both_modes(data: Any, attributes: dict[str, str]) -> None:
    given = {"type": "com.example", "source": "/sdk", **attributes}
    async with receiving() as receiver:
        one = FirstEvent(given, data)
        for headers, body in (first.to_binary(one), first.to_structured(one)):
            await receiver.send(headers, body)  # this interface leaves characters of headers as they are
        two = SecondEvent(given, data)
        for sent in (second.to_binary_event(two), second.to_structured_event(two)):
            await receiver.send(sent.headers, sent.body)
        kept = (await receiver.http.get("/v1/events")).json()["events"]
        assert [each["id"] for each in kept] == [two.get_id(), one["id"]]  # the second of each was known
        wanted = base64.b64encode(data).decode() if isinstance(data, bytes) else data
        for each in kept:
            assert each["data"] == wanted, each
            assert each.get("subject", "") == attributes.get("subject", "")


@pytest.mark.parametrize("kind", ["application/json", "application/vnd.order+json; charset=utf-8", "text/plain", "", "image/png"])
@pytest.mark.parametrize("data", [b'{"n": 1}', b"plain", b"\x00\xff"])
async def test_data_in_base64_is_the_data_of_binary_mode(kind: str, data: bytes) -> None:
    attributes = {"datacontenttype": kind} if kind else {}
    event = {
        "specversion": "1.0",
        "id": "1",
        "source": "/s",
        "type": "t",
        **attributes,
        "data_base64": base64.b64encode(data).decode(),
    }
    malformed = "json" in kind and data != b'{"n": 1}'
    async with receiving() as receiver:
        status = 400 if malformed else 201
        headers = {**BINARY, "ce-id": "1", **({"content-type": kind} if kind else {})}
        kept = await receiver.post(headers, data, status)
        said = await receiver.post({"content-type": STRUCTURED}, json.dumps(event).encode(), 400 if malformed else 200)
        if malformed:
            assert said["field"] == "data_base64"
            return
        assert said == kept
        wanted = {b'{"n": 1}': {"n": 1}, b"plain": "plain"} if kind != "image/png" else {}
        if kind == "text/plain":
            wanted[b'{"n": 1}'] = '{"n": 1}'
        assert kept["data"] == wanted.get(data, base64.b64encode(data).decode())


@pytest.mark.parametrize(
    ("body", "data"),
    [
        (b'\xef\xbb\xbf{"a": 1}', {"a": 1}),
        (b" [1] ", [1]),
        (b"17", 17),
        (b"null", None),
        (b"", None),
        (b"{half", "{half"),
        (b"18446744073709551616", "18446744073709551616"),
        ("grüß\r\n\t".encode(), "grüß\r\n\t"),
        (b"GIF\x00\x01", base64.b64encode(b"GIF\x00\x01").decode()),
        (b"[" * 300, "[" * 300),
    ],
)
async def test_data_without_a_content_type_is_what_it_can_be(body: bytes, data: Any) -> None:
    async with receiving() as receiver:
        assert (await receiver.post({**BINARY, "ce-id": "1"}, body)).get("data") == data


@pytest.mark.parametrize("name", ["id", "type", "source", "subject"])
async def test_texts_have_all_characters_that_cloudevents_allows(name: str) -> None:
    event = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t"}
    async with receiving() as receiver:
        for text in (ODD, "a\xa0b", "\u00ad", "\u2028", "\ue000", "\U0010fffd"):
            kept = await receiver.post({"content-type": STRUCTURED}, json.dumps({**event, "id": text, name: text}).encode())
            assert kept[name] == text
        for text in ("a\x00", "\x1f", "\x7f", "\x9f", "\ufdd0", "\ufffe", "\U0001ffff"):
            said = await receiver.post({"content-type": STRUCTURED}, json.dumps({**event, name: text}).encode(), 400)
            assert said["field"] == name
            assert f"U+{ord(text[-1]):04X}" in said["detail"]
            assert "shorten" not in said["remedy"]
        said = await receiver.post({"content-type": STRUCTURED}, json.dumps({**event, name: "x" * 1025}).encode(), 400)
        assert said["remedy"] == "shorten it"
        said = await receiver.post(
            {"content-type": STRUCTURED}, b'{"specversion":"1.0","id":"1","source":"/s","type":"\\ud800"}', 400
        )


async def test_what_a_watched_file_raises_is_taken_back(tmp_path: Path) -> None:
    names = ["Screenshot 9.41\u202fPM.png", "bell\x07.txt"]
    for name in names:
        (tmp_path / name).write_text("x")
    async with receiving(watch=(f"{tmp_path}=/in",), watch_settle=10) as receiver:

        async def two() -> list[Any]:
            found: list[Any] = (await receiver.http.get("/v1/events")).json()["events"]
            return found if len(found) == 2 else []

        raised = await happens(two, "both files are reported")
        assert {each.get("subject", "") for each in raised} == {f"/in/{names[0]}", ""}
        for each in raised:
            event = {name: each[name] for name in ("id", "type", "subject", "data") if each.get(name)}
            sent = json.dumps({**event, "specversion": "1.0", "source": "/elsewhere"}).encode()
            kept = await receiver.post({"content-type": STRUCTURED}, sent)
            assert kept["data"] == each["data"]


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (b'"local.x"', "local.x"),
        (b'"say \\"hi\\" \\\\ there"', 'say "hi" \\ there'),
        (b'"a%20b"', "a b"),
        (b'"', '"'),
        (b'""quoted""', '"quoted"'),
        (b"gr%C3%BC%C3%9F", "grüß"),
        ("grüß".encode(), "grüß"),
    ],
)
async def test_headers_are_read_as_the_binding_says(written: bytes, read: str) -> None:
    async with receiving() as receiver:
        headers = [*((name.encode(), value.encode()) for name, value in BINARY.items() if name != "ce-type"), (b"ce-id", b"1")]
        answer = await receiver.http.post(
            "/v1/events", content=b"1", headers=[*headers, (b"ce-type", written), (b"ce-x", written)]
        )
        kept = await receiver.event(answer.json()["key"])
        assert (kept["type"], kept["attributes"]["x"]) == (read, read)


@pytest.mark.parametrize("written", [b"gr\xfc\xdf", b"%FF"])
async def test_a_header_that_is_no_utf_8_is_refused(written: bytes) -> None:
    async with receiving() as receiver:
        headers = [
            *((name.encode(), value.encode()) for name, value in BINARY.items()),
            (b"ce-id", b"1"),
            (b"ce-subject", written),
        ]
        answer = await receiver.http.post("/v1/events", content=b"1", headers=headers)
        said = answer.json()
        assert (answer.status_code, said["field"]) == (400, "ce-subject")
        assert "percent-encode" in said["remedy"] or "encode" in said["remedy"]


async def test_a_byte_order_mark_is_skipped() -> None:
    event = json.dumps({"specversion": "1.0", "id": "1", "source": "/s", "type": "t", "data": 1}).encode()
    async with receiving() as receiver:
        assert (await receiver.post({"content-type": STRUCTURED}, b"\xef\xbb\xbf" + event))["data"] == 1
        run = json.dumps({"process": "none"}).encode()
        answers = [await receiver.http.post("/v1/runs", content=body) for body in (run, b"\xef\xbb\xbf" + run)]
        assert answers[0].json() == answers[1].json()
        task = json.dumps({"subject": "s", "message": "m"}).encode()
        answer = await receiver.http.post("/notification/api/manualevent", content=b"\xef\xbb\xbf" + task)
        assert answer.status_code == 201
