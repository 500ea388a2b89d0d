"""Errors raised by the clients."""

from __future__ import annotations

from typing import Any


class ClientError(Exception):
    """The base class of all errors raised by the clients."""


class Unreachable(ClientError):
    """No valid response: the server is not running, the connection was lost, or the response is not from Pelton. The request may
    or may not have taken effect."""


class RequestRefused(ClientError):
    """The server refused the request, and nothing changed.

    `status`: the HTTP status. `code`: a stable code for programs, such as "not found" or "conflict". `field`: the part of the
    request that was refused. `detail`: why. `remedy`: what to do about it. `problem`: the whole response.
    """

    def __init__(self, status: int, problem: Any) -> None:
        found = problem if isinstance(problem, dict) else {}
        self.status = status
        self.code = str(found.get("code", ""))
        self.field = str(found.get("field", ""))
        self.remedy = str(found.get("remedy", ""))
        self.detail = str(found.get("detail") or found.get("message") or problem or f"HTTP status {status}")
        self.problem = problem
        fields = found.get("validationErrors")
        if isinstance(fields, list):
            named = [f"{each.get('path', '')}: {each.get('message', '')}" for each in fields[:10] if isinstance(each, dict)]
            self.detail = "; ".join(named) or self.detail
        where = f"{self.field}: " if self.field else ""
        remedy = f" ({self.remedy})" if self.remedy else ""
        super().__init__(f"{where}{self.detail}{remedy}"[:2_000])

    @property
    def retryable(self) -> bool:
        """Whether the same request may succeed in a moment."""
        return self.status in {429, 502, 503, 504}
