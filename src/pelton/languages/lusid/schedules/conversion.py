"""Converts plain data of a request to typed structs; invalid data is reported with its field, its value and the remedy.

The types and their limits are in the structs; `remedies` has the remedy for each field, by name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from pelton.errors import Code, FieldProblem, PeltonError
from pelton.kernel.expressions.base import JSON

T = TypeVar("T")

SHOWN = 100  # characters of a bad value that are repeated to the caller
DEEPEST = 32  # levels down to which absent members are looked for
ABSENT = "a value"

_PLACE = re.compile(r"(?P<said>.*?)(?: - at `(?P<key>key in )?\$(?P<path>[^`]*)`)?", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `([^`]+)`")
_STEPS = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]")


class ScheduleError(PeltonError):
    """A schedule, or something that belongs to one, is not well-formed. `path`: the field; `value`: what is there (None =
    nothing); `remedy`: what to do."""

    def __init__(self, path: str, value: JSON, remedy: str) -> None:
        said = f"is {describe(value)}; {remedy}" if value is not None else f"is missing; {remedy}"
        problem = FieldProblem(path, f"{path} {said}", None if value is None else describe(value))
        super().__init__(Code.INVALID, problem.message, problems=[problem])
        self.path = path
        self.value = value
        self.remedy = remedy


def describe(value: JSON) -> str:
    """A value in few characters."""
    text = repr(value) if isinstance(value, str) else msgspec.json.encode(value).decode()
    return text if len(text) <= SHOWN else text[: SHOWN - 3] + "..."


def present(value: JSON, depth: int = DEEPEST) -> JSON:
    """The same without members that are null: null is how clients write "absent"."""
    if depth > 0:
        if isinstance(value, dict):
            return {key: present(member, depth - 1) for key, member in value.items() if member is not None}
        if isinstance(value, list):
            return [present(item, depth - 1) for item in value]
    return value


def converted(value: JSON, kind: type[T], path: str, remedies: Mapping[str, str]) -> T:
    """Raises ScheduleError."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise complaint(str(error), value, path, remedies) from None


def complaint(text: str, value: JSON, path: str, remedies: Mapping[str, str]) -> ScheduleError:
    found = _PLACE.fullmatch(text)
    said, where = (found["said"], found["path"] or "") if found is not None else (text, "")
    at: Any = value
    name = ""
    for member, index in _STEPS.findall(where):
        name = member or name
        if member:
            at = at.get(member) if isinstance(at, dict) else None
        else:
            at = at[int(index)] if isinstance(at, list) and int(index) < len(at) else None
    missing = _MISSING.fullmatch(said)
    if missing is not None:
        field = missing[1]
        return ScheduleError(f"{path}{where}.{field}", None, remedies.get(field, f"give {ABSENT}"))
    return ScheduleError(f"{path}{where}", at, remedies.get(name, said[:1].lower() + said[1:]))
