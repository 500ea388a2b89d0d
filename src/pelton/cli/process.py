"""A server in a child process, for the demo: started on a free port, whose URL is read from its log, and stopped."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from pathlib import Path
from typing import Any

from msgspec import DecodeError, json

START_SECONDS = 60.0  # it takes about one
STOP_SECONDS = 30.0  # a server allows itself nine; the machine may be busy


class ServerDied(Exception):
    """The server did not start, or did not stop. The text contains the end of its log."""


class ServerProcess:
    """`arguments`: for `pelton serve`. The log is read continuously, and its last lines are kept in `log`."""

    def __init__(self, data: Path, *arguments: str, port: int = 0, environment: dict[str, str] | None = None) -> None:
        command = [sys.executable, "-m", "pelton.cli", "serve", "--data", str(data), "--port", str(port), "--log-format", "json"]
        self._process = subprocess.Popen(  # noqa: S603 - our own program, with our own arguments
            [*command, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={**os.environ, **(environment or {})},
            start_new_session=True,  # Ctrl-C goes to the caller only, which then stops the server
        )
        self.log: deque[str] = deque(maxlen=200)
        self._ready: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.address = ""
        self.seconds = 0.0

    @property
    def pid(self) -> int:
        return self._process.pid

    def _read(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self.log.append(line.decode(errors="replace").rstrip())
            try:
                found = json.decode(line)
            except (DecodeError, UnicodeDecodeError):
                continue
            if isinstance(found, dict) and found.get("event") == "ready":
                self._ready.put(found)
        self._ready.put(None)

    def wait_ready(self) -> str:
        """The server's URL. Raises ServerDied."""
        began = time.monotonic()
        try:
            found = self._ready.get(timeout=START_SECONDS)
        except queue.Empty:
            found = None
        if found is None:
            self.kill()
            raise ServerDied("the server did not start:\n" + "\n".join(self.log))
        self.seconds = time.monotonic() - began
        self.address = str(found["address"])
        return self.address

    def stop(self) -> int:
        """Asks it to stop, and returns its exit code. Raises ServerDied if it does not stop."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            code = self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise ServerDied(f"the server did not stop within {STOP_SECONDS:g} s:\n" + "\n".join(self.log)) from None
        self._close()
        return code

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(STOP_SECONDS)
        self._close()

    def _close(self) -> None:
        self._reader.join(5.0)
        if self._process.stderr is not None:
            self._process.stderr.close()
