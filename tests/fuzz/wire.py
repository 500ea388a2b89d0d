"""A connection that sends whatever it is given, and reads an answer."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

PATIENCE = 120.0  # seconds for an answer: what hangs is a fault, what is slow is not


class Input(NamedTuple):
    method: str
    target: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes

    def wire(self) -> bytes:
        lines = [self.method.encode() + b" " + self.target + b" HTTP/1.1", b"host: localhost"]
        lines += [name + b": " + value for name, value in self.headers]
        lines.append(b"content-length: " + str(len(self.body)).encode())
        return b"\r\n".join([*lines, b"", self.body])


class Answer(NamedTuple):
    status: int
    kind: str  # content type
    headers: dict[str, str]
    body: bytes


class Broken(Exception):
    """There was no answer, or one that is none."""


class Wire:
    """One connection at a time, made anew when the server closes it."""

    def __init__(self, host: str, port: int) -> None:
        self._to = host, port
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def ask(self, given: Input) -> Answer:
        """Raises Broken."""
        try:
            async with asyncio.timeout(PATIENCE):
                return await self._ask(given)
        except (TimeoutError, OSError, EOFError, ValueError) as error:
            await self.close()
            raise Broken(f"no answer: {type(error).__name__}: {error}") from error

    async def _ask(self, given: Input) -> Answer:
        if self._writer is None:
            self._reader, self._writer = await asyncio.open_connection(*self._to, limit=1 << 20)
        assert self._reader is not None
        self._writer.write(given.wire())
        await self._writer.drain()
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        status = int(head[0].split(" ")[1])
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
        body = b""
        if given.method != "HEAD" and status not in {204, 304}:
            if headers.get("transfer-encoding") == "chunked":
                while size := int((await self._reader.readline()).strip(), 16):
                    body += (await self._reader.readexactly(size + 2))[:-2]
                await self._reader.readline()
            else:
                body = await self._reader.readexactly(int(headers.get("content-length", "0")))
        if headers.get("connection", "").lower() == "close":
            await self.close()
        return Answer(status, headers.get("content-type", ""), headers, body)

    async def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._reader = self._writer = None
