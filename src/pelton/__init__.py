"""Pelton: events in, durable work, events out.

The public API: `Client` and `AsyncClient` talk to a server, `Worker` performs its work, and `pelton.models` has the types that
they send and receive. Everything else is the server itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pelton.client import AsyncClient, Client, ClientError, Fail, Item, Later, RequestRefused, Stop, Unreachable, Worker

__version__ = "0.1.0.dev0"

__all__ = [
    "AsyncClient",
    "Client",
    "ClientError",
    "Fail",
    "Item",
    "Later",
    "RequestRefused",
    "Stop",
    "Unreachable",
    "Worker",
    "__version__",
]


def __getattr__(name: str) -> Any:
    """Loads the client on first use: the server, its writer and its script processes do not need it."""
    if name in __all__:
        from pelton import client  # noqa: PLC0415 - see above

        return getattr(client, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
