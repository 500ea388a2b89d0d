"""The caller of a request: stored in its scope by the server before routing, and read by the routes."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

from pelton.runtime.caller import SERVER, Caller

_KEY = "pelton.caller"


def set_caller(scope: MutableMapping[str, Any], caller: Caller) -> None:
    scope[_KEY] = caller


def caller_in(scope: MutableMapping[str, Any]) -> Caller:
    """The caller. A scope in which none was set belongs to the server itself."""
    found: Caller = scope.get(_KEY, SERVER)
    return found
