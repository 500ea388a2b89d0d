"""Errors in this language's format: a JSON body with the status, the message and whether the request may be retried."""

from __future__ import annotations

from msgspec import UNSET, UnsetType

from pelton.errors import PeltonError
from pelton.languages.conductor.model import CamelForm, Text
from pelton.transport.http.asgi import Response, json_response
from pelton.transport.http.errors import STATUS, WebError

INSTANCE = "pelton"  # where the original tells the name of its host, which concerns no caller


class ValidationError(CamelForm):
    path: str
    message: str
    invalid_value: Text = UNSET


class ErrorBody(CamelForm):
    status: int
    message: str
    instance: Text = UNSET
    retryable: bool = False
    validation_errors: list[ValidationError] | UnsetType = UNSET


def render(error: Exception) -> Response | None:
    """None for what is not an answer but a fault."""
    if isinstance(error, WebError):
        body = ErrorBody(status=error.status, message=error.message)
        headers = [(name.encode(), value.encode()) for name, value in error.headers.items()]
    elif isinstance(error, PeltonError):
        error, headers = error.public(), []
        status = STATUS[error.code]
        message = f"{error.field}: {error.message}" if error.field and status == 400 else error.message
        body = ErrorBody(status=status, message=message, retryable=error.retryable)
    else:
        return None
    if error.problems:
        body.validation_errors = [
            ValidationError(path=each.path, message=each.message, invalid_value=UNSET if each.value is None else each.value)
            for each in error.problems
        ]
    else:
        body.instance = INSTANCE
    answer = json_response(body, body.status)
    answer.headers = headers
    return answer
