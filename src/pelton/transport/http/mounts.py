"""Where the routes of a face go: what a language returns when it is registered."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from pelton.errors import PeltonError
from pelton.transport.http.asgi import Response, Router


class Mount(NamedTuple):
    """`refused`: how a request is answered that does not get as far as the router (it lacks a key, or the server is full);
    None = in the server's own words."""

    prefix: str
    router: Router
    refused: Callable[[PeltonError], Response | None] | None = None


class Registered(NamedTuple):
    """`open_paths`: raw paths that need no key, because they are where keys are shown. `opened`: what is to be done, beside
    everything else, once the engine is open."""

    mounts: tuple[Mount, ...]
    open_paths: tuple[str, ...] = ()
    opened: Callable[[], Awaitable[None]] | None = None
