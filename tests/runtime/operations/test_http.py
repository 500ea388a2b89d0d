"""A step's HTTP request: what is sent, and what is reported for a reply and for none."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, NamedTuple

import pytest
from msgspec.structs import replace

from pelton.kernel.model.signals import Report
from pelton.kernel.model.state import StepStatus
from pelton.runtime.api import WorkItem
from pelton.runtime.operations.http import HttpCall, NoReply, Outcome, body_as_json, headers_by_name, http_operation, request

CALL = HttpCall("POST", "http://there.test/x", {"a": "b"}, b"{}", 1.5, 2.5)
NOTHING: Any = None
ITEM = WorkItem(NOTHING, NOTHING, NOTHING, NOTHING)
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Answer(NamedTuple):
    status: int = 200
    reason: str = "OK"
    headers: Sequence[tuple[str, str]] = (("a", "1"), ("b", "2"), ("a", "3"))
    body: bytes = b"[1]"


class Port:
    def __init__(self, answer: Answer | BaseException) -> None:
        self.answer = answer
        self.calls: list[tuple[Any, ...]] = []

    async def request(self, *call: Any, **times: Any) -> Answer:
        self.calls.append((*call, times))
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer


def reported(item: WorkItem, outcome: Outcome) -> Report:
    return Report(reason=outcome.reason, output=None if isinstance(outcome, NoReply) else outcome.status)


async def test_the_call_goes_out_as_it_is_and_the_reply_becomes_the_report() -> None:
    port = Port(Answer(status=404, reason="Not Found"))
    report = await http_operation(port, lambda item: CALL, reported)(ITEM)
    assert (report.output, report.reason) == (404, "Not Found")
    assert port.calls == [("POST", CALL.url, {"a": "b"}, b"{}", {"connect_timeout": 1.5, "read_timeout": 2.5})]


async def test_a_call_belongs_to_the_trace_of_its_item_unless_it_names_one() -> None:
    port, item = Port(Answer()), WorkItem(NOTHING, NOTHING, NOTHING, NOTHING, trace=f"{TRACE} a=1")
    await http_operation(port, lambda item: CALL, reported)(item)
    own = replace(CALL, headers={"Traceparent": "mine"})
    await http_operation(port, lambda item: own, reported)(item)
    assert [call[2] for call in port.calls] == [{"a": "b", "traceparent": TRACE, "tracestate": "a=1"}, {"Traceparent": "mine"}]


async def test_nothing_is_sent_for_an_item_that_asks_for_nothing() -> None:
    port, refusal = Port(Answer()), Report(status=int(StepStatus.FAILED), reason="no address")
    assert await http_operation(port, lambda item: refusal, reported)(ITEM) is refusal
    assert port.calls == []


async def test_whatever_the_way_out_raises_is_one_line_of_text() -> None:
    assert await request(Port(OSError("no\n  route " + "x" * 2000)), CALL) == NoReply(("no route " + "x" * 2000)[:1000])
    assert await request(Port(TimeoutError()), CALL) == NoReply("TimeoutError")


async def test_a_cancelled_call_is_cancelled() -> None:
    with pytest.raises(asyncio.CancelledError):
        await request(Port(asyncio.CancelledError()), CALL)


def test_bodies_and_headers_are_read_forgivingly() -> None:
    assert [body_as_json(body) for body in (b"", b'{"a": 1}', b"a,b", b"\xff", b"[" * 5000)] == [
        None,
        {"a": 1},
        "a,b",
        "\ufffd",
        "[" * 5000,
    ]
    assert headers_by_name(Answer().headers) == {"a": ["1", "3"], "b": ["2"]}
