"""The one error of Pelton: what a caller asked for cannot be done, why, and what would help. Imports nothing of Pelton.

A `Code` is a stable word for programs: it is stored in results and sent in answers, so its text never changes. Each code has one
`Category`, by which a transport answers unless it has a better word for the code; so a new code needs a category and nothing
else. Texts are for people and may change.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum, StrEnum
from typing import Any, NamedTuple

from msgspec import UNSET

FAULT = "internal error; the server's log has the details"


class Category(Enum):
    ABSENT = "absent"  # what the request is about does not exist
    CONFLICT = "conflict"  # it exists, and its present state does not allow this
    INVALID = "invalid"  # the request itself is wrong; it will be wrong again
    BUSY = "busy"  # nothing is wrong with the request: the same one may succeed in a moment
    DENIED = "denied"  # this caller may not
    FAULT = "fault"  # a mistake of the server's


class Code(StrEnum):
    """Why nothing changed. Compare by identity."""

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
"""Codes after which the very same request may succeed. A conflict is none of them: the caller decided by a state that has changed
since, so it has to look again first, and what it asks for then is another request."""


class FieldProblem(NamedTuple):
    """One thing that is wrong with what was sent. `value`: what was found there, as text; None when there is none to show.
    `remedy`: what to do, where the message does not say it."""

    path: str
    message: str
    value: str | None = None
    remedy: str = ""


class PeltonError(Exception):
    """Something a caller asked for cannot be done; nothing changed.

    `field`: the part of the request that it is about, "" for the whole. `value`: what was given there, of which an API shows a
    scalar, cut to a length; UNSET for none. `remedy`: what would help, "" when the message says it. `trace`: how a decision was
    reached, step by step. `problems`: several things that are wrong at once, each with its field.
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
        """Whether the very same request may succeed in a moment."""
        return self.code in RETRYABLE

    def public(self) -> PeltonError:
        """What callers may see of it: itself, but for a fault, which keeps what went wrong inside to the server's log."""
        return self if self.category is not Category.FAULT else PeltonError(self.code, FAULT)


class Stopping(PeltonError):
    """The server takes no more work, because it is about to end."""

    def __init__(self) -> None:
        super().__init__(Code.STOPPING, "the server is stopping; try again on another node or in a moment")
