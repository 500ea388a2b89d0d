"""Checks shared by several kinds of definitions: names, filters, instants and mappings."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from msgspec import UNSET

from pelton.kernel.expressions.base import Invalid
from pelton.languages.lusid.errors import invalid
from pelton.languages.lusid.filters import MAX_LENGTH, CompiledFilter, Shape, parse_filter
from pelton.languages.lusid.forms import FieldMapping, Mappings, Text
from pelton.languages.lusid.times import EXPECTED, parse_moment
from pelton.transport.validation import Problems, describe

MAX_GUARD = 1024
FILTER_LENGTH = MAX_LENGTH
NAMED = 20  # names that an error lists


class Checks(Problems):
    """Problems of things that authors write. `name`: what this API calls a problem, where it has a name for it."""

    def __init__(self) -> None:
        super().__init__()
        self._name = ""  # of the first

    def add(self, path: str, message: str, value: Any = UNSET, name: str = "", *, remedy: str = "") -> None:
        super().add(path, message, value, remedy=remedy)
        if len(self.found) == 1:
            self._name = name

    def raise_any(self) -> None:
        """Raises LusidError. A single problem goes by its own name, several together are a ValidationError."""
        if self.found:
            raise invalid(self.found, self._name if self._name and len(self.found) == 1 else "ValidationError")

    # ---- what is checked everywhere

    def distinct(self, names: Iterable[str], path: str, what: str) -> None:
        """`path` has a place for the index: `states[{}].name`."""
        seen: set[str] = set()
        for index, name in enumerate(names):
            if name in seen:
                self.add(path.format(index), f"is the name of an earlier {what} as well; names are unique", name)
            seen.add(name)

    def declared(self, name: str, known: Iterable[str], path: str, what: str, problem: str = "") -> None:
        among = list(known)
        if name not in among:
            there = ", ".join(among[:NAMED]) + (", …" if len(among) > NAMED else "")
            self.add(
                path,
                f"is {describe(name)}, which is no {what} of the definition; there are: {there or 'none'}",
                name,
                problem,
            )

    def condition(
        self,
        text: Text,
        path: str,
        limit: int = MAX_GUARD,
        *,
        roots: frozenset[str] | None = None,
        right_roots: frozenset[str] = frozenset(),
        right_names: frozenset[str] = frozenset(),
        shape: Shape | None = None,
    ) -> CompiledFilter | None:
        """A filter must parse, with the names that are valid where it is used, and lead somewhere (`shape`: see
        `parse_filter`). None: there is none, or it is wrong."""
        if not text:
            return None
        try:
            found = parse_filter(str(text), limit=limit, roots=roots, right_names=right_names, right_roots=right_roots)
            if shape is not None:
                found.check_shape(shape)
            return found
        except Invalid as error:
            self.add(path, f"is no filter: {error.message}", text, "InvalidFilter")
            return None

    def leads(self, path: str, condition: CompiledFilter, shape: Shape, names: Shape) -> None:
        """A filter must lead somewhere on both sides. `names`: the shape of what its right-hand side names."""
        try:
            condition.check_shape(shape, names)
        except Invalid as error:
            self.add(path, f"is no filter: {error.message}", condition.text, "InvalidFilter")

    def moment(self, text: Text, path: str) -> int | None:
        if not text:
            return None
        at = parse_moment(str(text))
        if at is None:
            self.add(path, f"must be {EXPECTED}, not {describe(text)}", text, "InvalidAsAt")
        return at

    def mappings(self, given: Mappings, path: str) -> None:
        for name, mapping in given.items():
            self.mapping(mapping, f"{path}[{name[:100]}]")

    def mapping(self, given: FieldMapping, path: str) -> None:
        """Both members at once are taken: then `mapFrom` counts."""
        if not given.map_from and given.set_to is UNSET:
            self.add(path, "must have mapFrom or setTo")
