"""The types of fields: the JSON values that each accepts, and how they are stored."""

from __future__ import annotations

import math
import re
from decimal import Decimal, InvalidOperation
from typing import Any

from pelton.languages.lusid.times import parse_moment, print_moment

MAX_TEXT = 64_000  # characters of one value
MAX_DIGITS = 400  # characters of a number that comes as text
_NUMBER = re.compile(r"\s*[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,4})?\s*", re.ASCII)


def fitted(kind: str, value: Any) -> Any:
    """The value as a field of this type keeps it. Raises ValueError with what would fit."""
    if kind in ("String", "LusidUserId"):
        if not isinstance(value, str):
            raise ValueError("a text")
        if len(value) > MAX_TEXT:
            raise ValueError(f"a text of at most {MAX_TEXT} characters")
        return value
    if kind == "Decimal":
        return _number(value)
    if kind == "Boolean":
        if isinstance(value, bool):
            return value
        if isinstance(value, str) and value.lower() in ("true", "false"):
            return value.lower() == "true"
        raise ValueError("true or false")
    moment = parse_moment(value) if isinstance(value, str) else None
    if moment is None:
        raise ValueError("a date and time such as 2024-06-05T15:12:39Z")
    return print_moment(moment)


def _number(value: Any) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        raise ValueError("a number")
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError("a finite number")
        return value
    if isinstance(value, str) and (len(value) > MAX_DIGITS or _NUMBER.fullmatch(value) is None):
        raise ValueError("a number")
    try:
        exact = Decimal(value)
    except InvalidOperation:
        raise ValueError("a number") from None
    if not exact.is_finite() or not math.isfinite(near := float(exact)):
        raise ValueError("a finite number")
    if abs(exact) < 2**63 and exact == exact.to_integral_value():
        return int(exact)
    if Decimal(repr(near)) != exact:
        raise ValueError("a number of at most 17 significant digits")
    return near
