"""Errors in this language's words: a JSON body with status, message and whether to try again."""

from __future__ import annotations

import socket

from msgspec import UNSET, UnsetType

from pelton.errors import PeltonError
from pelton.languages.conductor.model import Text, Wire
from pelton.transport.http.asgi import Response, json_response
from pelton.transport.http.errors import WebError

INSTANCE = socket.gethostname()

STATUS: dict[str, int] = {
    "not found": 404,
    "unknown process": 404,
    "unknown run": 404,
    "unknown step": 404,
    "no step": 404,
    "exists": 409,
    "conflict": 409,
    "ended": 409,
    "not ended": 409,
    "step ended": 409,
    "nothing to retry": 409,
    "not paused": 409,
    "guard": 409,
    "invalid": 400,
    "expression": 400,
    "too large": 413,
    "busy": 503,
    "stopping": 503,
    "unavailable": 503,
}


class ValidationError(Wire):
    path: str
    message: str
    invalid_value: Text = UNSET


class ErrorBody(Wire):
    status: int
    message: str
    instance: Text = UNSET
    retryable: bool = False
    validation_errors: list[ValidationError] | UnsetType = UNSET


def render(error: Exception) -> Response | None:
    """None for what is not an answer but a fault."""
    if isinstance(error, WebError):
        return _rendered(error)
    if isinstance(error, PeltonError):
        status = STATUS.get(error.code, 500)
        message = f"{error.field}: {error.message}" if error.field and status == 400 else error.message
        return json_response(ErrorBody(status=status, message=message, instance=INSTANCE, retryable=status == 503), status)
    return None


def _rendered(error: WebError) -> Response:
    body = ErrorBody(status=error.status, message=error.message, retryable=error.retryable)
    if error.problems:
        body.validation_errors = [
            ValidationError(path=each.path, message=each.message, invalid_value=UNSET if each.value is None else each.value)
            for each in error.problems
        ]
    else:
        body.instance = INSTANCE
    answer = json_response(body, error.status)
    answer.headers = [(name.encode(), value.encode()) for name, value in error.headers.items()]
    return answer
