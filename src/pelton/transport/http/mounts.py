"""Where the routes of an API go."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from pelton.errors import PeltonError
from pelton.transport.http.asgi import Response, Router


class Mount(NamedTuple):
    """`refused`: how a request is answered that does not get as far as the router (it lacks a key, or the server is full);
    None = in the server's own words."""

    prefix: str
    router: Router
    refused: Callable[[PeltonError], Response | None] | None = None
