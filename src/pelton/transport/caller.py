"""The caller of a request: put into its scope by the server in front of the routers, read by the routes."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

from pelton.runtime.caller import SERVER, Caller

_KEY = "pelton.caller"


def set_caller(scope: MutableMapping[str, Any], caller: Caller) -> None:
    scope[_KEY] = caller


def caller_in(scope: MutableMapping[str, Any]) -> Caller:
    """Who calls. A scope that no server has looked at belongs to the server itself."""
    found: Caller = scope.get(_KEY, SERVER)
    return found
