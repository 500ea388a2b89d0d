"""What this language's routes share: the engine, the caller, and parameters common to many calls."""

from __future__ import annotations

import base64
import itertools
import secrets

from pelton.errors import FieldProblem
from pelton.languages.lusid.errors import LusidError
from pelton.languages.lusid.times import EXPECTED, parse_moment
from pelton.runtime.api import Engine
from pelton.runtime.caller import Caller, Users
from pelton.transport.http.asgi import Request

ANONYMOUS = "anonymous"  # the user of callers without a name


class RequestIds:
    """`0HN44I6HGTMTA:00000002`: thirteen characters that no other process has, and a number that counts up in this one."""

    __slots__ = ("_numbers", "_process")

    def __init__(self) -> None:
        self._process = base64.b32hexencode(secrets.token_bytes(8)).decode().rstrip("=")
        self._numbers = itertools.count(1)

    def __call__(self) -> str:
        return f"{self._process}:{next(self._numbers) & 0xFFFFFFFF:08X}"


class LusidContext:
    def __init__(self, engine: Engine, users: Users) -> None:
        self.engine = engine
        self.users = users
        self.request_id = RequestIds()

    def caller(self, request: Request) -> Caller:
        """Who calls. `request`: the id under which what the request does is recorded."""
        return self.acting(request.caller)

    def acting(self, caller: Caller) -> Caller:
        return Caller(caller.namespace, caller.user or ANONYMOUS, self.request_id(), trace=caller.trace)


def as_at(request: Request, name: str = "asAt") -> int:
    """The moment that a query asks for in microseconds, 0 = now. Raises LusidError."""
    text = request.query.text(name)
    if not text:
        return 0
    at = parse_moment(text)
    if at is None:
        shown = text[:100]
        problem = FieldProblem(name, f"must be {EXPECTED}, not {shown!r}", shown)
        raise LusidError("InvalidAsAt", f"{name} {problem.message}", problems=[problem])
    return max(at, 1)
