"""Messages from queues that are not JSON: text, XML and CSV are events like others."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from tests.patience import happens

from pelton.connectors.port import Outgoing
from pelton.testing.connector import MemoryConnector
from pelton.testing.server import running_server

CASES: dict[str, tuple[bytes, Any]] = {
    "text": (b"file.csv is ready", "file.csv is ready"),
    "xml": (b'<order id="5"/>', '<order id="5"/>'),
    "csv": ("a;b\nMüller;5\n".encode(), "a;b\nMüller;5\n"),
    "object": (b'{"ok":1}', {"ok": 1}),
    "number": (b"42", 42),
    "cut off": (b'{"ok":', '{"ok":'),
    "blank": (b"  ", "  "),
    "nested": (b"[" * 100_000, "[" * 100_000),
}


@pytest.mark.parametrize("case", CASES)
async def test_a_message_that_is_not_json_is_its_text(case: str) -> None:
    body, value = CASES[case]
    queue = MemoryConnector()
    async with running_server(connectors=[queue], languages=["conductor"]) as server:
        call = partial(server.client.request, content_type="application/json")
        wait = {"name": "w", "taskReferenceName": "w", "type": "WAIT"}
        await call("PUT", "/api/metadata/workflow", [{"name": "wf", "version": 1, "tasks": [wait]}])
        action = {"action": "start_workflow", "start_workflow": {"name": "wf", "input": {"all": "${$}"}}}
        await call("POST", "/api/event", {"name": "h", "event": "memory:q", "active": True, "actions": [action]})
        await queue.send("q", [Outgoing("1", body, "text/plain", {}, "")])
        await happens(lambda: queue.acknowledged["q"])
        [run] = await call("GET", "/api/workflow/running/wf?version=1")
        assert (await call("GET", f"/api/workflow/{run}"))["input"]["all"] == value


async def test_a_message_that_is_not_even_text_is_kept_as_a_dead_letter() -> None:
    queue = MemoryConnector()
    async with running_server(connectors=[queue], languages=["conductor"]) as server:
        action = {"action": "start_workflow", "start_workflow": {"name": "wf"}}
        handler = {"name": "h", "event": "memory:q", "active": True, "actions": [action]}
        await server.client.request("POST", "/api/event", handler, content_type="application/json")
        await queue.send("q", [Outgoing("1", b"\xff\xfe\x00", "text/plain", {}, "")])
        await happens(lambda: queue.acknowledged["q"])
        [letter] = (await server.client.dead_letters()).dead_letters
        assert "neither JSON nor text" in letter.reason
