"""The system's own notices of changes in directories, from the library watchfiles, in a thread of their own.

Directories are listed one by one, not by the library's own descent: that follows symbolic links, and one that leads to the root
of the machine would have all of it watched. Notices are hints: they may come late, twice, or (when too many come at once) not at
all; what is true is found by looking.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from asyncio import AbstractEventLoop
from collections.abc import Callable, Sequence
from typing import Any

GATHER = 200  # milliseconds for which notices are gathered at most
STEP = 50  # milliseconds of quiet that end the gathering; also how often the end is looked for
ALIVE = 100  # milliseconds after which silence is said, the first time to say that from now on nothing is missed


class FileNotices:
    """Begun by `start`. On the loop: `live()` once every directory is being watched, `noticed(paths)` for each gathering, and at
    most once `broken(why)`, after which nothing comes."""

    def __init__(
        self,
        loop: AbstractEventLoop,
        folders: Sequence[str],
        noticed: Callable[[set[str]], None],
        live: Callable[[], None],
        broken: Callable[[str], None],
    ) -> None:
        self._loop = loop
        self._folders = folders
        self._noticed = noticed
        self._live = live
        self._broken = broken
        self._ended = threading.Event()

    def start(self) -> None:
        threading.Thread(target=self._run, name="file notices", daemon=True).start()

    def stop(self) -> None:
        """Does not wait: nothing is called any more."""
        self._ended.set()

    def _run(self) -> None:
        from watchfiles import watch  # noqa: PLC0415 - 50 ms that only servers with watched directories need

        logging.getLogger("watchfiles").setLevel(logging.WARNING)  # it says every gathering
        live = False
        try:
            for changes in watch(
                *self._folders,
                watch_filter=None,
                debounce=GATHER,
                step=STEP,
                rust_timeout=ALIVE,
                yield_on_timeout=True,
                stop_event=self._ended,
                recursive=False,
                raise_interrupt=False,
                ignore_permission_denied=True,
            ):
                if not live:
                    live = True
                    self._call(self._live)
                if changes:
                    self._call(self._noticed, {path for _, path in changes})
        except Exception as error:  # a limit of the system, a directory that went, a name that the library cannot say
            self._call(self._broken, f"{type(error).__name__}: {error}")

    def _call(self, callback: Callable[..., None], *values: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: the server has ended
            self._loop.call_soon_threadsafe(lambda: None if self._ended.is_set() else callback(*values))
