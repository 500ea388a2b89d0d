"""Decoding JSON into structs. All invalid fields are reported together, with path, value and what is expected.

Common to all APIs: unknown members are ignored, and null means absent. Differences are configured in a
`Decoder`: whether scalars must have the exact type (`STRICT`) or are converted if their meaning is clear (`LENIENT`), and how map
entries are written in paths.

A struct declares what it accepts by its type hints: scalars, `Any`, lists, maps, `Literal`, other structs, unions of tagged
structs, and `Annotated` with `msgspec.Meta` for limits, whose `description` says what is expected. `UNSET` and `None` in a union
mean that the member may be absent.

Invariant: any JSON either becomes a struct or is refused as invalid, never with another exception. The recursion depth is that of
the document, which `documents` limits, or of the structs. Cost: about 0.5 us per member; a document whose types match the structs
exactly skips this if the decoder is `typed_first`.
"""

from __future__ import annotations

import re
import types
from collections.abc import Callable, Mapping
from functools import reduce
from operator import or_
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta, Struct, UnsetType

from pelton.transport import documents
from pelton.transport.validation import Problems, Unfit

T = TypeVar("T", bound=Struct)
Read = Callable[[Any, str, Problems], Any]
"""Takes a value, its path, and where to report; gives the value that the member has. Raises Unfit, after reporting."""

MAX_DIGITS = 20  # of a whole number that comes as text
MAX_KEY = 100  # characters of a key in a path


class NothingSaid(Exception):
    """A value that is present but means "absent", such as an empty string for a number: the member keeps its default."""


class Decoder:
    """How one API reads JSON. Readers are created once per struct and cached.

    `typed_first`: try msgspec's own decoding first; not for structs with limits that msgspec interprets differently (patterns).
    `big_numbers`: whole numbers of more than 64 bits are taken, where anything may stand. `keep_null_entries`: a null in a map is
    an entry, not absent. `bracket_keys`: paths are `fields[name]`, not `fields.name`. `problems`: creates the collector for the
    problems of one call.
    """

    def __init__(
        self,
        scalars: Mapping[Any, Read],
        *,
        typed_first: bool = False,
        keep_null_entries: bool = False,
        bracket_keys: bool = False,
        big_numbers: bool = False,
        problems: Callable[[], Problems] = Problems,
    ) -> None:
        self._scalars = scalars
        self._typed_first = typed_first
        self._keep_null_entries = keep_null_entries
        self._bracket_keys = bracket_keys
        self._big_numbers = big_numbers
        self._problems = problems
        self._typed: dict[type, msgspec.json.Decoder[Any]] = {}
        self._structs: dict[type, dict[str, tuple[str, bool, Read]]] = {}

    def decode(self, data: bytes, form: type[T]) -> T:
        """Decodes JSON text into a struct. Raises PeltonError "invalid"."""
        data = documents.without_mark(data)
        if self._typed_first:
            documents.check_depth(data)
            if self._big_numbers or not documents.has_long_number(data):
                typed = self._typed.get(form)
                if typed is None:
                    typed = self._typed[form] = msgspec.json.Decoder(form)
                try:
                    found: T = typed.decode(data)
                    return found
                except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                    pass  # what is not JSON at all is reported below
        return self.convert(documents.parse(data, self._big_numbers), form)

    def convert(self, value: Any, form: type[T]) -> T:
        """Converts JSON data into a struct. Raises PeltonError "invalid"."""
        return self._whole([("", value)], form)[0]

    def convert_list(self, value: Any, form: type[T]) -> list[T]:
        """A list of structs; a single one counts as a list of one. Raises PeltonError "invalid"."""
        if not isinstance(value, list):
            return [self.convert(value, form)]
        return self._whole([(f"[{index}]", item) for index, item in enumerate(value)], form)

    def _whole(self, items: list[tuple[str, Any]], form: type[T]) -> list[T]:
        problems = self._problems()
        found: list[T] = []
        for path, item in items:
            try:
                found.append(self._struct(item, form, path, problems))
            except Unfit:
                continue
        problems.raise_any()
        return found

    # ---- readers

    def _struct(self, value: Any, form: type[T], path: str, problems: Problems) -> T:
        if not isinstance(value, dict):
            raise problems.unfit(path, "an object", value)
        given: dict[str, Any] = {}
        failed = False
        members = self._structs.get(form)
        if members is None:
            members = self._structs[form] = self._members(form)
        for key, (name, required, read) in members.items():
            item = value.get(key)
            where = f"{path}.{key}" if path else key
            if item is None:
                if required:
                    problems.add(where, "is required")
                    failed = True
                continue
            try:
                given[name] = read(item, where, problems)
            except NothingSaid:
                continue
            except Unfit:
                failed = True
        if failed:
            raise Unfit
        return form(**given)

    def _members(self, form: type[Struct]) -> dict[str, tuple[str, bool, Read]]:
        """By wire name: attribute, whether it is required, its reader."""
        hints = get_type_hints(form, include_extras=True)
        fields = msgspec.structs.fields(form)
        return {each.encode_name: (each.name, each.required, self._reader(hints[each.name])) for each in fields}

    def _reader(self, hint: Any) -> Read:
        if hint is Any:
            return lambda value, path, problems: value
        origin, arguments = get_origin(hint), get_args(hint)
        if origin is Annotated:
            [meta] = [each for each in arguments[1:] if isinstance(each, Meta)]
            return _bounded(self._reader(arguments[0]), meta)
        if origin is Literal:
            return _choice(arguments)
        if origin is list:
            return _list(self._reader(arguments[0]))
        if origin is dict:
            return self._map(self._reader(arguments[1]))
        if hint in self._scalars:
            return self._scalars[hint]
        if origin in (Union, types.UnionType):
            present = [each for each in arguments if each not in (UnsetType, type(None))]
            if len(present) > 1 and all(isinstance(each, type) and issubclass(each, Struct) for each in present):
                return self._tagged(present)
            return self._reader(reduce(or_, present))
        if isinstance(hint, type) and issubclass(hint, Struct):
            return lambda value, path, problems: self._struct(value, hint, path, problems)
        raise TypeError(f"no way to read {hint}")

    def _map(self, inner: Read) -> Read:
        def read(value: Any, path: str, problems: Problems) -> Any:
            if not isinstance(value, dict):
                raise problems.unfit(path, "an object", value)
            found: dict[str, Any] = {}
            failed = False
            for key, item in value.items():
                if item is None and not self._keep_null_entries:
                    continue
                where = f"{path}[{key[:MAX_KEY]}]" if self._bracket_keys else f"{path}.{key}"
                try:
                    found[key] = inner(item, where, problems)
                except NothingSaid:
                    problems.unfit(where, "given", item)
                    failed = True
                except Unfit:
                    failed = True
            if failed:
                raise Unfit
            return found

        return read

    def _tagged(self, forms: list[Any]) -> Read:
        """One of several structs, distinguished by their tags."""
        by_tag: dict[str, type[Struct]] = {form.__struct_config__.tag: form for form in forms}
        field: str = forms[0].__struct_config__.tag_field

        def read(value: Any, path: str, problems: Problems) -> Any:
            if not isinstance(value, dict):
                raise problems.unfit(path, "an object", value)
            tag = value.get(field)
            if tag is None:
                problems.add(f"{path}.{field}", f"is required: one of {', '.join(by_tag)}")
                raise Unfit
            form = by_tag.get(tag) if isinstance(tag, str) else None
            if form is None:
                raise problems.unfit(f"{path}.{field}", f"one of {', '.join(by_tag)}", tag)
            return self._struct(value, form, path, problems)

        return read


def _bounded(inner: Read, meta: Meta) -> Read:
    """A string, list or whole number within limits."""
    pattern = re.compile(meta.pattern, re.ASCII) if meta.pattern else None
    low, high = meta.min_length or 0, meta.max_length
    expected = meta.description or "something else"

    def read(value: Any, path: str, problems: Problems) -> Any:
        found = inner(value, path, problems)
        if isinstance(found, int):
            outside = (meta.ge is not None and found < meta.ge) or (meta.le is not None and found > meta.le)
        else:
            outside = len(found) < low or (high is not None and len(found) > high)
            outside = outside or (pattern is not None and pattern.fullmatch(found) is None)
        if outside:
            raise problems.unfit(path, expected, value)
        return found

    return read


def _choice(choices: tuple[str, ...]) -> Read:
    expected = choices[0] if len(choices) == 1 else f"one of {', '.join(choices)}"
    known = frozenset(choices)

    def read(value: Any, path: str, problems: Problems) -> Any:
        if not isinstance(value, str) or value not in known:
            raise problems.unfit(path, expected, value)
        return value

    return read


def _list(inner: Read) -> Read:
    def read(value: Any, path: str, problems: Problems) -> Any:
        if not isinstance(value, list):
            raise problems.unfit(path, "a list", value)
        found: list[Any] = []
        for index, item in enumerate(value):
            where = f"{path}[{index}]"
            try:
                found.append(inner(item, where, problems))
            except NothingSaid:
                problems.unfit(where, "given", item)
            except Unfit:
                continue
        if len(found) < len(value):
            raise Unfit
        return found

    return read


# ---- scalars as they are


def _exactly(kind: type, expected: str) -> Read:
    def read(value: Any, path: str, problems: Problems) -> Any:
        if type(value) is not kind:
            raise problems.unfit(path, expected, value)
        return value

    return read


STRICT: Mapping[Any, Read] = {
    str: _exactly(str, "a text"),
    int: _exactly(int, "a whole number"),
    bool: _exactly(bool, "true or false"),
}
"""Scalars must have the exact type."""


# ---- scalars as people write them


def _text(value: Any, path: str, problems: Problems) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool | int | float):
        return msgspec.json.encode(value).decode()
    raise problems.unfit(path, "text", value)


def _whole(value: Any, path: str, problems: Problems) -> int:
    if isinstance(value, str):
        text = value.strip()
        if not text:
            raise NothingSaid
        digits = text.lstrip("+-")
        if len(text) <= MAX_DIGITS and digits.isascii() and digits.isdigit():
            try:
                value = int(text)
            except ValueError:
                raise problems.unfit(path, "a whole number", text) from None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise problems.unfit(path, "a whole number", value)
    if not -(2**63) <= value < 2**63:
        raise problems.unfit(path, "a whole number of at most 64 bits", value)
    return value


def _number(value: Any, path: str, problems: Problems) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return float(_whole(value, path, problems))
    return float(value)


def _truth(value: Any, path: str, problems: Problems) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        text = value.strip().lower()
        if not text:
            raise NothingSaid
        if text in ("true", "false"):
            return text == "true"
    elif isinstance(value, int):
        return value != 0
    raise problems.unfit(path, "true or false", value)


def _whole_or_text(value: Any, path: str, problems: Problems) -> int | str:
    return value if isinstance(value, str) else _whole(value, path, problems)


LENIENT: Mapping[Any, Read] = {str: _text, int: _whole, float: _number, bool: _truth, int | str: _whole_or_text}
"""Numbers and booleans may be given as strings and vice versa; an empty string for one of them means "absent"."""
