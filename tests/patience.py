"""Time in tests. A test must pass on a machine that is busy with something else, so none depends on how quickly that machine is.

* What must happen is waited for until it has happened: `eventually`, `happens`. Only what hangs is too late.
* A promise about time is tested on a clock that the test moves, or by what happens before what.
* Where only the real clock will do, a test may be repeated: `within` says that this time was too long, `retried_when_slow` has
  the test try again. A slow program is slow each time.
* Work is measured as processor time: `at_most` of this thread, `worked` of a server.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import inspect
import os
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

PATIENCE = 60.0  # seconds for what takes milliseconds on a quiet machine; shorter than the limit of a test
LOOK = 0.02  # seconds between two looks at another process, which offers nothing to wait on
TRIES = 6
TICK = os.sysconf("SC_CLK_TCK")

Test = TypeVar("Test", bound=Callable[..., Any])


class Slow(AssertionError):
    """Something took longer than it should, by the clock on the wall."""


def eventually(holds: Callable[[], Any], what: str = "it comes about", seconds: float = PATIENCE, look: float = LOOK) -> Any:
    """What `holds` answers as soon as it is true. Fails with `what` and the last answer."""
    deadline = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}; last: {found!r}"
        time.sleep(look)
    return found


async def happens(
    holds: Callable[[], Awaitable[Any]] | Callable[[], Any],
    what: str = "it comes about",
    seconds: float = PATIENCE,
    look: float = 0.002,
) -> Any:
    """The same without holding up the event loop; `holds` may be a coroutine function."""
    deadline = time.monotonic() + seconds
    while True:
        found = holds()
        if inspect.isawaitable(found):
            found = await found
        if found:
            return found
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}; last: {found!r}"
        await asyncio.sleep(look)


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Raises Slow when what is inside took longer. For tests that are `retried_when_slow`."""
    began = time.monotonic()
    yield
    promised(time.monotonic() - began, seconds)


def promised(took: float, most: float) -> None:
    """Raises Slow when it took as long as `most`, in whatever unit both are: for times that the program itself notes."""
    if took >= most:
        raise Slow(f"it took {took:.3f}; the promise is {most:g}")


def retried_when_slow(test: Test) -> Test:
    """Passes when one try of some is quick enough. Anything but Slow fails at once."""
    if inspect.iscoroutinefunction(test):

        @functools.wraps(test)
        async def retried(*arguments: Any, **more: Any) -> Any:
            for _ in range(TRIES - 1):
                try:
                    return await test(*arguments, **more)
                except Slow:
                    continue
            return await test(*arguments, **more)

    else:

        @functools.wraps(test)
        def retried(*arguments: Any, **more: Any) -> Any:
            for _ in range(TRIES - 1):
                try:
                    return test(*arguments, **more)
                except Slow:
                    continue
            return test(*arguments, **more)

    return retried  # type: ignore[return-value]


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Fails when this thread works longer than that inside."""
    with unsearched():
        began = time.thread_time()
        yield
        took = time.thread_time() - began
    assert took < seconds, f"it took {took:.3f} s of processor time"


@contextmanager
def unsearched() -> Iterator[None]:
    """The garbage collector passes over what other tests have left in memory, which may take it a quarter of a second."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def worked(pid: int) -> float:
    """Seconds of processor time that a process's main thread has had, where that can be seen."""
    try:
        fields = Path(f"/proc/{pid}/task/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / TICK
