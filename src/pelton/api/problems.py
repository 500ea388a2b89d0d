"""Errors of the native API: RFC 9457 problem bodies that name the field, its value and the remedy.

`code` is the stable word for programs; the texts are for people and may change.
"""

from __future__ import annotations

from typing import Any

from msgspec import UNSET, Struct, UnsetType, json

from pelton.errors import Code, FieldProblem, PeltonError
from pelton.transport.http.errors import STATUS

CONTENT_TYPE = "application/problem+json"
MAX_VALUE = 200  # characters of a refused value that are shown

TITLES = {
    400: "The request is not valid",
    401: "A key is needed",
    403: "This is not allowed",
    404: "There is no such thing",
    405: "The method is not allowed here",
    409: "It conflicts with what is there",
    413: "The request is too large",
    415: "The content type is not understood",
    422: "It cannot be done as written",
    500: "The server failed",
    503: "The server cannot do this now",
}

STATUS_OF: dict[Code, int] = {**STATUS, Code.EXPRESSION: 422}
_REMEDY = {
    Code.BUSY: "try again in a moment",
    Code.STOPPING: "try again in a moment, or on another node",
    Code.UNAVAILABLE: "try again in a moment; /health says what is wrong",
}


class ProblemBody(Struct, omit_defaults=True):
    """RFC 9457, with members of our own: code, field, value, remedy, request."""

    type: str
    title: str
    status: int
    detail: str
    code: str = ""
    field: str = ""
    value: Any = UNSET
    remedy: str = ""
    trace: list[Any] | UnsetType = UNSET
    request: str = ""


class Problem(Exception):
    """Ends a request with a problem body."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        field: str = "",
        value: Any = UNSET,
        remedy: str = "",
        trace: list[Any] | UnsetType = UNSET,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.headers = headers
        self.body = ProblemBody(
            type=f"urn:pelton:problem:{code.replace(' ', '-')}",
            title=TITLES.get(status, "The request failed"),
            status=status,
            detail=detail,
            code=code,
            field=field,
            value=_shown(value),
            remedy=remedy,
            trace=trace,
        )

    def encoded(self, request: str = "") -> bytes:
        self.body.request = request
        return json.encode(self.body, enc_hook=str)


def of_engine(error: PeltonError) -> Problem:
    error = error.public()
    first = error.problems[0] if error.problems else FieldProblem(error.field, "", None, error.remedy)
    value = error.value if error.value is not None else first.value
    status = STATUS_OF[error.code]
    return Problem(
        status,
        error.code,
        error.message,
        field=error.field or first.path,
        value=UNSET if value is None else value,
        remedy=error.remedy or first.remedy or _REMEDY.get(error.code, ""),
        trace=error.trace or UNSET,
        headers=(("retry-after", "1"),) if error.retryable else (),
    )


def bad(field: str, detail: str, remedy: str = "", value: Any = UNSET) -> Problem:
    return Problem(400, "invalid", detail, field=field, value=value, remedy=remedy)


def _shown(value: Any) -> Any:
    """Scalars as they are, cut to a length; never a whole document."""
    if value is UNSET or value is None or isinstance(value, bool | int | float):
        return value
    text = value if isinstance(value, str) else type(value).__name__
    return text if len(text) <= MAX_VALUE else text[:MAX_VALUE] + "…"
