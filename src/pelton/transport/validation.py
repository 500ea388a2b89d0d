"""Validation problems of a request, field by field: collected, and reported all at once.

Checks continue after the first problem, so that a caller does not have to fix one field per attempt. The number of problems kept
is bounded, and so is the length of values repeated in them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import UNSET

from pelton.errors import Code, FieldProblem, PeltonError

MAX_PROBLEMS = 50
MAX_SHOWN = 100  # characters of a value in a message
MAX_VALUE = 1_000  # characters of a value beside a message


class Unfit(Exception):
    """A value is invalid, and has been reported: the object that it belongs to cannot be built."""


class Problems:
    """Collects problems; `raise_any` refuses the request if there are any.

    `prefix` is prepended to each path. Only the first `most` are kept.
    """

    def __init__(self, prefix: str = "", most: int = MAX_PROBLEMS) -> None:
        self.found: list[FieldProblem] = []
        self._prefix = prefix
        self._most = most

    def add(self, path: str, message: str, value: Any = UNSET, *, remedy: str = "") -> None:
        """`path`: the field, "" for the whole; `message` continues a sentence that starts with it. `value`: the offending
        value. `remedy`: what to do, if the message does not say so."""
        if len(self.found) < self._most:
            self.found.append(FieldProblem(self._prefix + path, message, scalar_text(value), remedy))

    def include(self, path: str, found: Iterable[FieldProblem]) -> None:
        """Adds the problems found in a part. `path`: the part's path."""
        for each in found:
            self.add(f"{path}.{each.path}" if each.path else path, each.message, each.value, remedy=each.remedy)

    def unfit(self, path: str, expected: str, value: Any) -> Unfit:
        """Reports that a value is not what is expected, and returns the exception for callers that cannot continue without it."""
        self.add(path, f"must be {expected}, not {describe(value)}", value)
        return Unfit()

    def summary(self) -> str:
        """The first problem in words, and how many more there are."""
        first = self.found[0]
        more = f" (and {len(self.found) - 1} more)" if len(self.found) > 1 else ""
        return f"{first.path or 'the body'} {first.message}{more}"

    def raise_any(self) -> None:
        """Raises PeltonError "invalid" naming every invalid field."""
        if self.found:
            raise PeltonError(Code.INVALID, self.summary(), problems=self.found)


def describe(value: Any) -> str:
    """A short rendering of a value, for messages."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    text = repr(value) if isinstance(value, str) else msgspec.json.encode(value).decode()
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 1] + "…"


def scalar_text(value: Any) -> str | None:
    """A string, number or boolean as text, truncated; None for anything else."""
    if isinstance(value, str):
        return value[:MAX_VALUE]
    if isinstance(value, bool | int | float):
        return msgspec.json.encode(value).decode()[:MAX_VALUE]
    return None
