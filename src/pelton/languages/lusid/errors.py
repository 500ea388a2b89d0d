"""Errors in this language's words: problem bodies with a stable name and a number for programs, and texts for people.

A failed validation also has `errors`: for each field by its path, what is wrong with it. `Retry-After` goes out with 429 and 503
only, because clients of this API try again whatever it comes with.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import structlog

from pelton.errors import CATEGORY, Category, Code, FieldProblem, PeltonError
from pelton.transport.http.asgi import Response
from pelton.transport.http.errors import WebError

CONTENT_TYPE = b"application/problem+json"
TYPE = "urn:pelton:problem:"
RETRY = 1  # seconds
MAX_DETAIL = 2_000  # characters


class Known(NamedTuple):
    """`code` is this service's own number; the published tables have none for it."""

    code: int
    status: int
    title: str


NAMES: dict[str, Known] = {
    "ValidationError": Known(1400, 400, "One or more members of the request are not valid"),
    "InvalidRequest": Known(1401, 400, "The request cannot be read"),
    "InvalidFilter": Known(1402, 400, "The filter is not valid"),
    "InvalidSort": Known(1403, 400, "The sort order is not valid"),
    "InvalidPageToken": Known(1404, 400, "The page token is not valid"),
    "InvalidAsAt": Known(1405, 400, "The moment is not valid"),
    "UnknownTrigger": Known(1410, 400, "The trigger is not declared"),
    "InvalidTransition": Known(1411, 400, "There is no such transition"),
    "GuardConditionNotMet": Known(1412, 400, "The guard of the transition does not hold"),
    "FieldNotInSchema": Known(1413, 400, "The field is not in the schema"),
    "FieldTypeMismatch": Known(1414, 400, "The value does not fit the type of the field"),
    "FieldReadOnly": Known(1415, 400, "The field is read-only in this state"),
    "FieldValueNotAcceptable": Known(1416, 400, "The value is not an acceptable one"),
    "RequiredFieldMissing": Known(1417, 400, "A required field is missing"),
    "UnsupportedEventType": Known(1418, 400, "The event type is not supported"),
    "Unauthorized": Known(1430, 401, "A token is needed"),
    "AccessDenied": Known(1431, 403, "This is not allowed"),
    "NotFound": Known(1440, 404, "There is no such thing"),
    "TaskNotFound": Known(1441, 404, "There is no such task"),
    "TaskDefinitionNotFound": Known(1442, 404, "There is no such task definition"),
    "EventHandlerNotFound": Known(1443, 404, "There is no such event handler"),
    "WorkerNotFound": Known(1444, 404, "There is no such worker"),
    "WorkerRunNotFound": Known(1445, 404, "There is no such run of a worker"),
    "EventTypeNotFound": Known(1446, 404, "There is no such event type"),
    "ActionLogNotFound": Known(1447, 404, "There is no such action log"),
    "WorkflowNotFound": Known(1448, 404, "There is no such workflow"),
    "LauncherNotFound": Known(1449, 404, "There is no such launcher"),
    "MethodNotAllowed": Known(1450, 405, "The method is not allowed here"),
    "AlreadyExists": Known(1460, 409, "It exists already"),
    "TaskDefinitionAlreadyExists": Known(1461, 409, "The task definition exists already"),
    "EventHandlerAlreadyExists": Known(1462, 409, "The event handler exists already"),
    "WorkerAlreadyExists": Known(1463, 409, "The worker exists already"),
    "EventTypeAlreadyExists": Known(1464, 409, "The event type exists already"),
    "WorkflowAlreadyExists": Known(1465, 409, "The workflow exists already"),
    "LauncherAlreadyExists": Known(1466, 409, "The launcher exists already"),
    "Conflict": Known(1470, 409, "It conflicts with what is there"),
    "TooLarge": Known(1480, 413, "The request is too large"),
    "TooManyRequests": Known(1490, 429, "There are too many requests"),
    "InternalError": Known(1500, 500, "The server failed"),
    "Unavailable": Known(1503, 503, "The server cannot do this now"),
}

_BY_STATUS = {
    400: "InvalidRequest",
    401: "Unauthorized",
    403: "AccessDenied",
    404: "NotFound",
    405: "MethodNotAllowed",
    409: "Conflict",
    413: "TooLarge",
    429: "TooManyRequests",
    500: "InternalError",
    503: "Unavailable",
}

_BY_CATEGORY = {
    Category.ABSENT: "NotFound",
    Category.CONFLICT: "Conflict",
    Category.INVALID: "InvalidRequest",
    Category.BUSY: "Unavailable",
    Category.DENIED: "AccessDenied",
    Category.FAULT: "InternalError",
}
_BY_CODE = {
    Code.UNKNOWN_PROCESS: "TaskDefinitionNotFound",
    Code.UNKNOWN_RUN: "TaskNotFound",
    Code.EXISTS: "AlreadyExists",
    Code.GUARD: "GuardConditionNotMet",
    Code.TOO_LARGE: "TooLarge",
    Code.UNAUTHENTICATED: "Unauthorized",
}
NAME_OF: dict[Code, str] = {code: _BY_CODE.get(code, _BY_CATEGORY[category]) for code, category in CATEGORY.items()}


class LusidError(WebError):
    """Ends a request with the problem `name`, one of NAMES."""

    def __init__(self, name: str, message: str, *, problems: Sequence[FieldProblem] = ()) -> None:
        super().__init__(NAMES[name].status, message, problems=problems)
        self.name = name


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


def invalid(problems: Sequence[FieldProblem], name: str = "ValidationError") -> LusidError:
    """The refusal that names every field in question."""
    first = problems[0]
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return LusidError(name, f"{first.path or 'the body'} {first.message}{more}", problems=problems)


def render(error: Exception) -> Response | None:
    """None for what is not an answer but a fault."""
    if isinstance(error, LusidError):
        name = error.name
    elif isinstance(error, WebError):
        name = "ValidationError" if error.problems and error.status == 400 else _BY_STATUS.get(error.status, "InternalError")
    elif isinstance(error, PeltonError):
        error = error.public()
        said = by_rules(error)
        if said is None:
            name = "ValidationError" if error.problems else NAME_OF[error.code]
            about = [FieldProblem(error.field, error.message)] if error.field and NAMES[name].status == 400 else []
            said = LusidError(name, error.message, problems=error.problems or about)
        name, error = said.name, said
    else:
        return None
    return problem(name, error)


def by_rules(error: PeltonError) -> LusidError | None:
    """The refusal of a task's rules, which say in the trace what it is called and which field it is about; None for any other."""
    said = error.trace[0] if error.trace and isinstance(error.trace[0], dict) else {}
    name, field = said.get("name"), said.get("field")
    if not isinstance(name, str) or name not in NAMES:
        return None
    field = field if isinstance(field, str) else error.field
    wrong = [FieldProblem(field, error.message)] if field and NAMES[name].status == 400 else []
    return LusidError(name, error.message, problems=wrong)


def problem(name: str, error: WebError) -> Response:
    known = NAMES[name]
    errors: dict[str, list[str]] = {}
    for each in error.problems:
        errors.setdefault(each.path, []).append(each.message)
    request = structlog.contextvars.get_contextvars().get("request")
    body = LusidProblem(
        name=name,
        code=known.code,
        errors=errors or None,
        type=TYPE + name,
        title=known.title,
        status=error.status,
        detail=error.message if len(error.message) <= MAX_DETAIL else error.message[: MAX_DETAIL - 1] + "…",
        instance=f"urn:pelton:request:{request}" if request else "",
    )
    headers = {key: value for key, value in error.headers.items() if key.lower() != "retry-after"}
    if error.status in (429, 503):
        headers["retry-after"] = error.headers.get("retry-after", str(RETRY))
    encoded = [(key.encode(), value.encode("latin-1", "replace")) for key, value in headers.items()]
    return Response(error.status, msgspec.json.encode(body), CONTENT_TYPE, encoded)
