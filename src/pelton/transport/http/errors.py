"""What goes wrong between a caller and a handler, before it is put into words by the face that was called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple


class FieldProblem(NamedTuple):
    """One thing that is wrong with what was sent. `value`: what was found there, as text; None when there is none to show.
    `remedy`: what to do, where the message does not say it."""

    path: str
    message: str
    value: str | None = None
    remedy: str = ""


class WebError(Exception):
    """Answers the request with `status` and `message`; a face renders it in its own dialect. Nothing has changed."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        problems: Sequence[FieldProblem] = (),
        headers: Mapping[str, str] | None = None,
        retryable: bool = False,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.problems = list(problems)
        self.headers = dict(headers or {})
        self.retryable = retryable


class ClientGone(Exception):
    """The caller has hung up: there is nobody to answer."""
