"""This language's names for the ways in which a request can fail: each has a stable name, and a number for programs.

Compilers, checks and rules raise `LusidError` by name, whatever the transport; `http/errors.py` renders it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from pelton.errors import CATEGORY, Category, Code, FieldProblem, PeltonError


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
    "InvalidTransition": Known(1411, 400, "No such transition"),
    "GuardConditionNotMet": Known(1412, 400, "The guard of the transition does not hold"),
    "FieldNotInSchema": Known(1413, 400, "The field is not in the schema"),
    "FieldTypeMismatch": Known(1414, 400, "The value does not fit the type of the field"),
    "FieldReadOnly": Known(1415, 400, "The field is read-only in this state"),
    "FieldValueNotAcceptable": Known(1416, 400, "The value is not an acceptable one"),
    "RequiredFieldMissing": Known(1417, 400, "A required field is missing"),
    "UnsupportedEventType": Known(1418, 400, "The event type is not supported"),
    "Unauthorized": Known(1430, 401, "A token is required"),
    "AccessDenied": Known(1431, 403, "Not allowed"),
    "NotFound": Known(1440, 404, "Not found"),
    "TaskNotFound": Known(1441, 404, "No such task"),
    "TaskDefinitionNotFound": Known(1442, 404, "No such task definition"),
    "EventHandlerNotFound": Known(1443, 404, "No such event handler"),
    "WorkerNotFound": Known(1444, 404, "No such worker"),
    "WorkerRunNotFound": Known(1445, 404, "No such run of a worker"),
    "EventTypeNotFound": Known(1446, 404, "No such event type"),
    "ActionLogNotFound": Known(1447, 404, "No such action log"),
    "WorkflowNotFound": Known(1448, 404, "No such workflow"),
    "LauncherNotFound": Known(1449, 404, "No such launcher"),
    "MethodNotAllowed": Known(1450, 405, "The method is not allowed for this path"),
    "AlreadyExists": Known(1460, 409, "It already exists"),
    "TaskDefinitionAlreadyExists": Known(1461, 409, "The task definition already exists"),
    "EventHandlerAlreadyExists": Known(1462, 409, "The event handler already exists"),
    "WorkerAlreadyExists": Known(1463, 409, "The worker already exists"),
    "EventTypeAlreadyExists": Known(1464, 409, "The event type already exists"),
    "WorkflowAlreadyExists": Known(1465, 409, "The workflow already exists"),
    "LauncherAlreadyExists": Known(1466, 409, "The launcher already exists"),
    "Conflict": Known(1470, 409, "Conflict with the current state"),
    "TooLarge": Known(1480, 413, "The request is too large"),
    "UnsupportedMediaType": Known(1481, 415, "The content is not supported"),
    "TooManyRequests": Known(1490, 429, "Too many requests"),
    "InternalError": Known(1500, 500, "Internal error"),
    "Unavailable": Known(1503, 503, "The server cannot do this now"),
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


_BY_STATUS = {
    400: Code.INVALID,
    401: Code.UNAUTHENTICATED,
    403: Code.FORBIDDEN,
    404: Code.NOT_FOUND,
    405: Code.INVALID,
    409: Code.CONFLICT,
    413: Code.TOO_LARGE,
    415: Code.INVALID,
    429: Code.BUSY,
    500: Code.INTERNAL,
    503: Code.UNAVAILABLE,
}
CODE_OF: dict[str, Code] = {name: _BY_STATUS[known.status] for name, known in NAMES.items()}


class LusidError(PeltonError):
    """Ends a request with the problem `name`, one of NAMES."""

    def __init__(self, name: str, message: str, *, problems: Sequence[FieldProblem] = ()) -> None:
        super().__init__(CODE_OF[name], message, problems=problems)
        self.name = name


def invalid(problems: Sequence[FieldProblem], name: str = "ValidationError") -> LusidError:
    """The refusal that names every field in question."""
    first = problems[0]
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return LusidError(name, f"{first.path or 'the body'} {first.message}{more}", problems=problems)


def by_rules(error: PeltonError) -> LusidError | None:
    """The refusal of a task's rules, which say in the trace what it is called and which field it is about; None for any other."""
    said = error.trace[0] if error.trace and isinstance(error.trace[0], dict) else {}
    name, field = said.get("name"), said.get("field")
    if not isinstance(name, str) or name not in NAMES:
        return None
    field = field if isinstance(field, str) else error.field
    wrong = [FieldProblem(field, error.message)] if field and NAMES[name].status == 400 else []
    return LusidError(name, error.message, problems=wrong)
