"""Who watches over the tasks of a server: none ends without a word, and a server is never half alive.

There are three kinds of tasks, all started through `OwnedTasks`:
* `spawn`: one job among many. What it fails with is logged and counted, and ends this job only.
* `spawn_vital`: a job on whose end others rely. If it fails, the server ends.
* `keep`: a task as long as the server's life. If it fails, is cancelled by someone else or just ends, the server ends.

To end, with the reason, is the remedy: what starts servers starts another, which goes on from the store. `/health` says it first.
The same goes for what escapes from a callback of the loop in Pelton's core, and for a loop that no longer turns: a thread looks
for its heartbeat.

The owners of tasks that are made in the `with` block of a supervisor are under it.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import traceback
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import ContextVar, Token
from typing import Any

import structlog

BEAT = 1.0  # seconds
LATE = 10  # beats that are missing when it is said
STUCK = 120  # beats that are missing when the process ends
STUCK_CODE = 4  # of a process that could not go on
FIRST_DELAY, MOST_DELAY = 0.5, 30.0  # seconds between the tries of what must be done
CORE = ("pelton.runtime.", "pelton.store.")

log = structlog.get_logger("pelton.runtime")

_current: ContextVar[Supervisor | None] = ContextVar("supervisor", default=None)


class Supervisor:
    """`failure`: why the server cannot go on; "" while it can. `stopping`: from now on tasks may end."""

    def __init__(self) -> None:
        self.failure = ""
        self.fallen = asyncio.Event()
        self.stopping = False
        self.owners: list[OwnedTasks] = []
        self._tokens: list[Token[Supervisor | None]] = []

    def __enter__(self) -> Supervisor:
        self._tokens.append(_current.set(self))
        return self

    def __exit__(self, *_: object) -> None:
        _current.reset(self._tokens.pop())

    @property
    def kept(self) -> list[str]:
        """The names of the tasks that live as long as the server."""
        return sorted(name for owner in self.owners for name in owner.kept)

    def fall(self, what: str, error: BaseException | None) -> None:
        """The server cannot go on: `what` has failed, or has ended (None)."""
        if self.stopping:
            return
        reason = "it ended" if error is None else f"{type(error).__name__}: {error}".rstrip(": ")
        log.critical("a part that the server cannot be without has failed", part=what, reason=reason, exc_info=error)
        if not self.failure:
            self.failure = f"{what}: {reason}"
        self.fallen.set()

    def stats(self) -> dict[str, Any]:
        return {"failure": self.failure, "kept": len(self.kept), "tasks": sum(map(len, self.owners))}

    # ---- the loop

    def handle(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """An exception handler for the loop. What escapes from a connection or from a task is that one's trouble; what escapes
        from a callback in the core leaves something there undone."""
        error = context.get("exception")
        of_one = any(context.get(name) is not None for name in ("transport", "protocol", "task", "future", "asyncgen"))
        if isinstance(error, Exception) and not of_one and _in_core(error):
            self.fall(context.get("message") or "a callback", error)
        else:
            log.error("not caught", message=context.get("message"), exc_info=error)


def guarded(what: str, call: Callable[[], None]) -> Callable[[], None]:
    """The callback, with what it raises taken for the end of the server whose supervisor is current; without one it is as
    before."""
    supervisor = _current.get()
    if supervisor is None:
        return call

    def guard() -> None:
        try:
            call()
        except Exception as error:
            supervisor.fall(what, error)

    return guard


def _in_core(error: BaseException) -> bool:
    frames = traceback.walk_tb(error.__traceback__)
    return any(frame.f_globals.get("__name__", "").startswith(CORE) for frame, _ in frames)


async def insist(what: str, call: Callable[[], Awaitable[object]]) -> None:
    """Calls again until it succeeds, for what a passing trouble of the store must not leave undone."""
    delay = FIRST_DELAY
    while True:
        try:
            await call()
            return
        except Exception as error:
            log.warning("will be tried again", what=what, error=f"{type(error).__name__}: {error}")
        await asyncio.sleep(delay)
        delay = min(2 * delay, MOST_DELAY)


class OwnedTasks:
    """Tasks with an owner: none is left running, and none fails silently. See above for the kinds."""

    def __init__(self, owner: str) -> None:
        self.owner = owner
        self.failures = 0
        self._tasks: set[asyncio.Task[Any]] = set()
        self._vital: set[asyncio.Task[Any]] = set()
        self._kept: dict[asyncio.Task[Any], Callable[[], bool]] = {}
        self._stopping = False
        self._supervisor = _current.get()
        if self._supervisor is not None:
            self._supervisor.owners.append(self)

    def __len__(self) -> int:
        return len(self._tasks)

    @property
    def kept(self) -> list[str]:
        return [task.get_name() for task in self._kept]

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work, name=f"{self.owner}: {name}")
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def spawn_vital(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = self.spawn(work, name)
        self._vital.add(task)
        return task

    def keep(self, work: Coroutine[Any, Any, None], name: str, may_end: Callable[[], bool] | None = None) -> asyncio.Task[None]:
        """`may_end()`: whether its end is in order now."""
        self._stopping = False
        task = self.spawn(work, name)
        self._kept[task] = may_end or (lambda: False)
        return task

    async def stop(self, grace: float = 0.0) -> None:
        """Waits for at most `grace` seconds, then cancels the remaining tasks and waits for them."""
        self._stopping = True
        current = asyncio.current_task()
        tasks = [task for task in self._tasks if task is not current]
        if tasks and grace > 0:
            await asyncio.wait(tasks, timeout=grace)
        while tasks := [task for task in self._tasks if task is not current]:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=1.0)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        vital = task in self._vital
        self._vital.discard(task)
        may_end = self._kept.pop(task, None)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self.failures += 1
            log.error("task failed", task=task.get_name(), exc_info=error)
        if self._supervisor is None or self._stopping:
            return
        if (vital and error is not None) or (may_end is not None and (error is not None or not may_end())):
            self._supervisor.fall(task.get_name(), error)


class Watchdog:
    """Ends the process when the loop no longer turns. Only beats that this thread could have seen are missed: a process that was
    stopped as a whole, or a machine that slept, has missed none. `end`: what is done then, for tests."""

    def __init__(self, late: int = LATE, stuck: int = STUCK, end: Callable[[int], object] = os._exit) -> None:
        self.behind = 0.0  # seconds that the last beat was late
        self.missed = 0
        self._late, self._stuck, self._end = late, stuck, end
        self._over = threading.Event()
        self._loop_thread = threading.get_ident()

    def start(self) -> None:
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    def stop(self) -> None:
        self._over.set()

    async def beat(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + BEAT
            await asyncio.sleep(BEAT)
            self.behind = max(0.0, loop.time() - due)
            self.missed = 0

    def _watch(self) -> None:
        while not self._over.wait(BEAT):
            self.tick()

    def tick(self) -> None:
        self.missed += 1
        if self.missed not in {self._late, self._stuck}:
            return
        frame = sys._current_frames().get(self._loop_thread)
        where = traceback.format_stack(frame)[-8:] if frame is not None else []
        log.critical("the event loop does not turn", seconds=round(self.missed * BEAT), where="".join(where))
        if self.missed == self._stuck:
            self._end(STUCK_CODE)
