"""From JSON as people write it to the wire forms: unknown members are ignored, scalars are converted where their meaning is
plain, null means the default. Whatever else does not fit is reported with its path, the value found and what is expected.

Invariant: any JSON gives a form or a WebError 400, never another exception. The depth of recursion is that of the document,
which `web.documents` has bounded. Cost: about 0.5 us a member; documents in the form's own types skip all of it.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from functools import cache
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import UNSET, Struct, UnsetType

from pelton.transport.http import documents
from pelton.transport.http.errors import FieldProblem, WebError

T = TypeVar("T", bound=Struct)
MAX_PROBLEMS = 20


class _Bad(Exception):
    def __init__(self, path: str, expected: str, found: Any) -> None:
        self.problem = FieldProblem(path, f"must be {expected}, not {shown(found)}", scalar(found))


class _Default(Exception):
    """The value says nothing: the member keeps its default."""


Coerce = Callable[[Any, str, list[FieldProblem]], Any]


def decode(data: bytes, form: type[T]) -> T:
    """Raises WebError 400."""
    documents.check_depth(data)
    if not documents.has_long_number(data):
        try:
            found: T = _decoder(form).decode(data)
            return found
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            pass  # lenient from here on; what is not JSON at all is reported there
    return convert(documents.parse(data), form)


def decode_list(data: bytes, form: type[T]) -> list[T]:
    """A list of forms; one form alone counts as a list of one. Raises WebError 400."""
    value = documents.parse(data)
    items = value if isinstance(value, list) else [value]
    problems: list[FieldProblem] = []
    found = [_struct(item, form, f"[{index}]" if value is items else "", problems) for index, item in enumerate(items)]
    _raise(problems)
    return found


def decode_map(data: bytes, what: str) -> dict[str, Any]:
    """An object with any members; an empty body and null count as an empty one. Raises WebError 400."""
    if not data.strip():
        return {}
    value = documents.parse(data)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise WebError(400, f"JSON parse error: {what} must be an object, not {shown(value)}")
    return value


def decode_texts(data: bytes, what: str) -> list[str]:
    value = documents.parse(data)
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise WebError(400, f"JSON parse error: {what} must be a list of texts, not {shown(value)}")
    return value


def convert(value: Any, form: type[T]) -> T:
    """Raises WebError 400 that names up to 20 places."""
    problems: list[FieldProblem] = []
    result = _struct(value, form, "", problems)
    _raise(problems)
    return result


def _raise(problems: list[FieldProblem]) -> None:
    if problems:
        first = problems[0]
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise WebError(400, f"JSON parse error: {first.path or 'the body'} {first.message}{more}", problems=problems)


@cache
def _decoder(form: type[T]) -> msgspec.json.Decoder[T]:
    return msgspec.json.Decoder(form)


@cache
def _members(form: type[Struct]) -> dict[str, tuple[str, Coerce]]:
    hints = get_type_hints(form)
    return {each.encode_name: (each.name, _coercer(hints[each.name])) for each in msgspec.structs.fields(form)}


def _struct(value: Any, form: type[T], path: str, problems: list[FieldProblem]) -> T:
    if not isinstance(value, dict):
        problems.append(_Bad(path, "an object", value).problem)
        return form()
    given: dict[str, Any] = {}
    members = _members(form)
    for key, item in value.items():
        member = members.get(key)
        if member is None or item is None:
            continue
        name, coerce = member
        try:
            given[name] = coerce(item, f"{path}.{key}" if path else key, problems)
        except _Default:
            continue
        except _Bad as bad:
            if len(problems) < MAX_PROBLEMS:
                problems.append(bad.problem)
    return form(**given)


def _coercer(hint: Any) -> Coerce:
    if hint is Any:
        return lambda value, path, problems: value
    simple = _SIMPLE.get(hint)
    if simple is not None:
        return simple
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        return _choice(arguments)
    if origin is list:
        return _list(_coercer(arguments[0]))
    if origin is dict:
        return _map(_coercer(arguments[1]))
    if origin in (Union, types.UnionType):
        kept = [each for each in arguments if each not in (UnsetType, type(None))]
        if set(kept) == {int, str}:
            return _whole_or_text
        return _coercer(kept[0])
    if isinstance(hint, type) and issubclass(hint, Struct):
        return lambda value, path, problems: _struct(value, hint, path, problems)
    raise TypeError(f"no conversion to {hint}")


def _text(value: Any, path: str, problems: list[FieldProblem]) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool | int | float):
        return msgspec.json.encode(value).decode()
    raise _Bad(path, "text", value)


def _whole(value: Any, path: str, problems: list[FieldProblem]) -> int:
    if isinstance(value, str):
        text = value.strip()
        if not text:
            raise _Default
        if len(text) <= 20 and text.lstrip("+-").isascii() and text.lstrip("+-").isdigit():
            try:
                value = int(text)
            except ValueError:
                raise _Bad(path, "a whole number", text) from None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise _Bad(path, "a whole number", value)
    if not -(2**63) <= value < 2**63:
        raise _Bad(path, "a whole number of at most 64 bits", value)
    return value


def _number(value: Any, path: str, problems: list[FieldProblem]) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return float(_whole(value, path, problems))
    return float(value)


def _flag(value: Any, path: str, problems: list[FieldProblem]) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        text = value.strip().lower()
        if not text:
            raise _Default
        if text in ("true", "false"):
            return text == "true"
    elif isinstance(value, int):
        return value != 0
    raise _Bad(path, "true or false", value)


def _whole_or_text(value: Any, path: str, problems: list[FieldProblem]) -> int | str:
    return value if isinstance(value, str) else _whole(value, path, problems)


def _choice(values: tuple[str, ...]) -> Coerce:
    known = frozenset(values)

    def coerce(value: Any, path: str, problems: list[FieldProblem]) -> str:
        if isinstance(value, str) and value in known:
            return value
        raise _Bad(path, "one of " + ", ".join(values), value)

    return coerce


def _list(item: Coerce) -> Coerce:
    def coerce(value: Any, path: str, problems: list[FieldProblem]) -> list[Any]:
        if not isinstance(value, list):
            raise _Bad(path, "a list", value)
        found = []
        for index, each in enumerate(value):
            try:
                found.append(item(each, f"{path}[{index}]", problems))
            except _Default:
                raise _Bad(f"{path}[{index}]", "given", each) from None
        return found

    return coerce


def _map(item: Coerce) -> Coerce:
    def coerce(value: Any, path: str, problems: list[FieldProblem]) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise _Bad(path, "an object", value)
        found: dict[str, Any] = {}
        for key, each in value.items():
            try:
                found[key] = item(each, f"{path}.{key}", problems)
            except _Default:
                raise _Bad(f"{path}.{key}", "given", each) from None
        return found

    return coerce


_SIMPLE: dict[Any, Coerce] = {str: _text, int: _whole, float: _number, bool: _flag}


def shown(value: Any) -> str:
    """A value as an error message shows it, in a few words."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, str):
        return repr(value if len(value) <= 100 else value[:97] + "...")
    return msgspec.json.encode(value).decode()[:100]


def scalar(value: Any) -> str | None:
    """The text of a scalar for `invalidValue`; None for what is not one."""
    if isinstance(value, str):
        return value[:1000]
    if isinstance(value, bool | int | float):
        return msgspec.json.encode(value).decode()[:100]
    return None


__all__ = ["UNSET", "convert", "decode", "decode_list", "decode_map", "decode_texts", "scalar", "shown"]
