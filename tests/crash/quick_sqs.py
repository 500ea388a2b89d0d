"""The SQS server with an impatient queue: whoever receives a message has two seconds, whatever was asked for.

A message that a killed server had in hand is there again after seconds and not after a minute; and messages come again while they
are still being handled, which is the receiver's to bear.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any

from ministack.app import app as ministack
from msgspec import DecodeError, json

PATIENCE = 2  # seconds

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]


async def app(scope: MutableMapping[str, Any], receive: Receive, send: Callable[[Message], Awaitable[None]]) -> None:
    target = dict(scope.get("headers", ())).get(b"x-amz-target", b"")
    if not target.endswith(b".ReceiveMessage"):
        await ministack(scope, receive, send)
        return
    chunks = []
    while True:
        message = await receive()
        chunks.append(message.get("body", b""))
        if not message.get("more_body"):
            break
    body = b"".join(chunks)
    with suppress(DecodeError, TypeError):  # what is not JSON is for ministack to refuse
        body = json.encode({**json.decode(body), "VisibilityTimeout": PATIENCE})
    headers = [(name, value) for name, value in scope["headers"] if name != b"content-length"]
    scope = {**scope, "headers": [*headers, (b"content-length", str(len(body)).encode())]}
    told = False

    async def once() -> Message:
        nonlocal told
        if told:
            return await receive()
        told = True
        return {"type": "http.request", "body": body, "more_body": False}

    await ministack(scope, once, send)
