"""The caller: on whose behalf a call of the engine is made. A value, made at the door (HTTP, gRPC, a queue, a file)."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

NAMESPACE = "default"  # of callers whose door says nothing else


class Caller(Struct, frozen=True, gc=False):
    """`namespace`: the only one that the call sees and changes. `user`: who calls, "" = without a name. `request`: the id of the
    request in logs, "" = none."""

    namespace: str = NAMESPACE
    user: str = ""
    request: str = ""


SERVER = Caller()
"""The server itself, in the default namespace."""


def server_in(namespace: str) -> Caller:
    """The server itself, in a namespace: what it does for handlers, sources and operations."""
    return SERVER if namespace == NAMESPACE else Caller(namespace)


class Users:
    """The users that things may be done for. `known` None: no one has said who there is, so every name is taken."""

    __slots__ = ("_known",)

    def __init__(self, known: Iterable[str] | None = None) -> None:
        self._known = None if known is None else frozenset(known)

    def knows(self, user: str) -> bool:
        return self._known is None or user in self._known
