"""Who calls: put into the request's scope by the server in front of the faces, read by whoever records it."""

from __future__ import annotations

from collections.abc import Iterable

from pelton.transport.http.asgi import Request, Scope

ANONYMOUS = "anonymous"
_KEY = "pelton.actor"


def set_actor(scope: Scope, user: str) -> None:
    scope[_KEY] = user


def actor_of(request: Request) -> str:
    """The id of the user whose token came with the request; ANONYMOUS when callers have no names here."""
    return str(request.scope.get(_KEY, ANONYMOUS))


class Users:
    """The users that things may be done for. `None`: nobody has said who there is, so everybody is taken to be."""

    __slots__ = ("_known",)

    def __init__(self, known: Iterable[str] | None = None) -> None:
        self._known = None if known is None else frozenset(known)

    def knows(self, user: str) -> bool:
        return self._known is None or user in self._known
