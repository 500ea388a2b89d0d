"""Who may call: bearer keys, and the guard that stands in for them on a developer's own machine.

With keys, every call needs one, but for those that must be open. Without keys on loopback, any local program may call, yet a web
page in a local browser may not: a request that names another host (a rebound name) or comes from another origin is refused.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from functools import lru_cache
from hashlib import sha256
from typing import Literal, NamedTuple
from urllib.parse import urlsplit

from pelton.server.config import Config, is_loopback
from pelton.web.asgi import Scope


class Denied(NamedTuple):
    status: Literal[401, 403]
    code: str
    detail: str
    remedy: str


class Access:
    """Cost: one pass over a request's headers, and one hash with keys."""

    def __init__(self, config: Config) -> None:
        self._digests = [sha256(key.encode()).digest() for key in config.api_keys]
        self._guards = not config.api_keys and config.loopback
        self.mode = "keys" if self._digests else "loopback" if self._guards else "anonymous"

    def valid(self, key: str) -> bool:
        """Whether this is one of the keys. Takes as long for a wrong key as for a right one."""
        digest = sha256(key.encode("utf-8", "surrogateescape")).digest()
        found = False
        for each in self._digests:
            found |= hmac.compare_digest(each, digest)
        return found

    def denied(self, scope: Scope) -> Denied | None:
        """Why the request is refused; None when it may pass."""
        if self._digests:
            return self._without_key(scope["headers"])
        return self._foreign(scope["headers"]) if self._guards else None

    def _without_key(self, headers: Iterable[tuple[bytes, bytes]]) -> Denied | None:
        given = ""
        for name, value in headers:
            if name == b"authorization" and value[:7].lower() == b"bearer ":
                given = value[7:].strip().decode("latin-1")
            elif name == b"x-authorization":
                given = value.strip().decode("latin-1")
        if given and self.valid(given):
            return None
        return Denied(
            401,
            "INVALID_TOKEN" if given else "missing key",
            "the key is not one of this server's" if given else "this server answers only to callers with a key",
            "send Authorization: Bearer KEY with a key the server was started with",
        )

    def _foreign(self, headers: Iterable[tuple[bytes, bytes]]) -> Denied | None:
        host = origin = ""
        for name, value in headers:
            if name == b"host":
                host = value.decode("latin-1")
            elif name == b"origin":
                origin = value.decode("latin-1")
        if host and not _here(f"//{host}"):
            return Denied(
                403, "host", f"this server is for its own machine, not for {host[:200]!r}", "call it by 127.0.0.1, or set up keys"
            )
        if origin and not _here(origin):
            return Denied(403, "origin", f"pages of {origin[:200]!r} may not call this server", "start it with keys for that")
        return None


@lru_cache(maxsize=64)  # the same few in every request
def _here(url: str) -> bool:
    return is_loopback(_hostname(url))


def _hostname(url: str) -> str:
    try:
        return urlsplit(url).hostname or "invalid"
    except ValueError:
        return "invalid"
