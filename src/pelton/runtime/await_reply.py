"""Callers who wait for an answer that a step in the middle of a run gives: they name a request, and the step sends to its name.

The request is a row, so the answer waits for its caller wherever the run is advanced, and the first answer counts, since it fills
the row. It is gone when it was read, or has expired. A commit on this server wakes the caller at once; one on another server is
seen by a look each second.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple, Protocol

from msgspec import json

from pelton.errors import Code, PeltonError
from pelton.kernel.expressions.base import JSON
from pelton.runtime.watches import Watches
from pelton.store.group import Committed, Group, ReplyWrite
from pelton.store.packing import decode_any, pack
from pelton.store.rows import Delivery, ReplyRow

LONGEST = 250  # characters of a request's name
KEPT = 600_000  # milliseconds that a request is kept at most
LOOK = 1.0  # seconds between looks


class ReplyFound(NamedTuple):
    body: JSON


class ReplyStore(Protocol):
    def now(self) -> int: ...
    async def reply(self, ns: str, request: str) -> ReplyRow | None: ...


class AwaitedReplies:
    def __init__(
        self, store: ReplyStore, watches: Watches, write: Callable[[Callable[[Group], None]], Awaitable[Committed]]
    ) -> None:
        self._store = store
        self._watches = watches
        self._write = write

    async def expect(self, ns: str, request: str, keep: int) -> None:
        """`keep`: milliseconds after which it expires. Raises PeltonError "exists" while another caller waits under the name."""
        if not 0 < len(request) <= LONGEST:
            raise PeltonError(Code.INVALID, f"the name of a request has 1 to {LONGEST} characters, not {len(request)}", "request")
        if not 0 < keep <= KEPT:
            raise PeltonError(Code.INVALID, f"a request is kept for 1 to {KEPT} milliseconds, not {keep}", "keep")
        now = self._store.now()
        row = ReplyRow(ns, request, b"", now + keep)

        def fill(group: Group) -> None:
            group.old_requests.append(now)
            group.requests.append(row)

        known = await self._store.reply(ns, request)
        if known is not None and known.expires <= now:
            await self._remove(ns, request)
        if not (await self._write(fill)).ok:
            raise PeltonError(Code.EXISTS, f"a caller already waits for the answer to {request!r}; use another name", "request")

    async def take(self, ns: str, request: str, timeout: float) -> ReplyFound | None:  # noqa: ASYNC109 - None is an answer
        """The answer, which is gone then; None if there is none within `timeout` seconds. Raises PeltonError "not found" for a
        request that was never made, was answered and read, or has expired."""
        end = self._watches.clock.now() + round(timeout * 1000)
        with self._watches.watch((ns, request)) as watch:
            while True:
                row = await self._store.reply(ns, request)
                if row is None or row.expires <= self._store.now():
                    raise self._gone(request)
                if row.body:
                    if not await self._remove(ns, request):
                        raise self._gone(request)
                    return ReplyFound(decode_any(row.body))
                left = (end - self._watches.clock.now()) / 1000
                if left <= 0:
                    return None
                await watch.changed(min(left, LOOK))

    async def deliver(self, delivery: Delivery) -> None:
        """A message to the address of a request that no step has sent: a handler has."""
        request = delivery.sink.partition(":")[2]
        reply = ReplyWrite(delivery.ns, request, pack(json.decode(delivery.body)), self._store.now())
        await self._write(lambda group: group.replies.append(reply))

    async def _remove(self, ns: str, request: str) -> bool:
        return (await self._write(lambda group: group.replied.append((ns, request)))).ok

    def _gone(self, request: str) -> PeltonError:
        return PeltonError(
            Code.NOT_FOUND,
            f"nobody waits for the answer to {request!r}: it was read, has expired, or was never asked for",
            "request",
        )
