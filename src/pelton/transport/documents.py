"""Untrusted JSON, made safe before anything else processes it.

Two things are bounded here: nesting (later parsers, walkers and encoders may be recursive) and whole numbers (nothing beyond
64 bits can be stored). For ordinary bodies both checks are a few passes at C speed: about 1 us for 1 kB.
"""

from __future__ import annotations

from typing import Any

import msgspec

from pelton.errors import Code, FieldProblem, PeltonError

MAX_DEPTH = 200
_LEAST, _MOST = -(2**63), 2**64 - 1
_DIGITS = bytes.maketrans(b"123456789", b"000000000")
_LONG_NUMBER = b"0" * 19
_BRACKETS = bytes.maketrans(b"{}", b"[]")
_OTHERS = bytes(set(range(256)) - set(b'[]{}"'))
_MARK = b"\xef\xbb\xbf"  # the byte-order mark that some editors and systems put in front of UTF-8
_decode = msgspec.json.Decoder().decode


def check_depth(data: bytes, limit: int = MAX_DEPTH) -> None:
    """Raises PeltonError "invalid" if lists and objects are nested deeper than `limit`. Text that is not JSON may pass."""
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
    too_deep = b"[" * (limit + 1)
    for _ in range(limit):
        if too_deep in shape:
            break
        inner = shape.replace(b"[]", b"")  # takes the innermost level away everywhere at once
        if not inner or len(inner) == len(shape):
            return
        shape = inner
    raise PeltonError(Code.INVALID, f"the body is nested deeper than {limit} levels; flatten it")


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


def parse(data: bytes) -> Any:
    """Parses JSON. Raises PeltonError "invalid" if it is malformed or exceeds a bound."""
    data = without_mark(data)
    check_depth(data)
    try:
        value = _decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise malformed(data, error) from None
    if has_long_number(data):
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
