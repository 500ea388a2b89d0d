"""The caller: on whose behalf the engine is called. A value, created where a request enters (HTTP, gRPC, a queue, a file)."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

NAMESPACE = "default"  # of callers whose door says nothing else


class Caller(Struct, frozen=True, gc=False):
    """`namespace`: the only one that the call can see and change. `user`: the caller's name, "" = anonymous. `request`: the
    request's id in logs, "" = none. `forwards`: whether it may say that an event is another user's. `trace`: what the call
    is part of, as in telemetry.trace."""

    namespace: str = NAMESPACE
    user: str = ""
    request: str = ""
    forwards: bool = False
    trace: str = ""


SERVER = Caller()
"""The server itself, in the default namespace."""


def server_in(namespace: str) -> Caller:
    """The server itself, acting in a namespace for handlers, sources and operations."""
    return SERVER if namespace == NAMESPACE else Caller(namespace)


class Users:
    """The users that handlers may run as. `known` None: no users are configured, so any name is accepted. `nameless`: types of
    events that this server raises in the default namespace without a user."""

    __slots__ = ("_known", "nameless")

    def __init__(self, known: Iterable[str] | None = None, nameless: Iterable[str] = ()) -> None:
        self._known = None if known is None else frozenset(known)
        self.nameless = frozenset(nameless)

    def knows(self, user: str) -> bool:
        return self._known is None or user in self._known
