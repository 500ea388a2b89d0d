"""The thread that checkpoints: it ends when it is told to, at whatever moment that is."""

from __future__ import annotations

import threading
from pathlib import Path

import apsw
import pytest

from pelton.store.sqlite.checkpoint import Checkpointer


class ClosedMeanwhile(threading.Event):
    """Just before it is cleared, somebody else closes the checkpointer: what is cleared then is the word to end."""

    def __init__(self, over: threading.Event) -> None:
        super().__init__()
        self._over = over

    def clear(self) -> None:
        self._over.set()
        self.set()
        super().clear()


def test_a_close_between_two_looks_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(tmp_path / "a.db")
    apsw.Connection(path).execute("CREATE TABLE t (a)")
    begun = threading.Event()
    work = Checkpointer._work

    def when_ready(self: Checkpointer) -> None:
        begun.wait(30)
        work(self)

    monkeypatch.setattr(Checkpointer, "_work", when_ready)
    checkpointer = Checkpointer(path, 1_000)
    checkpointer._dirty = ClosedMeanwhile(checkpointer._over)
    checkpointer.wake()
    begun.set()
    checkpointer._thread.join(timeout=30)
    assert not checkpointer._thread.is_alive()


def test_a_close_ends_a_thread_that_has_nothing_to_do(tmp_path: Path) -> None:
    path = str(tmp_path / "a.db")
    apsw.Connection(path).execute("CREATE TABLE t (a)")
    checkpointer = Checkpointer(path, 1_000)
    checkpointer.close()
    assert not checkpointer._thread.is_alive()
