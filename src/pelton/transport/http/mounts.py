"""Where an API's routes are mounted."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from pelton.errors import PeltonError
from pelton.transport.http.asgi import Response, Router


class Mount(NamedTuple):
    """`refused`: renders the refusal of a request that does not reach the router (it lacks a key, or the server is full);
    None = the server's default."""

    prefix: str
    router: Router
    refused: Callable[[PeltonError], Response | None] | None = None
