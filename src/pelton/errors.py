"""Pelton's one error type: why a request cannot be carried out, and what would help. Imports nothing else of Pelton.

A `Code` is stable and meant for programs: it is stored in results and sent in responses, so its text never changes. Each code has
one `Category`, which determines a transport's status unless the transport has a better one for the code. So a new code needs a
category and nothing else. Message texts are for people and may change.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum, StrEnum
from typing import Any, NamedTuple

from msgspec import UNSET

FAULT = "internal error; the server's log has the details"


class Category(Enum):
    ABSENT = "absent"  # the object of the request does not exist
    CONFLICT = "conflict"  # it exists, but its current state does not allow this
    INVALID = "invalid"  # the request itself is wrong; repeating it will not help
    BUSY = "busy"  # the request is fine, and may succeed if repeated in a moment
    DENIED = "denied"  # the caller is not allowed to do this
    FAULT = "fault"  # an error in the server


class Code(StrEnum):
    """Why a request was refused. Compare by identity."""

    NOT_FOUND = "not found"
    UNKNOWN_PROCESS = "unknown process"
    UNKNOWN_RUN = "unknown run"
    UNKNOWN_STEP = "unknown step"
    NO_STEP = "no step"
    EXISTS = "exists"
    CONFLICT = "conflict"
    ENDED = "ended"
    NOT_ENDED = "not ended"
    STEP_ENDED = "step ended"
    NOTHING_TO_RETRY = "nothing to retry"
    NOT_PAUSED = "not paused"
    PAUSED = "paused"
    GUARD = "guard"
    INVALID = "invalid"
    EXPRESSION = "expression"
    TOO_LARGE = "too large"
    BUSY = "busy"
    STOPPING = "stopping"
    UNAVAILABLE = "unavailable"
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    INTERNAL = "internal"


CATEGORY: dict[Code, Category] = {
    Code.NOT_FOUND: Category.ABSENT,
    Code.UNKNOWN_PROCESS: Category.ABSENT,
    Code.UNKNOWN_RUN: Category.ABSENT,
    Code.UNKNOWN_STEP: Category.ABSENT,
    Code.NO_STEP: Category.ABSENT,
    Code.EXISTS: Category.CONFLICT,
    Code.CONFLICT: Category.CONFLICT,
    Code.ENDED: Category.CONFLICT,
    Code.NOT_ENDED: Category.CONFLICT,
    Code.STEP_ENDED: Category.CONFLICT,
    Code.NOTHING_TO_RETRY: Category.CONFLICT,
    Code.NOT_PAUSED: Category.CONFLICT,
    Code.PAUSED: Category.CONFLICT,
    Code.GUARD: Category.CONFLICT,
    Code.INVALID: Category.INVALID,
    Code.EXPRESSION: Category.INVALID,
    Code.TOO_LARGE: Category.INVALID,
    Code.BUSY: Category.BUSY,
    Code.STOPPING: Category.BUSY,
    Code.UNAVAILABLE: Category.BUSY,
    Code.UNAUTHENTICATED: Category.DENIED,
    Code.FORBIDDEN: Category.DENIED,
    Code.INTERNAL: Category.FAULT,
}

RETRYABLE = frozenset(code for code, category in CATEGORY.items() if category is Category.BUSY)
"""Codes after which the same request may succeed if repeated. Conflicts are not among them: the caller's view of the state is out
of date, so it has to read again and decide again, which makes another request."""


class FieldProblem(NamedTuple):
    """One problem with a request. `value`: the offending value as text; None if there is none to show.
    `remedy`: what to do, if the message does not say so."""

    path: str
    message: str
    value: str | None = None
    remedy: str = ""


class PeltonError(Exception):
    """A request was refused, and nothing changed.

    `field`: the part of the request that it concerns, "" for the whole. `value`: the value given there, UNSET for none; an API
    shows it if it is a scalar, truncated. `remedy`: what would help, "" if the message says so. `trace`: how a decision was
    reached, step by step. `problems`: several problems found at once, each with its field.
    """

    def __init__(
        self,
        code: Code,
        message: str,
        field: str = "",
        trace: Sequence[Any] = (),
        *,
        value: Any = UNSET,
        remedy: str = "",
        problems: Sequence[FieldProblem] = (),
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.field = field
        self.value = value
        self.remedy = remedy
        self.trace = list(trace)
        self.problems = list(problems)

    @property
    def category(self) -> Category:
        return CATEGORY[self.code]

    @property
    def retryable(self) -> bool:
        """Whether the same request may succeed in a moment."""
        return self.code in RETRYABLE

    def public(self) -> PeltonError:
        """The error as callers may see it: unchanged, except that a fault's details stay in the server's log."""
        return self if self.category is not Category.FAULT else PeltonError(self.code, FAULT)


class Stopping(PeltonError):
    """The server is shutting down and accepts no more work."""

    def __init__(self) -> None:
        super().__init__(Code.STOPPING, "the server is stopping; retry on another node or in a moment")
