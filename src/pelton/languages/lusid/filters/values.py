"""How values compare, and the keys under which an attribute index stores them.

A value is a string, a number, a boolean, or nothing: missing, null, or of a kind that cannot be compared (a list, a map). A
string may denote an instant (`grammar.moment_of`); it is compared as one with a date, whether bare or quoted.

A comparison is true, false, or nothing, if one side is nothing or the two are of different kinds. Nothing does
not pass, and neither does its negation. So `neq` and `not in` hold only between values of the same kind, and `x not in a, b`
is the same as `x neq a and x neq b`.

Comparison is case-insensitive. Numbers are compared as decimals: the float 0.1 is equal to 0.1.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

from pelton.kernel.expressions.base import JSON
from pelton.languages.lusid.filters.grammar import FilterConstant, Operator, moment_of

MAX_INDEXED = 200  # characters of a key

Check = Callable[[JSON], bool]

_ORDER: dict[str, Callable[[Any, Any], bool]] = {"gt": operator.gt, "gte": operator.ge, "lt": operator.lt, "lte": operator.le}
_ANY_DATE = re.compile(r"[0-9]{0,4}|[0-9]{4}-[0-9]{0,2}|[0-9]{4}-[0-9]{2}-[0-9]{0,2}.*", re.DOTALL)
_NUMBERS = (int, float, Decimal)
_EXACT = 2**53
_LONG = 10**1000


def check_of(operation: Operator, negated: bool, constants: Sequence[FilterConstant]) -> Check:
    """What a value on the left must pass."""
    if operation == "in":
        return _outside(constants) if negated else _among(constants)
    constant = constants[0]
    if operation in _ORDER:
        return _ordered(_ORDER[operation], constant, negated)
    if constant.kind != "text":
        return _never
    return _textual(operation, str(constant.value).casefold(), negated)


def constant_of(value: JSON, named: bool = True) -> FilterConstant:
    """The constant that a value of a payload is."""
    if isinstance(value, str):
        return FilterConstant("text", value, named)
    if isinstance(value, bool):
        return FilterConstant("truth", value, named)
    number = _number(value)
    return FilterConstant("nothing", None, named) if number is None else FilterConstant("number", number, named)


def to_json(constant: FilterConstant) -> JSON:
    """The constant as JSON."""
    if not isinstance(constant.value, Decimal):
        return constant.value
    whole = constant.value.adjusted() < 16 and constant.value == constant.value.to_integral_value()
    return int(constant.value) if whole else float(constant.value)


def _never(value: JSON) -> bool:
    return False


def _number(value: JSON) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, _NUMBERS):
        return None
    number = Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
    return number if number.is_finite() else None


class _Set:
    """Constants of an "in", by kind. `moments` are those of bare dates and of texts that name one."""

    __slots__ = ("bare_dates", "longest", "moments", "nothing", "numbers", "texts", "truths")

    def __init__(self, constants: Sequence[FilterConstant]) -> None:
        self.texts = frozenset(str(c.value).casefold() for c in constants if c.kind == "text")
        self.longest = max((len(text) for text in self.texts), default=-1)
        self.numbers = frozenset(c.value for c in constants if c.kind == "number")
        self.truths = frozenset(c.value for c in constants if c.kind == "truth")
        self.bare_dates = frozenset(c.value for c in constants if c.kind == "date")
        named = (moment_of(text) for text in self.texts)
        self.moments = self.bare_dates | frozenset(moment for moment in named if moment is not None)
        self.nothing = any(c.kind == "nothing" for c in constants)

    def has_text(self, value: str) -> bool:
        # Folding makes no text shorter: a longer one is none of these.
        if len(value) <= self.longest and value.casefold() in self.texts:
            return True
        return bool(self.moments) and moment_of(value) in self.moments


def _among(constants: Sequence[FilterConstant]) -> Check:
    known = _Set(constants)
    texts, numbers, truths = known.texts, known.numbers, known.truths
    if len(texts) == 1 and not (known.moments or numbers or truths):  # by far the commonest
        [only] = texts
        length = len(only)
        return lambda value: isinstance(value, str) and len(value) <= length and value.casefold() == only

    def among(value: JSON) -> bool:
        if isinstance(value, str):
            return known.has_text(value)
        if isinstance(value, bool):
            return value in truths
        return bool(numbers) and _number(value) in numbers

    return among


def _outside(constants: Sequence[FilterConstant]) -> Check:
    known = _Set(constants)
    if known.nothing:
        return _never
    texts, numbers, truths, dates = known.texts, known.numbers, known.truths, known.bare_dates

    def outside(value: JSON) -> bool:
        if isinstance(value, str):
            if numbers or truths or (dates and moment_of(value) is None):
                return False
            return not known.has_text(value)
        if texts or dates:
            return False
        if isinstance(value, bool):
            return not numbers and value not in truths
        number = _number(value)
        return number is not None and not truths and number not in numbers

    return outside


def _ordered(compare: Callable[[Any, Any], bool], constant: FilterConstant, negated: bool) -> Check:
    if constant.kind == "number":
        return _ordered_numbers(compare, constant.value, negated)
    if constant.kind not in ("text", "date"):
        return _never
    bare = constant.kind == "date"
    text = "" if bare else str(constant.value).casefold()
    moment = constant.value if bare else moment_of(text)
    enough = len(text) + 1  # characters decide: folding makes no text shorter

    def ordered(value: JSON) -> bool:
        if not isinstance(value, str):
            return False
        if moment is not None and (other := moment_of(value)) is not None:
            return compare(other, moment) != negated
        return not bare and compare(value[:enough].casefold()[:enough], text) != negated

    return ordered


def _ordered_numbers(compare: Callable[[Any, Any], bool], constant: Any, negated: bool) -> Check:
    small = abs(constant) < _EXACT and constant == constant.to_integral_value()
    whole = int(constant) if small else None

    def ordered(value: JSON) -> bool:
        if isinstance(value, (int, float)) and whole is not None:  # exact as it is
            return not isinstance(value, bool) and math.isfinite(value) and compare(value, whole) != negated
        number = _number(value)
        return number is not None and compare(number, constant) != negated

    return ordered


def _textual(operation: str, part: str, negated: bool) -> Check:
    length = len(part)
    if operation == "startswith":
        return lambda value: isinstance(value, str) and value[:length].casefold().startswith(part) != negated
    if operation == "endswith":
        return lambda value: isinstance(value, str) and value[-length or len(value) :].casefold().endswith(part) != negated
    return lambda value: isinstance(value, str) and (part in value.casefold()) != negated


def index_value(value: JSON) -> str | None:
    """The key under which an attribute index keeps a value: the same for all values that are equal to each other. None for
    what is equal to nothing. At most `MAX_INDEXED` characters: longer values share keys."""
    if isinstance(value, str):
        moment = moment_of(value)
        if moment is not None:
            return _moment_key(moment)
        return "s:" + value[:MAX_INDEXED].casefold()[: MAX_INDEXED - 2]
    if isinstance(value, bool):
        return "b:true" if value else "b:false"
    if isinstance(value, int):
        return _whole_key(value)
    number = _number(value)
    return None if number is None else _number_key(number)


def index_constant(constant: FilterConstant) -> str | None:
    """The key of the values that are equal to a constant; None when there are none."""
    if constant.kind == "date" and isinstance(constant.value, int):
        return _moment_key(constant.value)
    return index_value(constant.value)


def index_prefixes(text: str) -> list[str]:
    """How the keys of the values begin that begin with a text. A date is kept by its moment, which may be spelled otherwise, so
    that a beginning which a date can have is one of any date."""
    folded = text.casefold()
    keys = ["s:" + folded[: MAX_INDEXED - 2]]
    return [*keys, "d:"] if _ANY_DATE.fullmatch(folded) else keys


def _moment_key(moment: int) -> str:
    return f"d:{moment}"


def _whole_key(number: int) -> str:
    """What `_number_key` gives. Numbers of more digits than Python would print go the long way."""
    if not number:
        return "n:0"
    if abs(number) > _LONG:
        return _number_key(Decimal(number))
    figures = str(number)
    stripped = figures.rstrip("0")
    return f"n:{stripped}e{len(figures) - len(stripped)}"[:MAX_INDEXED]


def _number_key(number: Decimal) -> str:
    sign, digits, exponent = number.as_tuple()
    figures = "".join(map(str, digits)).lstrip("0")
    if not figures or not isinstance(exponent, int):
        return "n:0"
    stripped = figures.rstrip("0")
    exponent += len(figures) - len(stripped)
    return f"n:{'-' if sign else ''}{stripped}e{exponent}"[:MAX_INDEXED]
