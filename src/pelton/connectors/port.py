"""What a connector is: one system that messages leave to and come from.

The runtime owns retries, order, dead letters and acknowledgement; a connector only moves messages. One file a system.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from hashlib import sha256
from typing import Any, NamedTuple, Protocol, runtime_checkable

from msgspec import Struct

from pelton.kernel.expressions.base import JSON
from pelton.net.faults import Absent, Permanent, Temporary

OWN_ID = "pelton-id"  # the header or attribute in which a message carries its id, where the system has such

Bookmark = tuple[str, bytes]
"""Where a source has got to: a name that it chooses (a file, a partition), and its state there; b"" forgets the name."""


class Outgoing(NamedTuple):
    """A message to be sent. `id` is stable over repeats: a receiver can tell a repeat by it."""

    id: str
    body: bytes
    content_type: str
    headers: Mapping[str, str]  # ids for tracing; sent as attributes or headers where the system has them
    key: str  # order is kept among messages of one key


class SourceEvent(Struct, frozen=True, gc=False):
    """The event of a message whose source makes events itself, as a watched directory does. `time`: epoch milliseconds. `user`:
    whose event it is, "" = nobody's."""

    type: str
    subject: str = ""
    time: int = 0
    body: JSON = None
    user: str = ""


class Incoming(NamedTuple):
    """A message that came in. It is acknowledged by `handle` after the commit that contains its effects.

    Its event has the address as its type and the body, which is JSON, as its own; unless `event` says which event it is.
    """

    id: str  # the system's own id of the message, the same for each redelivery
    body: bytes
    headers: Mapping[str, str]
    handle: Any  # opaque to the runtime: what `acknowledge` needs
    deliveries: int = 1  # how often it has been delivered, this time included; 1 when the system does not say
    event: SourceEvent | None = None  # with it, `body` is empty
    bookmark: Bookmark | None = None  # written in the transaction of the event
    sent: int = 0  # when its system got it, epoch milliseconds; 0 when the system does not say


def public_address(address: str) -> str:
    """The address as anybody may see it. The path and query of a URL are often what its receiver knows its callers by: they give
    way to a few digits that tell one from another."""
    scheme, colon, rest = address.partition(":")
    parts = _URL.match(rest)
    if parts is None:
        return address
    mark = sha256(address.encode("utf-8", "surrogateescape")).hexdigest()[:8]
    return f"{scheme}{colon}{parts[1]}{parts[2]}/...{mark}"


def public_detail(detail: str, address: str) -> str:
    """What is said about an address, without the address itself."""
    rest = address.partition(":")[2]
    return detail.replace(rest, public_address(address)) if _URL.match(rest) is not None else detail


_URL = re.compile(r"(https?://)(?:[^/?#@]*@)*([^/?#@]*)", re.IGNORECASE)


class Health(Struct):
    healthy: bool
    detail: str = ""
    since: int = 0  # epoch milliseconds of the last change


class Subscription(Protocol):
    """An open flow of messages from one address."""

    def batches(self) -> AsyncIterator[Sequence[Incoming]]:
        """Yields batches as they come, for ever. Raises Temporary when the system is out of reach (the runtime backs off and
        opens anew) and Permanent when the address cannot exist. An empty batch says that the address is well."""
        ...

    async def acknowledge(self, messages: Sequence[Incoming]) -> None:
        """These are done with: they must not come again. A failure to say so is not an error (they come again, and are known)."""
        ...

    async def give_back(self, messages: Sequence[Incoming]) -> None:
        """These were not taken (the server is stopping, or is full): let them be delivered again soon."""
        ...

    async def close(self) -> None: ...


class NoSubscription:
    """From an address that nothing can be received from; `reason` says why, and what to do instead."""

    def __init__(self, reason: str) -> None:
        self._reason = reason

    async def batches(self) -> AsyncIterator[Sequence[Incoming]]:
        nothing: Sequence[Sequence[Incoming]] = ()
        for batch in nothing:  # which makes this an iterator
            yield batch
        raise Permanent(self._reason)

    async def acknowledge(self, messages: Sequence[Incoming]) -> None: ...

    async def give_back(self, messages: Sequence[Incoming]) -> None: ...

    async def close(self) -> None: ...


@runtime_checkable
class Resuming(Protocol):
    """A subscription that goes on where an earlier one of its address has got to."""

    def resume(self, bookmarks: Sequence[Bookmark]) -> None:
        """Called before `batches`, as often as it takes, with what was written with the events so far, by name."""
        ...


class Connector(Protocol):
    """One system. `scheme` is the word before the first colon of an address (`sqs:orders` is scheme `sqs`, address `orders`).

    Two attributes may be left out: `source` (True), whether messages can be received from it; `makes_events` (False), whether
    its messages say which events they are (`Incoming.event`).
    """

    @property
    def scheme(self) -> str: ...

    def check(self, address: str) -> str | None:
        """Why this address cannot be one of this system's, in one sentence with the remedy; None when it can. No I/O."""
        ...

    async def send(self, address: str, messages: Sequence[Outgoing]) -> Sequence[Exception | None]:
        """Sends in the order given; one outcome a message: None, Temporary or Permanent. Raises nothing else."""
        ...

    def subscribe(self, address: str) -> Subscription: ...

    def health(self) -> Mapping[str, Health]:
        """By address: whether it could be reached when last tried."""
        ...

    async def close(self) -> None: ...


__all__ = [
    "OWN_ID",
    "Absent",
    "Bookmark",
    "Connector",
    "Health",
    "Incoming",
    "NoSubscription",
    "Outgoing",
    "Permanent",
    "Resuming",
    "SourceEvent",
    "Subscription",
    "Temporary",
]
