"""Two locks beside the file, so that one server at a time has it.

`<file>.lock` is held by the server itself and goes with it at once. `<file>.writer` is held by its writer process, which may
still be writing a last batch when the server has been killed: a new server waits for that before it reads.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import time

from pelton.store.port import StoreBusy

PAUSE = 0.02  # seconds between looks at the writer's lock


class Locks:
    def __init__(self, path: str) -> None:
        self._path = path
        self._server = -1
        self.writer = -1

    async def take(self, wait: float) -> None:
        """Both. Raises StoreBusy at once when a server lives, and after `wait` seconds when only its writer does."""
        self._server = _open(f"{self._path}.lock")
        try:
            if not _try(self._server):
                raise StoreBusy(
                    f"{self._path} is open in another server (process {_said(self._server)}): "
                    "stop that one first, or give this one another path"
                )
            _say(self._server, os.getpid())
            await self.take_writer(wait)
        except BaseException:
            self.release()
            raise

    async def take_writer(self, wait: float) -> None:
        """The writer's alone, for a new writer. Raises StoreBusy when another one still has it after `wait` seconds."""
        if self.writer < 0:
            self.writer = _open(f"{self._path}.writer")
        end = time.monotonic() + wait
        while not _try(self.writer):
            if time.monotonic() >= end:
                raise StoreBusy(
                    f"the writer of an earlier server (process {_said(self.writer)}) still has {self._path} "
                    f"after {wait:g} s: wait until it has ended, or end it"
                )
            await asyncio.sleep(PAUSE)

    def hand_over(self, pid: int) -> None:
        """The writer process has the descriptor now, and the lock with it."""
        _say(self.writer, pid)
        os.close(self.writer)
        self.writer = -1

    def release(self) -> None:
        for descriptor in (self.writer, self._server):
            if descriptor >= 0:
                os.close(descriptor)
        self.writer = self._server = -1


def _open(path: str) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _try(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _say(descriptor: int, pid: int) -> None:
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, str(pid).encode(), 0)


def _said(descriptor: int) -> str:
    return os.pread(descriptor, 20, 0).decode("ascii", "replace") or "unknown"
