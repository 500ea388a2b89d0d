"""Things found by what their filters test in a payload.

A `Selection` holds things by the most selective test of their filters that an index can use: `path == value`, `path` is one of
some values, or the text at `path` begins so. Things without such a test are in every answer.

Two trees of places in payloads are kept, one with names and texts as they are, one with both case-folded, for the tests in
which letter case does not count.

Invariant: a thing whose tests all hold for a payload is selected for it, in whatever order things came and went.

Cost: adding, removing: the tests of one thing. Selecting: the payload's members that some thing tests (in the tree of exact
names never more than there are of either; in the folded one all members of a map are looked at), one lookup for each
distinct length of a beginning, and what is selected. What is ruled out costs nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Generic, TypeVar

from pelton.kernel.expressions.base import JSON
from pelton.kernel.expressions.javascript.equality import UNSURE_KEY, Key, folded_key, index_key
from pelton.kernel.matching.filters import Equality, Prefix

MAX_PREFIX = 256  # characters of a beginning that are looked up: longer ones that agree in these are not distinguished
MAX_KEYS = 100  # values of one test under which a thing is put

T = TypeVar("T")
Anchor = Equality | Prefix

# Tests for these divide badly: truth values.
_WEAK = frozenset([("number", 0), ("number", 1)])


class Selection(Generic[T]):
    """Things, each under its own number."""

    __slots__ = ("_always", "_exact", "_folded", "looks")

    def __init__(self) -> None:
        self.looks = False  # a value decides about what is selected
        self._always: dict[int, T] = {}
        self._exact: _Place[T] = _Place()
        self._folded: _Place[T] = _Place()

    def __bool__(self) -> bool:
        return bool(self._always or self._exact or self._folded)

    def add(self, number: int, thing: T, tests: Sequence[Anchor]) -> Anchor | None:
        """Under which test the thing lies, to be given to `remove`; None when under none."""
        best: Anchor | None = None
        least: tuple[int, bool, bool, int] | None = None
        for test in tests:
            if isinstance(test, Equality) and len(test.others) >= MAX_KEYS:
                continue
            rank = self._rank(test)
            if least is None or rank < least:
                best, least = test, rank
        if best is None:
            self._always[number] = thing
            return None
        place = self._root(best)
        for step in best.path:
            place = place.made(step)
        place.put(best, number, thing)
        self.looks = True
        return best

    def remove(self, number: int, test: Anchor | None) -> None:
        """Raises KeyError when the thing does not lie under this test."""
        if test is None:
            del self._always[number]
            return
        way = [self._root(test)]
        for step in test.path:
            child = way[-1].child(step)
            if child is None:
                raise KeyError(number)
            way.append(child)
        way[-1].take(test, number)
        for parent, child, step in zip(reversed(way[:-1]), reversed(way[1:]), reversed(test.path), strict=True):
            if not child:
                parent.drop(step)
        self.looks = bool(self._exact or self._folded)

    def select(self, payload: JSON, found: dict[int, T]) -> None:
        """Adds to `found` whatever may hold for the payload."""
        found.update(self._always)
        if not self.looks:
            return
        if self._exact:
            _descend(self._exact, payload, found, False)
        if self._folded:
            _descend(self._folded, payload, found, True)

    def _root(self, test: Anchor) -> _Place[T]:
        return self._folded if test.fold else self._exact

    def _rank(self, test: Anchor) -> tuple[int, bool, bool, int]:
        """Lower is better: how many lie there already, then what divides better by its kind."""
        place: _Place[T] | None = self._root(test)
        for step in test.path:
            place = place.child(step) if place is not None else None
        count = place.count(test) if place is not None else 0
        if isinstance(test, Prefix):
            return count, False, True, -len(test.text)
        return count, test.key in _WEAK or any(key in _WEAK for key in test.others), False, len(test.others)


class _Place(Generic[T]):
    """A place in payloads: below it the places of its members, at it the things by the value, or by the beginning of a text,
    that they test for. Beginnings are kept by their length."""

    __slots__ = ("beginnings", "items", "names", "values")

    def __init__(self) -> None:
        self.names: dict[str, _Place[T]] = {}
        self.items: dict[int, _Place[T]] = {}
        self.values: dict[Key, dict[int, T]] = {}
        self.beginnings: dict[int, dict[str, dict[int, T]]] = {}

    def __bool__(self) -> bool:
        return bool(self.names or self.items or self.values or self.beginnings)

    def child(self, step: str | int) -> _Place[T] | None:
        return self.names.get(step) if isinstance(step, str) else self.items.get(step)

    def made(self, step: str | int) -> _Place[T]:
        children: dict[Any, _Place[T]] = self.names if isinstance(step, str) else self.items
        if step not in children:
            children[step] = _Place()
        return children[step]

    def drop(self, step: str | int) -> None:
        children: dict[Any, _Place[T]] = self.names if isinstance(step, str) else self.items
        del children[step]

    def count(self, test: Anchor) -> int:
        if isinstance(test, Prefix):
            text = test.text[:MAX_PREFIX]
            return len(self.beginnings.get(len(text), {}).get(text, ()))
        return sum(len(self.values.get(key, ())) for key in _keys(test))

    def put(self, test: Anchor, number: int, thing: T) -> None:
        if isinstance(test, Prefix):
            text = test.text[:MAX_PREFIX]
            self.beginnings.setdefault(len(text), {}).setdefault(text, {})[number] = thing
            return
        for key in _keys(test):
            self.values.setdefault(key, {})[number] = thing

    def take(self, test: Anchor, number: int) -> None:
        if isinstance(test, Prefix):
            text = test.text[:MAX_PREFIX]
            texts = self.beginnings[len(text)]
            del texts[text][number]
            if not texts[text]:
                del texts[text]
            if not texts:
                del self.beginnings[len(text)]
            return
        for key in _keys(test):
            del self.values[key][number]
            if not self.values[key]:
                del self.values[key]


def _keys(test: Equality) -> tuple[Key, ...]:
    return tuple(dict.fromkeys((test.key, *test.others))) if test.others else (test.key,)


def _descend(place: _Place[T], value: JSON, found: dict[int, T], fold: bool) -> None:
    """As deep as the longest path that is tested."""
    if place.values:
        key = folded_key(value) if fold else index_key(value)
        if key == UNSURE_KEY:
            for things in place.values.values():
                found.update(things)
        else:
            found.update(place.values.get(key, ()))
    if place.beginnings and isinstance(value, str):
        _descend_beginnings(place, value, found, fold)
    if isinstance(value, dict):
        _descend_names(place.names, value, found, fold)
        for index, child in place.items.items():
            if str(index) in value:  # `$.a[0]` reads the member "0" of a map
                _descend(child, value[str(index)], found, fold)
    elif place.items and isinstance(value, (list, str)):
        _descend_items(place.items, value, found, fold)


def _descend_names(names: dict[str, _Place[T]], value: dict[str, JSON], found: dict[int, T], fold: bool) -> None:
    if fold and names:
        for name, item in value.items():
            child = names.get(name.casefold())
            if child is not None:
                _descend(child, item, found, fold)
    elif len(names) <= len(value):
        for name, child in names.items():
            if name in value:
                _descend(child, value[name], found, fold)
    else:
        for name, item in value.items():
            if name in names:
                _descend(names[name], item, found, fold)


def _descend_beginnings(place: _Place[T], text: str, found: dict[int, T], fold: bool) -> None:
    # Folding makes no text shorter, so that what is cut off first is not missed.
    text = text[:MAX_PREFIX].casefold() if fold else text[:MAX_PREFIX]
    for length, texts in place.beginnings.items():
        if length <= len(text):
            found.update(texts.get(text[:length], ()))


def _descend_items(items: dict[int, _Place[T]], value: list[JSON] | str, found: dict[int, T], fold: bool) -> None:
    """Into a list; or into a text, of which `$.a[0]` reads a character as UTF-16 counts them."""
    if isinstance(value, str):
        units = value.encode("utf-16-le")
        value = [units[at : at + 2].decode("utf-16-le", "surrogatepass") for at in range(0, len(units), 2)]
    count = len(value)
    for index in items if len(items) <= 2 * count else range(-count, count):
        if index in items and -count <= index < count:
            _descend(items[index], value[index], found, fold)
