"""Errors of the native API: RFC 9457 problem bodies that name the field, its value and the remedy.

`code` is stable and meant for programs; the texts are for people and may change.
"""

from __future__ import annotations

from typing import Any

from msgspec import UNSET, Struct, UnsetType

from pelton.errors import Code, FieldProblem, PeltonError
from pelton.transport.http.errors import STATUS, WebError

CONTENT_TYPE = "application/problem+json"
MAX_VALUE = 200  # characters shown of a refused value

TITLES = {
    400: "The request is not valid",
    401: "A key is required",
    403: "Not allowed",
    404: "Not found",
    405: "The method is not allowed for this path",
    409: "Conflict with the current state",
    413: "The request is too large",
    415: "The content type is not supported",
    422: "The request cannot be carried out as written",
    500: "Internal error",
    503: "The server cannot do this now",
}

STATUS_OF: dict[Code, int] = {**STATUS, Code.EXPRESSION: 422}
_EXCHANGE = {404: Code.NOT_FOUND, 405: "method", 413: Code.TOO_LARGE, 415: "content type", 503: Code.BUSY}
_REMEDY = {
    Code.BUSY: "retry in a moment",
    Code.STOPPING: "retry in a moment, or on another node",
    Code.UNAVAILABLE: "retry in a moment; /health shows what is wrong",
}


class ProblemBody(Struct, omit_defaults=True):
    """RFC 9457, with extension members: code, field, value, remedy, trace, request."""

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


def problem(error: PeltonError, request: str = "") -> ProblemBody:
    error = error.public()
    about = error.problems[0] if error.problems else FieldProblem(error.field, error.message)
    given = UNSET if about.value is None else about.value
    return ProblemBody(
        type=_type(error.code),
        title=TITLES[STATUS_OF[error.code]],
        status=STATUS_OF[error.code],
        detail=error.message,
        code=error.code,
        field=error.field or about.path,
        value=given if error.value is UNSET else _shown(error.value),
        remedy=error.remedy or about.remedy or _REMEDY.get(error.code, ""),
        trace=error.trace or UNSET,
        request=request,
    )


def exchange_problem(error: WebError) -> ProblemBody:
    """The problem body of an error at the HTTP level."""
    code = _EXCHANGE.get(error.status, Code.INVALID)
    about = error.problems[0] if error.problems else FieldProblem("", "")
    return ProblemBody(
        type=_type(code),
        title=TITLES.get(error.status, "The request failed"),
        status=error.status,
        detail=error.message,
        code=code,
        field=about.path,
        value=UNSET if about.value is None else about.value,
        remedy=error.remedy or ("see /openapi.json for the paths" if error.status in {404, 405} else ""),
    )


def bad(field: str, detail: str, remedy: str = "", value: Any = UNSET) -> PeltonError:
    return PeltonError(Code.INVALID, detail, field, value=value, remedy=remedy)


def _type(code: str) -> str:
    return f"urn:pelton:problem:{code.replace(' ', '-')}"


def _shown(value: Any) -> Any:
    """Scalars as they are, cut to a length; never a whole document."""
    if value is UNSET or value is None or isinstance(value, bool | int | float):
        return value
    text = value if isinstance(value, str) else type(value).__name__
    return text if len(text) <= MAX_VALUE else text[:MAX_VALUE] + "…"
