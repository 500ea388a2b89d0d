"""Access control: bearer keys, users' tokens, and the guard that replaces them on a developer's own machine.

With keys or users, every call needs a key or a token, except those to open paths. Without keys on loopback, any local
program may call, but a web page in a local browser may not: a request for another host (a rebound name) or from
another origin is refused, and so is one without an origin (an image, a link) that a browser says comes from another site.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from hashlib import sha256
from typing import NamedTuple
from urllib.parse import urlsplit

from msgspec.structs import replace

from pelton.errors import Code
from pelton.runtime.caller import Caller
from pelton.server.config import Config, is_loopback, split_user
from pelton.transport.http.asgi import Scope
from pelton.transport.http.errors import STATUS

_ELSEWHERE = frozenset({"cross-site", "same-site"})  # another name or port of this machine is a site's neighbour as well
ANYBODY = Caller()  # who calls without a name
UNCHECKED = Caller(forwards=True)  # who calls a server without keys: nobody's name is known there, so none can be taken


class Denied(NamedTuple):
    """`word`: identifies the refusal for programs."""

    code: Code
    word: str
    detail: str
    remedy: str

    @property
    def status(self) -> int:
        return STATUS[self.code]


class Access:
    """Cost: one pass over a request's headers, and one hash if there are keys."""

    def __init__(self, config: Config) -> None:
        # A key has no user. Later ones win, so a token that is a key as well keeps its user.
        callers = dict.fromkeys(config.api_keys, ANYBODY)
        callers.update((token, Caller(user=user)) for user, token in map(split_user, config.users))
        for namespace, key in map(split_user, config.namespace_keys):
            callers[key] = Caller(namespace, callers.get(key, ANYBODY).user)
        callers.update((key, replace(callers.get(key, ANYBODY), forwards=True)) for key in config.forwarders)
        self._digests = {sha256(key.encode()).digest(): caller for key, caller in callers.items()}
        self._guards = not self._digests and config.loopback
        self.users = frozenset(user for user, _ in map(split_user, config.users))
        self.mode = "keys" if self._digests else "loopback" if self._guards else "anonymous"

    def valid(self, key: str) -> bool:
        """Whether this is one of the keys or tokens."""
        return self._caller(key) is not None

    def _caller(self, key: str) -> Caller | None:
        """The caller with this key; None if it is unknown. The timing depends only on hashes, so it reveals nothing."""
        return self._digests.get(sha256(key.encode("utf-8", "surrogateescape")).digest())

    def admit(self, scope: Scope) -> Caller | Denied:
        """The caller, or why the request is refused."""
        if self._digests:
            return self._by_key(scope["headers"])
        refused = self._foreign(scope["headers"]) if self._guards else None
        return refused if refused is not None else UNCHECKED

    def denied(self, scope: Scope) -> Denied | None:
        """Why the request is refused; None if it is allowed."""
        admitted = self.admit(scope)
        return admitted if isinstance(admitted, Denied) else None

    def _by_key(self, headers: Iterable[tuple[bytes, bytes]]) -> Caller | Denied:
        given = ""
        for name, value in headers:
            if name == b"authorization" and value[:7].lower() == b"bearer ":
                given = value[7:].strip().decode("latin-1")
            elif name == b"x-authorization":
                given = value.strip().decode("latin-1")
        caller = self._caller(given) if given else None
        if caller is not None:
            return caller
        return Denied(
            Code.UNAUTHENTICATED,
            "INVALID_TOKEN" if given else "missing key",
            "the key is not valid for this server" if given else "this server requires a key",
            "send Authorization: Bearer KEY with a key configured on the server",
        )

    def _foreign(self, headers: Iterable[tuple[bytes, bytes]]) -> Denied | None:
        found = dict(headers)
        host, origin = found.get(b"host", b"").decode("latin-1"), found.get(b"origin", b"").decode("latin-1")
        if host and not _here(f"//{host}"):
            said = f"this server accepts only local requests, not requests for host {host[:200]!r}"
            return Denied(Code.FORBIDDEN, "host", said, "call it as 127.0.0.1, or configure keys")
        if origin and not _here(origin):
            said = f"web pages from {origin[:200]!r} may not call this server"
            return Denied(Code.FORBIDDEN, "origin", said, "configure keys to allow this")
        if origin:
            return None  # a local page
        # Images, frames and links send no origin. What browsers send to this machine says at least which site they stand on.
        site = found.get(b"sec-fetch-site", b"").decode("latin-1").strip().lower()
        referer = found.get(b"referer", b"").decode("latin-1")
        if site in _ELSEWHERE or (not site and referer and not _here(referer)):
            said = "web pages of other sites may not call this server"
            return Denied(Code.FORBIDDEN, "origin", said, "configure keys to allow this, or open the address itself")
        return None


@lru_cache(maxsize=64)  # the same few in every request
def _here(url: str) -> bool:
    return is_loopback(_hostname(url))


def _hostname(url: str) -> str:
    try:
        return urlsplit(url).hostname or "invalid"
    except ValueError:
        return "invalid"
