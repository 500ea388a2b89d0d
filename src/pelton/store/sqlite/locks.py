"""Two lock files beside the database, so that only one server at a time uses it.

`<file>.lock` is held by the server itself and released as soon as it ends. `<file>.writer` is held by its writer process, which
may still be writing a last batch after the server was killed; a new server waits for that before it reads. It also says which
life of the file was the last (see `lives`).
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
        """Takes both. Raises StoreBusy immediately if a server is alive, and after `wait` seconds if only its writer is."""
        self._server = _open(f"{self._path}.lock")
        try:
            if not _try(self._server):
                raise StoreBusy(
                    f"{self._path} is open in another server (process {_said(self._server)}): "
                    "stop that server first, or use a different path for this one"
                )
            _say(self._server, str(os.getpid()))
            await self.take_writer(wait)
        except BaseException:
            self.release()
            raise

    async def take_writer(self, wait: float) -> None:
        """Takes only the writer's lock, for a new writer. Raises StoreBusy if another one still has it after `wait` seconds."""
        if self.writer < 0:
            self.writer = _open(f"{self._path}.writer")
        end = time.monotonic() + wait
        while not _try(self.writer):
            if time.monotonic() >= end:
                raise StoreBusy(
                    f"the writer of an earlier server (process {_said(self.writer)}) still has {self._path} "
                    f"after {wait:g} s: wait until it has ended, or kill it"
                )
            await asyncio.sleep(PAUSE)

    def last_life(self) -> str:
        """The last life of the file that a writer was started for; "" if none is known."""
        _, _, life = _words(self.writer).partition(" ")
        return life

    def hand_over(self, pid: int, life: str) -> None:
        """Called when the writer process has the descriptor, and with it the lock."""
        _say(self.writer, f"{pid} {life}".rstrip())
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


def _say(descriptor: int, words: str) -> None:
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, words.encode(), 0)


def _words(descriptor: int) -> str:
    return os.pread(descriptor, 60, 0).decode("ascii", "replace")


def _said(descriptor: int) -> str:
    return _words(descriptor).partition(" ")[0] or "unknown"
