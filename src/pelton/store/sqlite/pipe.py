"""The main process's end of the pipe to the writer: batches out, outcomes back, in the same order.

Several batches may be in flight. If the writer ends, every waiting call and every later one raises StoreFailed; which of the
batches in flight are in the file can then only be determined by opening it again.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import subprocess
import sys
from collections import deque
from pathlib import Path
from typing import Any, cast

from msgspec.msgpack import Decoder, Encoder

from pelton.store.port import StoreFailed
from pelton.store.sqlite.ops import BatchOps

LENGTH = struct.Struct("<Q")
START_WAIT = 30  # seconds for the writer to say that it is ready
END_WAIT = 60  # seconds for the last batches and the last checkpoint


class WriterPipe(asyncio.Protocol):
    def __init__(self) -> None:
        self._waiting: deque[asyncio.Future[list[Any]]] = deque()
        self._buffer = bytearray()
        self._encode = Encoder().encode
        self._decode = Decoder(list[Any]).decode
        self._transport: asyncio.Transport | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._closing = False
        self.failure = ""

    @property
    def pid(self) -> int:
        return self._process.pid if self._process is not None else 0

    async def start(self, path: str, durability: str, lock: int) -> dict[str, Any]:
        """Starts the process; returns its settings when it is ready. No fork: the process inherits only two descriptors."""
        ours, theirs = socket.socketpair()
        try:
            arguments = [sys.executable, "-m", "pelton.store.sqlite.writer", str(theirs.fileno()), str(lock), path, durability]
            self._process = subprocess.Popen(  # noqa: ASYNC220, S603 - a few milliseconds, once; our own program
                arguments, stdin=subprocess.DEVNULL, pass_fds=(theirs.fileno(), lock), env=_environment()
            )
        finally:
            theirs.close()
        ours.setblocking(False)
        ready: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        self._waiting.append(ready)
        await asyncio.get_running_loop().create_connection(lambda: self, sock=ours)
        try:
            settings: dict[str, Any] = (await asyncio.wait_for(ready, START_WAIT))[1]
        except TimeoutError:
            raise StoreFailed(
                f"the writer process {self.pid} was not ready within {START_WAIT} s: check its error output"
            ) from None
        return settings

    def encode(self, number: int, entangled: bool, now: int, count: int, ops: BatchOps) -> bytes:
        """A batch of `count` groups as bytes to send. Raises what the encoder raises for rows that cannot be sent."""
        return self._encode((number, entangled, now, count, ops))

    def send(self, body: bytes) -> asyncio.Future[list[Any]]:
        """Returns a future of [number, lost texts or None, error, whether the writer now ends].

        Raises StoreFailed if the writer is gone."""
        if self.failure or self._transport is None:
            raise StoreFailed(self.failure or "the store is not open")
        future: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        self._transport.writelines((LENGTH.pack(len(body)), body))
        return future

    async def close(self) -> None:
        """Waits for what is under way, then lets the writer end."""
        self._closing = True
        pending = [future for future in self._waiting if not future.done()]
        if pending:
            await asyncio.wait(pending, timeout=END_WAIT)
        if self._transport is not None:
            self._transport.close()
            self._transport = None
        self.failure = self.failure or "the store is closed"
        process = self._process
        if process is not None:
            try:
                await asyncio.to_thread(process.wait, END_WAIT)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    async def end(self) -> None:
        """Kills the process immediately, and waits until it is gone."""
        self._closing = True
        if self._transport is not None:
            self._transport.abort()
            self._transport = None
        process = self._process
        if process is not None:
            process.kill()
            await asyncio.to_thread(process.wait)

    # ---- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own is not a subclass

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer
        buffer += data
        start = 0
        while len(buffer) - start >= LENGTH.size:
            size = LENGTH.unpack_from(buffer, start)[0]
            end = start + LENGTH.size + size
            if len(buffer) < end:
                break
            answer = self._decode(memoryview(buffer)[start + LENGTH.size : end])
            start = end
            future = self._waiting.popleft()
            if not future.done():
                future.set_result(answer)
        if start:
            del buffer[:start]

    def connection_lost(self, error: Exception | None) -> None:
        if not self._closing:
            code = self._process.poll() if self._process is not None else None
            self.failure = f"the writer process {self.pid} ended" + (f" with status {code}" if code is not None else "")
            self.failure += ": what was not acknowledged may or may not be in the file"
        else:
            self.failure = self.failure or "the store is closed"
        while self._waiting:
            future = self._waiting.popleft()
            if not future.done():
                future.set_exception(StoreFailed(self.failure))
        self._transport = None


def _environment() -> dict[str, str]:
    """This process's environment, with the path of this package, which the program itself may have put on the import path."""
    root = str(Path(__file__).parents[3])
    known = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{known}" if known else root}
