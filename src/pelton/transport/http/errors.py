"""Errors over HTTP: the status of each code, and errors at the HTTP level, before a request reaches the engine.

An API with a better status for a code has its own table, next to the code that renders its errors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pelton.errors import CATEGORY, Category, Code, FieldProblem

_BY_CATEGORY = {
    Category.ABSENT: 404,
    Category.CONFLICT: 409,
    Category.INVALID: 400,
    Category.BUSY: 503,
    Category.DENIED: 403,
    Category.FAULT: 500,
}
_BY_CODE = {Code.TOO_LARGE: 413, Code.UNAUTHENTICATED: 401}

STATUS: dict[Code, int] = {code: _BY_CODE.get(code, _BY_CATEGORY[category]) for code, category in CATEGORY.items()}


class WebError(Exception):
    """Answers the request with `status` and `message`, for errors at the HTTP level: paths, methods, headers, body sizes. Each
    API renders it in its own format. Nothing has changed."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        problems: Sequence[FieldProblem] = (),
        headers: Mapping[str, str] | None = None,
        remedy: str = "",
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.problems = list(problems)
        self.headers = dict(headers or {})
        self.remedy = remedy


class ClientGone(Exception):
    """The caller has disconnected, so no response can be sent."""
