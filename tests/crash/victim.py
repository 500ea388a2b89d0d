"""A server that is killed: a real `pelton serve` process, started again and again on the same directory and port."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import signal
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections import deque
from collections.abc import Mapping
from pathlib import Path

from tests.sqs_server import CREDENTIALS, free_port

START_SECONDS = 240.0  # it needs about one; the machine may be busy with much else
WRITER_SECONDS = 60.0  # that a writer without its server may take to finish its last batch and end


class Broken(Exception):
    """The server did something that no kill explains. The text says what, with the end of its log."""


class Victim:
    """`ready` is set while the server of the moment has said that it is."""

    def __init__(self, directory: Path, sqs: str) -> None:
        self.data = directory / "data"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.ready = asyncio.Event()
        self.log: deque[str] = deque(maxlen=60)
        self.starts = 0
        self._directory = directory
        self._sqs = sqs
        self._process: Process | None = None
        self._reading: asyncio.Task[None] | None = None

    @property
    def process(self) -> Process:
        assert self._process is not None, "the server has not been started"
        return self._process

    async def spawn(self) -> None:
        """Returns at once; see `wait_ready`."""
        self.ready.clear()
        self.starts += 1
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "pelton.cli", "serve", "--port", str(self.port), "--data", str(self.data)),
            *("--log-format", "json", "--sqs-endpoint", self._sqs, "--sqs-region", CREDENTIALS["AWS_REGION"]),
            cwd=self._directory, env=self._environment(), stderr=PIPE, stdout=DEVNULL, stdin=DEVNULL, limit=1 << 20,
        )  # fmt: skip
        self._reading = asyncio.create_task(self._read(self._process))

    def _environment(self) -> Mapping[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "PELTON_"))}
        return {**kept, **CREDENTIALS, "AWS_EC2_METADATA_DISABLED": "true"}

    async def _read(self, process: Process) -> None:
        assert process.stderr is not None
        async for line in process.stderr:
            text = line.decode(errors="replace").rstrip()
            self.log.append(text)
            if not self.ready.is_set() and _event(text) == "ready":
                self.ready.set()
        self.ready.clear()

    async def wait_ready(self) -> float:
        """Seconds that it took. Raises Broken when the server ends, or says nothing in time."""
        began = time.monotonic()
        ended = asyncio.ensure_future(self.process.wait())
        ready = asyncio.ensure_future(self.ready.wait())
        done, pending = await asyncio.wait({ended, ready}, timeout=START_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        for each in pending:
            each.cancel()
        if ready not in done:
            raise Broken(self.said(f"the server did not start (exit code {self.process.returncode})"))
        return time.monotonic() - began

    def said(self, what: str) -> str:
        return f"{what}; its log ends with\n" + "\n".join(list(self.log)[-12:])

    async def kill(self) -> None:
        """SIGKILL for the server alone. Raises Broken unless its writer ends by itself."""
        self.process.kill()
        await self.process.wait()
        await self._end_of_log()
        deadline = time.monotonic() + WRITER_SECONDS
        while not self._writer_gone():
            if time.monotonic() > deadline:
                raise Broken(f"the writer {self.writer()} lives {WRITER_SECONDS:g} s after its server was killed")
            await asyncio.sleep(0.01)  # another process's end: there is nothing to wait on

    def writer(self) -> int:
        """The writer's process id; 0 = there is none."""
        for path in self.data.rglob("*.writer"):
            text, _, _life = path.read_text().partition(" ")
            return int(text) if text.isdigit() and not self._writer_gone() else 0
        return 0

    def _writer_gone(self) -> bool:
        """It holds a lock for as long as it lives."""
        for path in self.data.rglob("*.writer"):
            with path.open("rb") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    return False
        return True

    async def kill_writer(self) -> int:
        """SIGKILL for the writer alone; gives its process id."""
        pid = self.writer()
        if not pid:
            raise Broken(self.said("the running server has no writer process"))
        os.kill(pid, signal.SIGKILL)
        return pid

    async def stop(self) -> None:
        """Gently. Raises Broken when it does not end, or not with 0."""
        if self.process.returncode is None:
            self.process.terminate()
        try:
            async with asyncio.timeout(60):
                code = await self.process.wait()
        except TimeoutError:
            self.process.kill()
            await self.process.wait()
            raise Broken(self.said("the server did not stop within 20 s")) from None
        await self._end_of_log()
        if code != 0:
            raise Broken(self.said(f"the server stopped with {code}"))

    async def abandon(self) -> None:
        """For the end of a test that failed: nothing is left running."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()
        await self._end_of_log()

    async def _end_of_log(self) -> None:
        self.ready.clear()
        if self._reading is not None:
            await self._reading
            self._reading = None


def _event(line: str) -> str:
    try:
        found = json.loads(line)
    except ValueError:
        return ""
    return str(found.get("event", "")) if isinstance(found, dict) else ""
