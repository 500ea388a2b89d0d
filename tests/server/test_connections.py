"""Named connections through a whole server: a message comes in over one and leaves over another, each with its credentials."""

from __future__ import annotations

import base64
import os
import secrets
from collections.abc import AsyncIterator

import msgspec
import pytest
from tests.patience import happens
from tests.server.running import starter
from tests.server.test_running_server import define
from tests.sqs_server import SqsServer

from pelton.client import RequestRefused
from pelton.connectors.port import Outgoing
from pelton.connectors.sqs import Credentials, SqsConnector
from pelton.server.config import Config, printable
from pelton.store.memory.store import MemoryStore
from pelton.testing import running_server

SECRET = "a-secret-that-no-one-sees"


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No credentials where AWS tools look for them; those of the connections in variables of their own."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, os.devnull)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("ORDERS_ID", "orders")
    monkeypatch.setenv("ORDERS_SECRET", SECRET)


@pytest.fixture
async def outside(sqs_server: SqsServer) -> AsyncIterator[SqsConnector]:
    """Whoever is at the other end of the queues."""
    connector = SqsConnector(
        endpoint=sqs_server.url, region="us-east-1", credentials=Credentials("orders", SECRET), wait_seconds=1
    )
    yield connector
    await connector.close()


async def test_messages_come_and_go_over_named_connections(
    sqs_server: SqsServer, environment: None, outside: SqsConnector
) -> None:
    come, gone = (f"{name}-{secrets.token_hex(4)}" for name in ("come", "gone"))
    keys = "access_key_id_env=ORDERS_ID&secret_access_key_env=ORDERS_SECRET"
    urls = tuple(f"{name}=sqs://us-east-1?endpoint={sqs_server.url}&{keys}" for name in ("orders", "backup"))
    forward = {
        "name": "forward",
        "version": 1,
        "schemaVersion": 2,
        "tasks": [
            {
                "name": "tell", "taskReferenceName": "tell", "type": "EVENT", "sink": f"sqs://backup/{gone}",
                "inputParameters": {"number": "${workflow.input.number}"},
            },
        ],
    }  # fmt: skip
    async with running_server(connections=urls) as server:
        await define(server.client, forward, starter("begin", f"sqs://orders/{come}", "forward"))
        assert await outside.send(come, [Outgoing("1", b'{"number": 7}', "application/json", {}, "k")]) == [None]
        subscription = outside.subscribe(gone)
        async for batch in subscription.batches():
            if batch:
                break
        assert msgspec.json.decode(batch[0].body)["number"] == 7
        await subscription.acknowledge(batch)
        await subscription.close()
        (event,) = (await server.client.events(type=f"sqs://orders/{come}")).events
        assert event.source == f"sqs://orders/{come}"

        async def well() -> bool:
            said = msgspec.json.decode(msgspec.json.encode(await server.client.health()))
            assert SECRET not in str(said)
            return {f"sqs://orders/{come}", f"sqs://backup/{gone}"} <= set(said["details"]["connectors"])

        await happens(well)
    shown = str(dict(printable(Config(connections=urls)))) + repr(Credentials("orders", SECRET))
    assert SECRET not in shown
    assert "ORDERS_SECRET" not in shown


async def test_the_credentials_of_a_connection_are_secrets(
    sqs_server: SqsServer, environment: None, outside: SqsConnector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PELTON_SECRETS_KEY", base64.b64encode(bytes(range(32))).decode())
    gone = f"gone-{secrets.token_hex(4)}"
    keys = "access_key_id_env=ORDERS_ID&secret_access_key=secret:orders"
    tell = {
        "name": "tell",
        "taskReferenceName": "tell",
        "type": "EVENT",
        "sink": f"sqs://backup/{gone}",
        "inputParameters": {"n": 7},
    }
    forward = {"name": "forward", "version": 1, "schemaVersion": 2, "tasks": [tell]}
    store = MemoryStore()
    url = f"backup=sqs://us-east-1?endpoint={sqs_server.url}&{keys}"
    async with running_server(store=store, connections=(url,)) as server:
        with pytest.raises(RequestRefused, match="the secret 'orders' is not set"):
            await define(server.client, forward)
        await server.client.set_secret("orders", SECRET)
        await define(server.client, forward)
        await server.client.start_run("forward")
        subscription = outside.subscribe(gone)
        async for batch in subscription.batches():
            if batch:
                break
        assert msgspec.json.decode(batch[0].body)["n"] == 7
        await subscription.acknowledge(batch)
        await subscription.close()
        assert SECRET not in str(await server.client.health())
    async with running_server(store=store, connections=(url,)) as server:
        await define(server.client, forward)  # it is there when a server starts
