"""What /health and /metrics say, which need no key: never the address of a webhook, which for most receivers is the password."""

from __future__ import annotations

from typing import Any

from httpx import AsyncClient as Http
from tests.patience import happens
from tests.server.test_running_server import define

from pelton.testing import running_server

TELL: dict[str, Any] = {
    "name": "tell",
    "version": 1,
    "schemaVersion": 2,
    "tasks": [
        {
            "name": "tell", "taskReferenceName": "tell", "type": "EVENT", "inputParameters": {},
            "sink": "webhook:http://hooks.invalid/services/SECRET?sig=SECRET",
        }
    ],
}  # fmt: skip


async def test_nobody_sees_the_address_of_a_webhook() -> None:
    async with running_server() as server:
        await define(server.client, TELL)
        await server.client.request("POST", "/api/workflow/tell", {}, content_type="application/json")
        async with Http(base_url=server.url) as http:
            await happens(lambda: any(not each["healthy"] for each in server.engine.outbox.health().values()))
            texts = {path: (await http.get(path)).text for path in ("/health", "/api/health", "/metrics")}
    for path, text in texts.items():
        assert "webhook:http://hooks.invalid/..." in text, path
        assert "SECRET" not in text, path
