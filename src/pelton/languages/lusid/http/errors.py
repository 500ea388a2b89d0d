"""Errors in this API's format: problem bodies with a stable name and a number for programs, and texts for people.

A failed validation also has `errors`: the problem of each field, by path. `Retry-After` is sent only with 429 and 503,
because clients of this API retry any response that has it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
import structlog

from pelton.errors import FieldProblem, PeltonError
from pelton.languages.lusid.errors import NAME_OF, NAMES, LusidError, by_rules
from pelton.transport.http.asgi import Response
from pelton.transport.http.errors import WebError

CONTENT_TYPE = b"application/problem+json"
TYPE = "urn:pelton:problem:"
RETRY = "1"  # seconds
MAX_DETAIL = 2_000  # characters

_BY_STATUS = {
    400: "InvalidRequest",
    401: "Unauthorized",
    403: "AccessDenied",
    404: "NotFound",
    405: "MethodNotAllowed",
    409: "Conflict",
    413: "TooLarge",
    415: "UnsupportedMediaType",
    429: "TooManyRequests",
    500: "InternalError",
    503: "Unavailable",
}


class LusidProblem(msgspec.Struct, rename="camel", omit_defaults=True):
    name: str
    code: int
    error_details: list[dict[str, str]] = []
    errors: dict[str, list[str]] | None = None
    type: str = ""
    title: str = ""
    status: int = 0
    detail: str = ""
    instance: str = ""


def render(error: Exception) -> Response | None:
    """None for what is not an answer but a fault."""
    if isinstance(error, WebError):
        name = "ValidationError" if error.problems and error.status == 400 else _BY_STATUS.get(error.status, "InternalError")
        return _problem(name, error.status, error.message, error.problems, error.headers)
    if not isinstance(error, PeltonError):
        return None
    error = error.public()
    known = error if isinstance(error, LusidError) else by_rules(error)
    if known is not None:
        return _problem(known.name, NAMES[known.name].status, known.message, known.problems)
    name = "ValidationError" if error.problems else NAME_OF[error.code]
    status = NAMES[name].status
    about = [FieldProblem(error.field, error.message)] if error.field and status == 400 else []
    return _problem(name, status, error.message, error.problems or about)


def _problem(
    name: str, status: int, message: str, problems: Sequence[FieldProblem], given: Mapping[str, str] | None = None
) -> Response:
    known = NAMES[name]
    errors: dict[str, list[str]] = {}
    for each in problems:
        errors.setdefault(each.path, []).append(each.message)
    request = structlog.contextvars.get_contextvars().get("request")
    body = LusidProblem(
        name=name,
        code=known.code,
        errors=errors or None,
        type=TYPE + name,
        title=known.title,
        status=status,
        detail=message if len(message) <= MAX_DETAIL else message[: MAX_DETAIL - 1] + "…",
        instance=f"urn:pelton:request:{request}" if request else "",
    )
    given = given or {}
    headers = {key: value for key, value in given.items() if key.lower() != "retry-after"}
    if status in (429, 503):
        headers["retry-after"] = given.get("retry-after", RETRY)
    encoded = [(key.encode(), value.encode("latin-1", "replace")) for key, value in headers.items()]
    return Response(status, msgspec.json.encode(body), CONTENT_TYPE, encoded)
