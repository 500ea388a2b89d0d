"""How JavaScript compares values, over JSON as Python decodes it: loose and strict equality, order, truth.

Whatever cannot be decided here exactly as the engine would (an object compared with an object, a member of a string)
raises `Unsure`, and the caller asks the engine. The functions agree with it everywhere else; a test compares them.

`index_key` maps a value to a key such that values which are loosely equal have the same key. Loose equality is not
transitive, so the reverse does not hold: the key finds candidates.
"""

from __future__ import annotations

import math
import re
from typing import Any, Final

from pelton.kernel.expressions.base import JSON, ExpressionError


class Unsure(Exception):
    """Only the engine knows."""


class _Undefined:
    __slots__ = ()

    def __repr__(self) -> str:
        return "undefined"


UNDEFINED: Final = _Undefined()

_SAFE = 2**53
# What JavaScript strips around a number; Python's `strip` knows others.
_BLANKS = "\t\n\v\f\r \u00a0\u1680\u2028\u2029\u202f\u205f\u3000\ufeff" + "".join(map(chr, range(0x2000, 0x200B)))
_DECIMAL = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*(?:[eE][+-]?[0-9]+)?|\.[0-9]+(?:[eE][+-]?[0-9]+)?|Infinity)")
_RADIX = re.compile(r"0[xX][0-9a-fA-F]+|0[oO][0-7]+|0[bB][01]+")

Key = tuple[str, Any]
NULL_KEY: Final[Key] = ("null", None)
UNSURE_KEY: Final[Key] = ("unsure", None)  # of a value that may be equal to anything


def number(value: int | float) -> int | float:
    """A number as JavaScript holds it: beyond 2^53 it is rounded."""
    if isinstance(value, float) or -_SAFE <= value <= _SAFE:
        return value
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def text_to_number(text: str) -> int | float:
    """What a string is as a number; NaN when it is none."""
    text = text.strip(_BLANKS)
    if not text:
        return 0
    if _DECIMAL.fullmatch(text):
        return float(text)
    if _RADIX.fullmatch(text):
        return number(int(text, 0)) if len(text) < 1000 else math.inf
    return math.nan


def number_to_text(value: int | float) -> str:
    """A number as JavaScript writes it."""
    value = number(value)
    if isinstance(value, float):
        if math.isnan(value):
            return "NaN"
        if math.isinf(value):
            return "Infinity" if value > 0 else "-Infinity"
        if value.is_integer() and abs(value) < _SAFE:
            return str(int(value))
        return _float_to_text(value)
    return str(value)


def _float_to_text(value: float) -> str:
    sign = "-" if value < 0 else ""
    digits, _, exponent = repr(abs(value)).partition("e")
    whole, _, fraction = digits.partition(".")
    fraction = "" if fraction == "0" else fraction
    # The value is 0.DIGITS times ten to the power of `point`, with the fewest digits that give it back.
    point = len(whole) + int(exponent or 0)
    figures = whole + fraction
    stripped = figures.lstrip("0")
    point -= len(figures) - len(stripped)
    figures = stripped.rstrip("0")
    count = len(figures)
    if count <= point <= 21:
        return sign + figures + "0" * (point - count)
    if 0 < point <= 21:
        return sign + figures[:point] + "." + figures[point:]
    if -6 < point <= 0:
        return sign + "0." + "0" * -point + figures
    power = point - 1
    mantissa = figures if count == 1 else figures[0] + "." + figures[1:]
    return f"{sign}{mantissa}e{'+' if power > 0 else '-'}{abs(power)}"


def object_to_text(value: JSON, depth: int = 0, exact: bool = True) -> str:
    """A list or map as a primitive. Raises Unsure where JavaScript throws, when nested too deeply and, if `exact`, for
    fractions in lists: the engine writes some with a digit more than needed."""
    if isinstance(value, dict):
        if "toString" in value:
            raise Unsure  # a member that is no function: the conversion throws
        return "[object Object]"
    if depth > 50:
        raise Unsure
    return ",".join("" if item is None else _to_text(item, depth + 1, exact) for item in value)


def _to_text(value: JSON, depth: int, exact: bool) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        if exact and isinstance(number(value), float) and (not float(value).is_integer() or abs(value) > _SAFE):
            raise Unsure
        return number_to_text(value)
    return object_to_text(value, depth, exact)


def to_boolean(value: Any) -> bool:
    """JavaScript's truth: everything but false, 0, "", null and undefined."""
    if value is None or value is UNDEFINED:
        return False
    if isinstance(value, (list, dict)):
        return True
    return bool(value)


def strictly_equal(left: Any, right: Any) -> bool:
    if isinstance(left, (list, dict)) and isinstance(right, (list, dict)):
        raise Unsure
    kind = _kind(left)
    if kind != _kind(right):
        return False
    if kind == "number":
        return bool(number(left) == number(right))
    return bool(left == right) if kind in ("string", "boolean") else True


def loosely_equal(left: Any, right: Any) -> bool:
    # The commonest cases first: both of one kind.
    if type(left) is str and type(right) is str:
        return left == right
    left_kind, right_kind = _kind(left), _kind(right)
    if left_kind == right_kind:
        return strictly_equal(left, right)
    if left_kind in ("null", "undefined") or right_kind in ("null", "undefined"):
        return left_kind in ("null", "undefined") and right_kind in ("null", "undefined")
    if left_kind == "object":
        return loosely_equal(object_to_text(left), right)
    if right_kind == "object":
        return loosely_equal(left, object_to_text(right))
    return bool(_to_number(left) == _to_number(right))


def less(left: Any, right: Any) -> bool | None:
    """Whether left < right; None when one of them is not a number (then every comparison is false)."""
    left, right = _primitive(left), _primitive(right)
    if isinstance(left, str) and isinstance(right, str):
        if left.isascii() and right.isascii():
            return left < right
        return left.encode("utf-16-be", "surrogatepass") < right.encode("utf-16-be", "surrogatepass")
    first, second = _to_number(left), _to_number(right)
    if math.isnan(first) or math.isnan(second):
        return None
    return first < second


def _primitive(value: Any) -> Any:
    return object_to_text(value) if isinstance(value, (list, dict)) else value


def _to_number(value: Any) -> int | float:
    if value is None:
        return 0
    if value is UNDEFINED:
        return math.nan
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, str):
        return text_to_number(value)
    return number(value)


def _kind(value: Any) -> str:
    if isinstance(value, str):
        return "string"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, (int, float)):
        return "number"
    if value is None:
        return "null"
    return "undefined" if value is UNDEFINED else "object"


def index_key(value: Any) -> Key:
    """Equal for values that are loosely equal, and for some that are not; or `UNSURE_KEY`."""
    if isinstance(value, (list, dict)):
        try:
            value = object_to_text(value, exact=False)
        except Unsure:
            return UNSURE_KEY
    if value is None or value is UNDEFINED:
        return NULL_KEY
    if isinstance(value, str):
        as_number = text_to_number(value)
        return ("text", value) if math.isnan(as_number) else ("number", as_number)
    if isinstance(value, bool):
        return ("number", int(value))
    return ("number", number(value))


def folded_key(value: Any) -> Key:
    """`index_key` without regard to letter case: equal for texts that differ in nothing else."""
    if isinstance(value, str):
        return index_key(value.casefold())
    kind, key = index_key(value)
    return (kind, key.casefold()) if kind == "text" else (kind, key)


def member(value: Any, name: str | int, line: int) -> Any:
    """`value.name` or `value[name]`. Raises ExpressionError for a member of null or undefined, Unsure where a prototype
    might have it."""
    if isinstance(value, dict):
        return value.get(name if isinstance(name, str) else str(name), UNDEFINED)
    if value is None or value is UNDEFINED:
        what = "null" if value is None else "undefined"
        raise ExpressionError(f"TypeError: cannot read property '{name}' of {what} at line {line}")
    if isinstance(value, list):
        if isinstance(name, int):
            return value[name] if 0 <= name < len(value) else UNDEFINED
        if name == "length":
            return len(value)
    raise Unsure
