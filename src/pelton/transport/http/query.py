"""Query strings, tolerant of what clients send: a parameter may be present and still mean "not given"."""

from __future__ import annotations

from urllib.parse import unquote_plus

from pelton.errors import FieldProblem
from pelton.transport.http.errors import WebError

MAX_PARAMETERS = 1000
MOST = 2**62  # of a number that has no closer bound: what is reckoned with it stays within 64 bits
_TRUE, _FALSE = frozenset({"true", "1", "yes"}), frozenset({"false", "0", "no"})


class Query:
    """The parameters of one request. `absent`: values that mean "not given"."""

    __slots__ = ("_absent", "_values")

    def __init__(self, raw: bytes, absent: frozenset[str] = frozenset({""})) -> None:
        self._absent = absent
        self._values: dict[str, list[str]] = {}
        if not raw:
            return
        parts = raw.decode("latin-1").split("&", MAX_PARAMETERS)
        if len(parts) > MAX_PARAMETERS:
            raise WebError(400, f"the query has more than {MAX_PARAMETERS} parameters")
        for part in parts:
            name, _, value = part.partition("=")
            if "%" in part or "+" in part:
                name, value = unquote_plus(name), unquote_plus(value)
            self._values.setdefault(name, []).append(value)

    def text(self, name: str, default: str = "") -> str:
        values = self._values.get(name)
        if not values or values[0] in self._absent:
            return default
        return values[0]

    def texts(self, name: str) -> list[str]:
        return [value for value in self._values.get(name, ()) if value not in self._absent]

    def items(self) -> list[tuple[str, str]]:
        return [(name, value) for name, values in self._values.items() for value in values]

    def integer(self, name: str, default: int, low: int = 0, high: int = MOST) -> int:
        """Raises WebError 400 if it is not a whole number, or outside [low, high]."""
        text = self.text(name)
        if not text:
            return default
        try:
            if len(text) > 20:
                raise ValueError
            number = int(text)
        except ValueError:
            raise WebError(
                400,
                f"query parameter {name!r} must be a whole number, not {text[:100]!r}",
                problems=[FieldProblem(name, "must be a whole number", text[:100])],
            ) from None
        if not low <= number <= high:
            raise WebError(
                400,
                f"query parameter {name!r} is {number}; it must be between {low} and {high}",
                problems=[FieldProblem(name, f"must be between {low} and {high}", text)],
            )
        return number

    def boolean(self, name: str, default: bool) -> bool:
        """Case-insensitive. Raises WebError 400 for anything that is not true or false."""
        text = self.text(name).lower()
        if not text:
            return default
        if text in _TRUE:
            return True
        if text in _FALSE:
            return False
        raise WebError(400, f"query parameter {name!r} must be true or false, not {text[:100]!r}")
