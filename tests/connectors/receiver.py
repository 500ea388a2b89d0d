"""A receiver of webhooks that does as it is told by each body."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


class Receiver:
    """Answers each body with the status it asks for (`500`, `2` asks for 200), and remembers what came."""

    def __init__(self) -> None:
        self.bodies: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.at_once = 0
        self.most_at_once = 0
        self.url = ""

    async def hook(self, request: Request) -> Response:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        body = (await request.body()).decode()
        await asyncio.sleep(0)  # lets the others in, if they were sent
        self.at_once -= 1
        self.bodies.append(body)
        self.headers.append(dict(request.headers))
        status = int(body.split()[0])
        more = {"Retry-After": "7"} if status in (429, 503) else {"Location": "/hook"} if status == 302 else {}
        return Response(f"because\n of {status}\0\x1b[31m" + "x" * 10_000, status, more)


@asynccontextmanager
async def running_receiver() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    app = Starlette(routes=[Route("/hook", receiver.hook, methods=["POST"])])
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    receiver.url = f"http://127.0.0.1:{listener.getsockname()[1]}/hook"
    try:
        yield receiver
    finally:  # else a test that fails never ends
        server.should_exit = True
        await serving
