"""Servers under measurement: real `pelton serve` processes on directories of their own, and what /proc says of them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
TICK = os.sysconf("SC_CLK_TCK")
START_SECONDS = 60.0


def tree(pid: int) -> list[int]:
    """A process and all its descendants."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, IndexError):
                continue  # it has ended
            children.setdefault(parent, []).append(int(entry.name))
    found = [pid]
    for each in found:
        found.extend(children.get(each, []))
    return found


def cpu(pids: list[int]) -> float:
    """Seconds of processor time of processes that live, and of children that they have waited for."""
    total = 0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        total += sum(int(field) for field in fields[11:15])
    return total / TICK


def tree_cpu(pid: int) -> float:
    return cpu(tree(pid))


def memory(pid: int) -> tuple[float, float]:
    """Megabytes of a tree: resident (shared pages counted in each process), and proportional (counted once)."""
    resident = proportional = 0
    for each in tree(pid):
        try:
            lines = Path(f"/proc/{each}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        for line in lines:
            name, _, rest = line.partition(":")
            if name == "Rss":
                resident += int(rest.split()[0])
            elif name == "Pss":
                proportional += int(rest.split()[0])
    return resident / 1024, proportional / 1024


class Pelton:
    """`ready`: seconds from starting the command to its first line that says so. What it logs last is kept for errors."""

    def __init__(self, directory: Path, *options: str, port: int = 0) -> None:
        self.directory = directory
        self.data = directory / "data"
        self.options = options
        self.port = port
        self.url = ""
        self.ready = 0.0
        self.lines: deque[str] = deque(maxlen=200)
        self._process: subprocess.Popen[str] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> Pelton:
        command = [sys.executable, "-m", "pelton.cli", "serve", "--port", str(self.port), "--data", str(self.data)]
        command += ["--log-format", "json", *self.options]
        began = time.perf_counter()
        self._process = subprocess.Popen(
            command, cwd=self.directory, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL, text=True
        )
        found = threading.Event()
        threading.Thread(target=self._read, args=(self._process, found, began), daemon=True).start()
        if not found.wait(START_SECONDS) or not self.url:
            self.kill()
            raise RuntimeError("the server did not start:\n" + "\n".join(self.lines))
        return self

    def _read(self, process: subprocess.Popen[str], found: threading.Event, began: float) -> None:
        assert process.stderr is not None
        for line in process.stderr:
            self.lines.append(line.rstrip())
            if not found.is_set():
                entry = parsed(line)
                if entry.get("event") == "ready":
                    self.ready = time.perf_counter() - began
                    self.url = entry["address"]
                    self.port = int(self.url.rpartition(":")[2])
                    found.set()
        found.set()

    def stop(self) -> None:
        """Gently: everything is in the file afterwards."""
        process = self._process
        if process is None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.kill()
        self._process = None

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def size(self) -> int:
        """Bytes of the data directory, logs of the write-ahead kind included."""
        return sum(each.stat().st_size for each in self.data.rglob("*") if each.is_file())


def parsed(line: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
