"""The committer as its helpers see it: the five calls that the loader and the pending signals make."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from pelton.runtime.cache.shared import Shared
from pelton.runtime.commit.requests import CommitRequest
from pelton.store.group import Committed, Group


class Agent(Protocol):
    @property
    def stopping(self) -> bool: ...

    def enqueue(self, request: CommitRequest) -> None:
        """Queues a request. Raises PeltonError if the queue is full or the server is stopping."""
        ...

    def write(self, fill: Callable[[Group], None]) -> asyncio.Future[Committed]:
        """`fill` adds rows to a separate group in the next batch."""
        ...

    def wait(self, request: CommitRequest, delay: float) -> None:
        """The request is performed again after `delay` seconds."""
        ...

    def spawn(self, work: Coroutine[Any, Any, None]) -> None: ...
    def release(self, shared: Shared) -> None:
        """Performs next, in order, the requests that waited for the run or correlation point."""
        ...
