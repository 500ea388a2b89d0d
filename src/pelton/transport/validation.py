"""What is wrong with a request, field by field: collected, and reported all at once.

A caller who has to mend one field after the other tries many times; so checks go on after the first problem. How many problems
are kept is bounded, and so is what is repeated of a value.
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
    """A value does not fit, and that has been reported: what it belongs to cannot be made."""


class Problems:
    """Collects problems; `raise_any` ends the request when there are any.

    `prefix` begins the path of each. At most `most` are kept: the first ones.
    """

    def __init__(self, prefix: str = "", most: int = MAX_PROBLEMS) -> None:
        self.found: list[FieldProblem] = []
        self._prefix = prefix
        self._most = most

    def add(self, path: str, message: str, value: Any = UNSET, *, remedy: str = "") -> None:
        """`path`: the field, "" for the whole; `message` continues a sentence that begins with it. `value`: what was found
        there. `remedy`: what to do, where the message does not say it."""
        if len(self.found) < self._most:
            self.found.append(FieldProblem(self._prefix + path, message, scalar_text(value), remedy))

    def include(self, path: str, found: Iterable[FieldProblem]) -> None:
        """Adds the problems of a part. `path`: where the part is."""
        for each in found:
            self.add(f"{path}.{each.path}" if each.path else path, each.message, each.value, remedy=each.remedy)

    def unfit(self, path: str, expected: str, value: Any) -> Unfit:
        """Reports that a value is not what is expected; to be raised by those who cannot go on without it."""
        self.add(path, f"must be {expected}, not {describe(value)}", value)
        return Unfit()

    def summary(self) -> str:
        """The first problem in words, and how many more there are."""
        first = self.found[0]
        more = f" (and {len(self.found) - 1} more)" if len(self.found) > 1 else ""
        return f"{first.path or 'the body'} {first.message}{more}"

    def raise_any(self) -> None:
        """Raises PeltonError "invalid" that names every field in question."""
        if self.found:
            raise PeltonError(Code.INVALID, self.summary(), problems=self.found)


def describe(value: Any) -> str:
    """A value in few characters, as a message shows it."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    text = repr(value) if isinstance(value, str) else msgspec.json.encode(value).decode()
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 1] + "…"


def scalar_text(value: Any) -> str | None:
    """A text, number or truth value as text, cut to a length; None for anything else."""
    if isinstance(value, str):
        return value[:MAX_VALUE]
    if isinstance(value, bool | int | float):
        return msgspec.json.encode(value).decode()[:MAX_VALUE]
    return None
