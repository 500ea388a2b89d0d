"""From JSON to the forms of `model.py`: strict about types, forgiving about what is too much.

Null means absent everywhere (clients send it for what they do not set), members that no form has are ignored, and everything that
does not fit is reported at once, each with its path, the value found and what is expected.

Invariant: any JSON gives a form or a WebError 400, never another exception. The depth of recursion is that of the forms; values
of any shape are kept as they are. Cost: about 0.5 us a member.
"""

from __future__ import annotations

import re
import types
from collections.abc import Callable
from functools import cache
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta, Struct, UnsetType

from pelton.languages.lusid.errors import Refused, invalid
from pelton.transport.http import documents
from pelton.transport.http.errors import FieldProblem, WebError

T = TypeVar("T", bound=Struct)
MAX_PROBLEMS = 50
MAX_SHOWN = 100


class _Bad(Exception):
    """Has been reported: the form that it belongs to is not made."""


class _Problems:
    def __init__(self) -> None:
        self.found: list[FieldProblem] = []

    def bad(self, path: str, expected: str, value: Any) -> _Bad:
        self.add(path, f"must be {expected}, not {shown(value)}", scalar(value))
        return _Bad()

    def add(self, path: str, message: str, value: str | None = None) -> None:
        if len(self.found) < MAX_PROBLEMS:
            self.found.append(FieldProblem(path, message, value))


Read = Callable[[Any, str, _Problems], Any]


def body(data: bytes, form: type[T]) -> T:
    """Raises Refused."""
    return convert(parse(data), form)


def parse(data: bytes) -> Any:
    """Raises Refused."""
    try:
        return documents.parse(data)
    except WebError as error:
        if error.problems:
            raise
        raise Refused("InvalidRequest", error.message) from None


def convert(value: Any, form: type[T]) -> T:
    """Raises Refused, naming up to 50 fields."""
    problems = _Problems()
    try:
        found: T = _struct(value, form, "", problems)
    except _Bad:
        raise invalid(problems.found) from None
    if problems.found:
        raise invalid(problems.found)
    return found


def plain(form: Struct) -> dict[str, Any]:
    """The form as JSON data, without what it does not have."""
    found: dict[str, Any] = msgspec.to_builtins(form)
    return found


@cache
def _members(form: type[Struct]) -> dict[str, tuple[str, bool, Read]]:
    """By wire name: attribute, whether it is required, how it is read."""
    hints = get_type_hints(form, include_extras=True)
    return {each.encode_name: (each.name, each.required, _reader(hints[each.name])) for each in msgspec.structs.fields(form)}


def _struct(value: Any, form: type[T], path: str, problems: _Problems) -> T:
    if not isinstance(value, dict):
        raise problems.bad(path, "an object", value)
    given: dict[str, Any] = {}
    failed = False
    for key, (name, required, read) in _members(form).items():
        item = value.get(key)
        where = f"{path}.{key}" if path else key
        if item is None:
            if required:
                problems.add(where, "is required")
                failed = True
            continue
        try:
            given[name] = read(item, where, problems)
        except _Bad:
            failed = True
    if failed:
        raise _Bad
    return form(**given)


def _reader(hint: Any) -> Read:
    if hint is Any:
        return lambda value, path, problems: value
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        [meta] = [each for each in arguments[1:] if isinstance(each, Meta)]
        return _bounded(_reader(arguments[0]), meta)
    if hint in _SIMPLE:
        return _simple(hint)
    if origin is Literal:
        return _choice(arguments)
    if origin is list:
        return _list(_reader(arguments[0]))
    if origin is dict:
        return _map(_reader(arguments[1]))
    if origin in (Union, types.UnionType):
        kept = [each for each in arguments if each is not UnsetType]
        return _reader(kept[0]) if len(kept) == 1 else _tagged(kept)
    if isinstance(hint, type) and issubclass(hint, Struct):
        return lambda value, path, problems: _struct(value, hint, path, problems)
    raise TypeError(f"no way to read {hint}")


_SIMPLE: dict[Any, str] = {str: "text", int: "a whole number", bool: "true or false"}


def _simple(kind: type) -> Read:
    def read(value: Any, path: str, problems: _Problems) -> Any:
        if type(value) is not kind:
            raise problems.bad(path, _SIMPLE[kind], value)
        return value

    return read


def _bounded(inner: Read, meta: Meta) -> Read:
    """A text or list within bounds. `meta.description` says what is expected."""
    pattern = re.compile(meta.pattern, re.ASCII) if meta.pattern else None
    low, high = meta.min_length or 0, meta.max_length
    expected = meta.description or "something else"

    def read(value: Any, path: str, problems: _Problems) -> Any:
        found = inner(value, path, problems)
        if isinstance(found, int):
            outside = (meta.ge is not None and found < meta.ge) or (meta.le is not None and found > meta.le)
        else:
            outside = len(found) < low or (high is not None and len(found) > high)
            outside = outside or (pattern is not None and pattern.fullmatch(found) is None)
        if outside:
            raise problems.bad(path, expected, value)
        return found

    return read


def _choice(choices: tuple[str, ...]) -> Read:
    expected = choices[0] if len(choices) == 1 else f"one of {', '.join(choices)}"

    def read(value: Any, path: str, problems: _Problems) -> Any:
        if not isinstance(value, str) or value not in choices:
            raise problems.bad(path, expected, value)
        return value

    return read


def _list(inner: Read) -> Read:
    def read(value: Any, path: str, problems: _Problems) -> Any:
        if not isinstance(value, list):
            raise problems.bad(path, "a list", value)
        found: list[Any] = []
        for index, item in enumerate(value):
            try:
                found.append(inner(item, f"{path}[{index}]", problems))
            except _Bad:
                continue
        if len(found) < len(value):
            raise _Bad
        return found

    return read


def _map(inner: Read) -> Read:
    def read(value: Any, path: str, problems: _Problems) -> Any:
        if not isinstance(value, dict):
            raise problems.bad(path, "an object", value)
        found: dict[str, Any] = {}
        failed = False
        for key, item in value.items():
            if item is None:
                continue
            try:
                found[key] = inner(item, f"{path}[{key[:MAX_SHOWN]}]", problems)
            except _Bad:
                failed = True
        if failed:
            raise _Bad
        return found

    return read


def _tagged(forms: list[Any]) -> Read:
    """One of several forms, told apart by their tag."""
    by_tag: dict[str, type[Struct]] = {form.__struct_config__.tag: form for form in forms}
    field: str = forms[0].__struct_config__.tag_field

    def read(value: Any, path: str, problems: _Problems) -> Any:
        if not isinstance(value, dict):
            raise problems.bad(path, "an object", value)
        tag = value.get(field)
        if tag is None:
            problems.add(f"{path}.{field}", f"is required: one of {', '.join(by_tag)}")
            raise _Bad
        form = by_tag.get(tag) if isinstance(tag, str) else None
        if form is None:
            raise problems.bad(f"{path}.{field}", f"one of {', '.join(by_tag)}", tag)
        return _struct(value, form, path, problems)

    return read


def shown(value: Any) -> str:
    """A value as an error shows it."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    text = msgspec.json.encode(value).decode(errors="replace")
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 1] + "…"


def scalar(value: Any) -> str | None:
    return None if isinstance(value, dict | list) else shown(value)
