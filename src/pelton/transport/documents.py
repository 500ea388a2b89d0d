"""Untrusted JSON, made safe before anything else processes it.

Three things are bounded here: nesting (later parsers, walkers and encoders may be recursive), the number of lists and maps (what
they cost is out of proportion to their bytes) and whole numbers (nothing beyond 64 bits can be stored). For ordinary bodies the
checks are a few passes at C speed: about 1 us for 1 kB. A body that would need more than `MAX_WORK` for it is refused.

What comes as msgpack is held to the same: see `clean`.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable
from math import isfinite
from typing import Any

import msgspec
import msgspec.inspect

from pelton.errors import Code, FieldProblem, PeltonError

MAX_DEPTH = 200
MAX_CONTAINERS = 500_000  # lists and maps in one document
MAX_WORK = 16 << 20  # bytes looked at to see how deep it is nested
_LEAST, _MOST = -(2**63), 2**64 - 1
_DIGITS = bytes.maketrans(b"123456789", b"000000000")
_LONG_NUMBER = b"0" * 19
_BRACKETS = bytes.maketrans(b"{}", b"[]")
_OTHERS = bytes(set(range(256)) - set(b'[]{}"'))
_MARK = b"\xef\xbb\xbf"  # the byte-order mark that some editors and systems put in front of UTF-8
_decode = msgspec.json.Decoder().decode


def check_depth(data: bytes, limit: int = MAX_DEPTH) -> None:
    """Raises PeltonError "invalid" if lists and objects are nested deeper than `limit`, if there are too many of them, or if too
    many of them are nested too deeply to be worth the time. Text that is not JSON may pass."""
    if data.count(b"[") + data.count(b"{") <= limit:
        return
    if b"\\" in data:
        data = data.replace(b"\\\\", b"").replace(b'\\"', b"")
    # Two quotes that touch, once all else is gone, are an empty text, or the end of one and the beginning of the next: without
    # them everything else is inside or outside of texts as before. What is left to be split are texts that hold brackets.
    shape = data.translate(_BRACKETS, _OTHERS).replace(b'""', b"")
    if b'"' in shape:
        shape = b"".join(shape.split(b'"')[::2])
    if b"[" not in shape:
        return  # all of them stand in texts
    if len(shape) > 2 * MAX_CONTAINERS:
        message = f"the body has more than {MAX_CONTAINERS} lists and objects; send it in several parts, or as text"
        raise PeltonError(Code.INVALID, message)
    too_deep = b"[" * (limit + 1)
    work = 0
    for _ in range(limit):
        work += len(shape)
        if too_deep in shape:
            break
        if work > MAX_WORK:
            raise PeltonError(
                Code.INVALID, "the body is nested deeply in too many places; flatten it, or send it in several parts"
            )
        inner = shape.replace(b"[]", b"")  # takes the innermost level away everywhere at once
        if not inner or len(inner) == len(shape):
            return
        shape = inner
    raise PeltonError(Code.INVALID, f"the body is nested deeper than {limit} levels; flatten it")


def clean(struct: Any, limit: int = MAX_DEPTH) -> None:
    """Makes what was decoded from msgpack what JSON can say: bytes become base64 texts, in place. Raises PeltonError "invalid",
    with the path, for what JSON has no word for, and for what is nested deeper than `limit`."""
    if not _is_clean(struct, limit):
        _clean(struct, limit)


def _is_clean(struct: Any, limit: int) -> bool:
    """Whether all of it can be said as it is: so it is nearly always, and this looks at most of it at C speed."""
    level: list[Any] = [struct]  # what msgpack has for whole numbers is 64 bits long
    for _ in range(limit):
        below: list[Any] = []
        for holder in level:
            kind = type(holder)
            if kind is dict:
                if not _TEXT.issuperset(map(type, holder)):
                    return False
                items = holder.values()
            else:
                items = holder if kind is list else [getattr(holder, name) for name in _open_members(kind)]
            if _PLAIN.issuperset(map(type, items)):
                continue
            for item in items:
                kind = type(item)
                if kind in _PLAIN:
                    continue
                if kind is dict or kind is list or isinstance(item, msgspec.Struct):
                    below.append(item)
                elif kind is not float or not isfinite(item):
                    return False
        if not below:
            return True
        level = below
    return False


def _open_members(kind: type[msgspec.Struct]) -> tuple[str, ...]:
    """The members of a struct that can be more than a text, a whole number or a truth value."""
    found = _OPEN_MEMBERS.get(kind)
    if found is None:
        info = msgspec.inspect.type_info(kind)
        assert isinstance(info, msgspec.inspect.StructType)
        found = tuple(field.name for field in info.fields if not isinstance(field.type, _CLOSED))
        _OPEN_MEMBERS[kind] = found
    return found


def _clean(struct: Any, limit: int) -> None:
    stack: list[tuple[str, Any, int]] = [("", struct, 0)]
    while stack:
        path, holder, depth = stack.pop()
        if depth > limit:
            raise _unsayable(path, f"is nested deeper than {limit} levels; flatten it")
        for key, item in _children(holder):
            kind = type(item)
            if isinstance(holder, dict) and type(key) is not str:
                raise _unsayable(path, f"has the key {key!r:.60}; keys must be texts")
            if kind in _SCALARS:
                continue
            where = f"{path}[{key}]" if isinstance(holder, list) else f"{path}.{key}".lstrip(".")
            if kind is bytes:
                _put(holder, key, b64encode(item).decode())
            elif kind is dict or kind is list or isinstance(item, msgspec.Struct):
                stack.append((where, item, depth + 1))
            else:
                _check_number(item, where)


_CLOSED = (msgspec.inspect.StrType, msgspec.inspect.IntType, msgspec.inspect.BoolType)
_OPEN_MEMBERS: dict[type[msgspec.Struct], tuple[str, ...]] = {}
_TEXT = frozenset({str})
_PLAIN = frozenset({str, int, bool, type(None), msgspec.UnsetType})
_SCALARS = frozenset({str, bool, type(None), msgspec.UnsetType})


def _children(holder: Any) -> Iterable[tuple[Any, Any]]:
    if isinstance(holder, dict):
        return list(holder.items())
    return enumerate(holder) if isinstance(holder, list) else [(name, getattr(holder, name)) for name in holder.__struct_fields__]


def _put(holder: Any, key: Any, text: str) -> None:
    if isinstance(holder, (dict, list)):
        holder[key] = text
    else:
        setattr(holder, key, text)


def _check_number(item: Any, where: str) -> None:
    if type(item) is int:
        if not _LEAST <= item <= _MOST:
            raise _unsayable(where, "is a whole number beyond 64 bits; send it as a string")
    elif type(item) is not float:
        raise _unsayable(where, "is of a type that JSON does not have; send texts, numbers, lists and maps")
    elif not isfinite(item):
        raise _unsayable(where, f"is {item}, which JSON cannot say; send null, or a string")


def _unsayable(path: str, what: str) -> PeltonError:
    return PeltonError(Code.INVALID, f"{path or 'the body'} {what}", path, problems=[FieldProblem(path, what)])


def check_numbers(value: Any, limit: int = MAX_DEPTH) -> None:
    """Raises PeltonError "invalid", with the path, if a whole number does not fit into 64 bits."""
    stack: list[tuple[str, Any]] = [("", value)]
    while stack:
        path, item = stack.pop()
        if isinstance(item, int):
            if not _LEAST <= item <= _MOST:
                where = path or "the body"
                message = f"{where} is a whole number beyond 64 bits; send it as a string"
                raise PeltonError(Code.INVALID, message, problems=[FieldProblem(path, "does not fit into 64 bits")])
        elif isinstance(item, dict):
            stack.extend((f"{path}.{key}" if path else key, child) for key, child in item.items())
        elif isinstance(item, list):
            stack.extend((f"{path}[{index}]", child) for index, child in enumerate(item))


def parse(data: bytes, big_numbers: bool = False) -> Any:
    """Parses JSON. Raises PeltonError "invalid" if it is malformed or exceeds a bound. `big_numbers`: whole numbers of any size
    are taken, by those who store them as JSON."""
    data = without_mark(data)
    check_depth(data)
    try:
        value = _decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise malformed(data, error) from None
    if not big_numbers and has_long_number(data):
        check_numbers(value)
    return value


def without_mark(data: bytes) -> bytes:
    """The text behind a byte-order mark, which JSON may have and need not."""
    return data[len(_MARK) :] if data[:3] == _MARK else data


def has_long_number(data: bytes) -> bool:
    """Whether there are 19 digits in a row. Mapping all digits to one and searching for that costs a tenth of a regular
    expression."""
    return _LONG_NUMBER in data.translate(_DIGITS)


def malformed(data: bytes, error: Exception) -> PeltonError:
    if not data.strip():
        return PeltonError(Code.INVALID, "JSON parse error: the body is empty; send a JSON document")
    return PeltonError(Code.INVALID, f"JSON parse error: {error}")
