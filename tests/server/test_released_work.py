"""Work that is given back after its step has ended is not handed out again."""

from __future__ import annotations

import pytest

from pelton.kernel.model.signals import Terminate
from pelton.runtime.api import ClaimRequest
from pelton.runtime.caller import SERVER
from pelton.testing.server import running_server

WORKFLOW = {
    "name": "released",
    "version": 1,
    "schemaVersion": 2,
    "ownerEmail": "a@b.c",
    "timeoutSeconds": 0,
    "tasks": [{"name": "work", "taskReferenceName": "first", "type": "SIMPLE", "inputParameters": {}}],
}


@pytest.mark.parametrize("ended_by", ["operator", "report", ""])
async def test_only_open_work_is_handed_out_again(ended_by: str) -> None:
    async with running_server() as server:
        client, engine = server.client, server.engine
        await client.request("POST", "/api/metadata/workflow", WORKFLOW)
        await engine.claim(SERVER, ClaimRequest(queues=["work"], worker="first"))  # the queue is in memory from here on
        run = await client.request("POST", "/api/workflow", {"name": "released"})
        items = await engine.claim(SERVER, ClaimRequest(queues=["work"], wait=10_000, worker="first"))
        if ended_by == "operator":
            await engine.signal(SERVER, items[0].step.run, Terminate())
        elif ended_by == "report":
            await client.request("POST", f"/api/tasks/{run}/first/COMPLETED", {})
        engine.release(items)
        engine.release(items)
        again = await engine.claim(SERVER, ClaimRequest(queues=["work"], wait=500, worker="second"))
        assert len(again) == (0 if ended_by else 1)
