"""This language's filters: on events, on tasks and other items of lists, on worker rows, and as guards.

A filter is parsed once (`grammar.py`) and compiled to the kernel's filters, so that handlers can be indexed by it and a false
result can be explained. Paths are case-insensitive; an exact match takes precedence. A condition on a missing or null value
is false, and so is its negation with `not` after the path; only `not` before it, or `not exists`, is true.

A quantifier applies to a list (any iterable that is neither a string nor a map); on anything else it is false. Its inner paths
are relative to the element; `~` is the element.

Names on the right-hand side refer to values supplied by the caller as a map in the shape of a payload, either with each
evaluation (`context`) or once (`bind`).

Invariants: evaluation fails only when it would have to look at more values than one may (`Looks`); `conjuncts` find every
matching value, and possibly more.

Cost: evaluation is linear in the conditions and in the lists that quantifiers read; `contains` in the text that it reads; a
member with different case in its sibling members.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from msgspec import json

from pelton.kernel.expressions.base import JSON, MAX_LOOKS, Invalid, Looks
from pelton.kernel.expressions.cache import remembered
from pelton.kernel.expressions.javascript.equality import Key, folded_key, index_key
from pelton.kernel.matching.filters import And, Equality, Not, Or, Prefix, Trace, Traced, TracedFilter, Verdict, folded_reader
from pelton.kernel.matching.filters import Path as FilterPath
from pelton.languages.lusid.filters.grammar import (
    All,
    Comparison,
    Either,
    FilterConstant,
    MemberPath,
    Name,
    Negated,
    Node,
    Presence,
    Quantified,
    check_length,
    moment_of,
    parse,
)
from pelton.languages.lusid.filters.shapes import ANYTHING, Shape, check_shape, is_index
from pelton.languages.lusid.filters.values import check_of, constant_of, index_constant, index_prefixes, index_value, to_json

MAX_LENGTH = 16_384  # characters; guards and patterns on worker rows have 1,024
MAX_ALTERNATIVES = 200  # of one conjunct
MAX_SEEN = 5  # elements of a list that a trace shows
MAX_KEYS = 100  # of one indexed equality

Alternatives = tuple[tuple[str, str, bool], ...]
Conjuncts = tuple[Alternatives, ...]
Names = Mapping[str, JSON]


def parse_filter(
    text: str,
    *,
    limit: int = MAX_LENGTH,
    right_names: frozenset[str] = frozenset(),
    right_roots: frozenset[str] = frozenset(),
    roots: frozenset[str] | None = None,
    shape: Shape | None = None,
) -> CompiledFilter:
    """The condition that a text is; of an empty text one that always passes.

    `limit`: characters. `right_names`: bare names allowed as operands (`CurrentUser`). `right_roots`: first members of paths
    allowed as operands (`header`, `body`). `roots`: the first members that paths on the left may have; None: any. `shape`: what
    the filter looks at is made of; None: anything.

    Raises Invalid, with the position and what was expected there."""
    check_length(text, limit)
    held = _Form(parse(text, right_names, right_roots)) if right_names or right_roots else None
    condition = CompiledFilter(text, held)
    if roots is not None:
        condition.check_roots(roots)
    if shape is not None:
        condition.check_shape(shape)
    return condition


class _Form:
    """A tree, and what it is compiled to when that is asked for."""

    __slots__ = ("_children", "_members", "_root", "looks", "node")

    def __init__(self, node: Node | None) -> None:
        self.node = node
        self.looks = Looks()  # of one evaluation
        self._root: TracedFilter | None = None
        self._children: frozenset[tuple[str, ...]] | None = None
        self._members: frozenset[str] | None = None

    @property
    def root(self) -> TracedFilter:
        root = self._root
        if root is None:
            root = self._root = And([]) if self.node is None else _compiled(self.node, self.looks)
        return root

    @property
    def children(self) -> frozenset[tuple[str, ...]]:
        """The paths that lead to children."""
        if self._children is None:
            self._children = frozenset(path for path in _reads(self.node, ()) if path[:1] == _CHILDREN)
        return self._children

    @property
    def members(self) -> frozenset[str]:
        if self._members is None:
            self._members = frozenset(path[0] for path in _reads(self.node, ()) if path)
        return self._members


@remembered
def _form_of(text: str) -> _Form:
    return _Form(parse(text))


class CompiledFilter:
    """A compiled filter. `context` of `passes` and `test` is the map of what names on the right stand for.

    There may be a hundred thousand, few of them at work: one holds its text and what an index asks for; see `remembered` for the
    rest. Only what its text does not say alone, because it has or had names, is held; it is compiled when it is used."""

    __slots__ = ("_held", "_tests", "text")

    def __init__(self, text: str, held: _Form | None = None) -> None:
        self.text = text
        self._held = held
        self._tests: tuple[tuple[Equality, ...], tuple[Prefix, ...]] | None = None
        if held is None:
            root = _form_of(text).root
            self._tests = (root.equalities, root.prefixes)

    @property
    def equalities(self) -> tuple[Equality, ...]:
        return self._tests[0] if self._tests is not None else self._form.root.equalities

    @property
    def prefixes(self) -> tuple[Prefix, ...]:
        return self._tests[1] if self._tests is not None else self._form.root.prefixes

    @property
    def _form(self) -> _Form:
        return self._held or _form_of(self.text)

    def passes(self, payload: JSON, context: Any = None) -> bool:
        """Raises ExpressionError when it looks at too much."""
        form = self._form
        form.looks.begin()
        return form.root.passes(payload, context)

    @property
    def looked(self) -> int:
        """How many values the last evaluation has looked at, beyond the first of each test."""
        return MAX_LOOKS - self._form.looks.left

    def traced(self, payload: JSON, context: Any, trace: list[Trace]) -> bool:
        form = self._form
        form.looks.begin()
        return form.root.traced(payload, context, trace)

    def test(self, payload: JSON, context: Any = None) -> Verdict:
        form = self._form
        form.looks.begin()
        return form.root.test(payload, context)

    def bind(self, names: Names) -> CompiledFilter:
        """The same condition, with names on the right-hand side taken from `names`. A missing one is nothing."""
        node = self._form.node
        return self if node is None or not self.names else CompiledFilter(self.text, _Form(_bound(node, names)))

    def shown(self, names: Names) -> str:
        """Its text, and what the names in it stand for."""
        node = self._form.node
        if node is None or not self.names:
            return self.text
        values = {".".join(name.steps): folded_reader(name.steps)(names) for name in _names(node)}
        return f"{self.text}, where " + " and ".join(f"{name} is {_brief(value)}" for name, value in values.items())

    def check_roots(self, roots: Iterable[str]) -> None:
        """Raises Invalid when a path on the left begins with none of these members."""
        known = {root.casefold() for root in roots}
        for path in _paths(self._form.node):
            if not path.steps or path.steps[0].casefold() not in known:
                found = f"'{path.steps[0]:.40}'" if path.steps else "~ outside of any, all and none"
                raise Invalid(f"at {path.position}: there is no {found}; known are {', '.join(sorted(roots))}", path.position)

    def check_shape(self, shape: Shape, names: Shape = ANYTHING) -> None:
        """Raises Invalid for a path that can never lead anywhere. `names`: the shape of what names on the right stand for."""
        check_shape(self._form.node, shape, names)

    @property
    def paths(self) -> frozenset[tuple[str, ...]]:
        """The paths read, case-folded; those of elements below the list's with "~" between."""
        return frozenset(_reads(self._form.node, ()))

    @property
    def members(self) -> frozenset[str]:
        """The first members of the paths read, case-folded: what a payload must have."""
        return self._form.members

    @property
    def names(self) -> frozenset[tuple[str, ...]]:
        """The names on the right-hand side that are not bound yet."""
        node = self._form.node
        return frozenset() if node is None else frozenset(name.steps for name in _names(node))

    @property
    def reads_children(self) -> bool:
        return bool(self._form.children)

    @property
    def children_by_state_only(self) -> bool:
        """Whether it reads children, and summaries `{"state": ..., "taskDefinitionId": {"scope": ..., "code": ...}}`, one of each
        kind, do instead of all of them."""
        return bool(self._form.children) and self._form.children <= _SUMMARISED

    @property
    def conjuncts(self) -> Conjuncts:
        """The conjuncts, for an index that contains every attribute."""
        return self.narrowed(lambda name: True)

    def narrowed(self, is_indexed: Callable[[str], bool]) -> Conjuncts:
        """What an attribute index can find candidates by. Each conjunct must hold, that is, one of its alternatives: name of the
        attribute as `index_name` gives it, key as `index_value` gives it, whether keys need only begin so. A conjunct without
        alternatives never holds. `is_indexed`: whether the index has a row for each value of that name for which `index_value`
        has a key; of lists, for each element."""
        node = self._form.node
        return () if node is None else tuple(_conjuncts(node, is_indexed))


def index_name(path: Iterable[str]) -> str:
    """The name of the attribute at a path: "state", "fields.amount"."""
    return ".".join(path).casefold()


_CHILDREN = ("childtasks",)
_SUMMARISED = frozenset(
    [
        _CHILDREN,
        (*_CHILDREN, "~", "state"),
        (*_CHILDREN, "~", "taskdefinitionid", "scope"),
        (*_CHILDREN, "~", "taskdefinitionid", "code"),
    ]
)


def _folded(path: MemberPath) -> tuple[str, ...]:
    return tuple(step.casefold() for step in path.steps)


def _reads(node: Node | None, above: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    if isinstance(node, (All, Either)):
        for part in node.parts:
            yield from _reads(part, above)
    elif isinstance(node, Negated):
        yield from _reads(node.part, above)
    elif node is not None:
        yield (*above, *_folded(node.path))
        if isinstance(node, Quantified):
            yield from _reads(node.inner, (*above, *_folded(node.path), "~"))


def _paths(node: Node | None) -> Iterator[MemberPath]:
    """The paths that begin at the payload."""
    if isinstance(node, (All, Either)):
        for part in node.parts:
            yield from _paths(part)
    elif isinstance(node, Negated):
        yield from _paths(node.part)
    elif node is not None:
        yield node.path


def _names(node: Node) -> Iterator[Name]:
    if isinstance(node, (All, Either)):
        for part in node.parts:
            yield from _names(part)
    elif isinstance(node, Negated):
        yield from _names(node.part)
    elif isinstance(node, Quantified):
        yield from _names(node.inner)
    elif isinstance(node, Comparison):
        yield from (operand for operand in node.operands if isinstance(operand, Name))


def _brief(value: JSON) -> str:
    if value is None:
        return "nothing"
    return "'" + value[:200] + "'" if isinstance(value, str) else json.encode(value)[:200].decode(errors="replace")


def _bound(node: Node, names: Names) -> Node:
    if isinstance(node, All):
        return All(tuple(_bound(part, names) for part in node.parts))
    if isinstance(node, Either):
        return Either(tuple(_bound(part, names) for part in node.parts))
    if isinstance(node, Negated):
        return Negated(_bound(node.part, names))
    if isinstance(node, Quantified):
        return node._replace(inner=_bound(node.inner, names))
    if isinstance(node, Comparison):
        return node._replace(operands=tuple(_known(operand, names) for operand in node.operands))
    return node


def _known(operand: FilterConstant | Name, names: JSON) -> FilterConstant:
    return operand if isinstance(operand, FilterConstant) else constant_of(folded_reader(operand.steps)(names))


def _compiled(node: Node, looks: Looks) -> TracedFilter:
    if isinstance(node, All):
        return And([_compiled(part, looks) for part in node.parts])
    if isinstance(node, Either):
        return Or([_compiled(part, looks) for part in node.parts])
    if isinstance(node, Negated):
        return Not(_compiled(node.part, looks))
    if isinstance(node, Quantified):
        return _Quantifier(node, looks)
    if isinstance(node, Presence):
        return _Present(node, looks)
    if all(isinstance(operand, FilterConstant) for operand in node.operands):
        return _Known(node, looks)
    return _Unknown(node, looks)


def _tests(node: Node) -> int:
    """How many tests an element may have to stand, those of the lists in it aside."""
    if isinstance(node, (All, Either)):
        return sum(map(_tests, node.parts))
    if isinstance(node, Negated):
        return _tests(node.part)
    return 1 + len(node.operands) // 20 if isinstance(node, Comparison) else 1


class _Leaf(Traced):
    __slots__ = ("_position", "_read", "_text")

    def __init__(self, node: Comparison | Presence | Quantified, looks: Looks) -> None:
        self._text = node.text
        self._position = node.position
        self._read = folded_reader(node.path.steps, looks)


class _Present(_Leaf):
    __slots__ = ("_negated",)

    def __init__(self, node: Presence, looks: Looks) -> None:
        super().__init__(node, looks)
        self._negated = node.negated

    def passes(self, payload: JSON, context: Any = None) -> bool:
        return (self._read(payload) is None) == self._negated

    def traced(self, payload: JSON, context: Any, trace: list[Trace]) -> bool:
        value = self._read(payload)
        result = (value is None) == self._negated
        trace.append(Trace(self._text, value, result, self._position))
        return result


class _Known(_Leaf):
    """A comparison with constants."""

    __slots__ = ("_check", "_named", "equalities", "prefixes")

    def __init__(self, node: Comparison, looks: Looks) -> None:
        super().__init__(node, looks)
        constants = [operand for operand in node.operands if isinstance(operand, FilterConstant)]
        self._check = check_of(node.operator, node.negated, constants)
        self._named = [to_json(constant) for constant in constants if constant.named]
        place = _folded(node.path)
        self.equalities: tuple[Equality, ...] = ()
        self.prefixes: tuple[Prefix, ...] = ()
        if any(map(is_index, place)):  # the index of handlers knows members only, not places in lists
            return
        if not node.negated and node.operator == "in":
            self.equalities = _equalities(place, constants)
        elif not node.negated and node.operator == "startswith" and constants[0].value:
            self.prefixes = (Prefix(place, str(constants[0].value).casefold(), True),)

    def passes(self, payload: JSON, context: Any = None) -> bool:
        return self._check(self._read(payload))

    def traced(self, payload: JSON, context: Any, trace: list[Trace]) -> bool:
        value = self._read(payload)
        result = self._check(value)
        trace.append(Trace(self._text, [value, *self._named] if self._named else value, result, self._position))
        return result


def _equalities(place: FilterPath, constants: list[FilterConstant]) -> tuple[Equality, ...]:
    """The index of handlers knows dates only as texts, which may be spelled otherwise and yet be equal."""
    keys: list[Key] = []
    for constant in constants:
        value = constant.value
        if constant.kind == "date" or (isinstance(value, str) and moment_of(value) is not None):
            return ()
        if isinstance(value, str):
            keys.append(folded_key(value))
        elif value is not None:
            keys.append(index_key(value if isinstance(value, bool) else float(value)))
    if not keys or len(keys) > MAX_KEYS:
        return ()
    return (Equality(place, keys[0], True, tuple(keys[1:])),)


class _Unknown(_Leaf):
    """A comparison with names, whose values come with each evaluation."""

    __slots__ = ("_negated", "_operands", "_operator")

    def __init__(self, node: Comparison, looks: Looks) -> None:
        super().__init__(node, looks)
        self._operator = node.operator
        self._negated = node.negated
        self._operands = node.operands

    def passes(self, payload: JSON, context: Any = None) -> bool:
        value = self._read(payload)
        if value is None:
            return False
        return check_of(self._operator, self._negated, [_known(operand, context) for operand in self._operands])(value)

    def traced(self, payload: JSON, context: Any, trace: list[Trace]) -> bool:
        value = self._read(payload)
        result = self.passes(payload, context)
        right = [to_json(_known(operand, context)) for operand in self._operands if isinstance(operand, Name)]
        trace.append(Trace(self._text, [value, *right], result, self._position))
        return result


class _Quantifier(_Leaf):
    """Any: an element passes. None: no element does. All: no element does not. So one look for the first that does, or does not,
    decides."""

    __slots__ = ("_found", "_inner", "_looks", "_sought", "_tests")

    def __init__(self, node: Quantified, looks: Looks) -> None:
        super().__init__(node, looks)
        self._looks = looks
        self._tests = _tests(node.inner)
        self._inner = _compiled(node.inner, looks)
        self._sought = node.quantifier != "all"  # what the element sought comes to
        self._found = node.quantifier == "any"  # what the whole comes to when there is one

    def passes(self, payload: JSON, context: Any = None) -> bool:
        value = self._read(payload)
        if not _is_list(value):
            return False
        inner, sought, spend, tests = self._inner, self._sought, self._looks.spend, self._tests
        for element in value:
            spend(tests)
            if inner.passes(element, context) == sought:
                return self._found
        return not self._found

    def traced(self, payload: JSON, context: Any, trace: list[Trace]) -> bool:
        """Shows the element that decided, else the first few."""
        value = self._read(payload)
        if not _is_list(value):
            trace.append(Trace(self._text, value, False, self._position))
            return False
        seen: list[JSON] = []
        for element in value:
            self._looks.spend(self._tests)
            if self._inner.passes(element, context) == self._sought:
                trace.append(Trace(self._text, element, self._found, self._position))
                return self._found
            if len(seen) < MAX_SEEN:
                seen.append(element)
        trace.append(Trace(self._text, seen, not self._found, self._position))
        return not self._found


def _is_list(value: JSON) -> bool:
    return isinstance(value, list) or (isinstance(value, Iterable) and not isinstance(value, (str, bytes, Mapping)))


def _conjuncts(node: Node, is_indexed: Callable[[str], bool]) -> Iterator[Alternatives]:
    if isinstance(node, All):
        for part in node.parts:
            yield from _conjuncts(part, is_indexed)
    elif isinstance(node, Either):
        # One conjunct of each part must hold: of each that with the fewest alternatives.
        united: dict[tuple[str, str, bool], None] = {}
        for part in node.parts:
            best = min(_conjuncts(part, is_indexed), key=len, default=None)
            if best is None:
                return
            united.update(dict.fromkeys(best))
        yield from _bounded(united)
    elif isinstance(node, Comparison):
        yield from _alternatives(node.path, node, is_indexed)
    elif isinstance(node, Quantified) and node.quantifier == "any":
        for inner in node.inner.parts if isinstance(node.inner, All) else (node.inner,):
            if isinstance(inner, Comparison) and not inner.path.steps:
                yield from _alternatives(node.path, inner, is_indexed)


def _alternatives(path: MemberPath, node: Comparison, is_indexed: Callable[[str], bool]) -> Iterator[Alternatives]:
    name = index_name(path.steps)
    if node.negated or not path.steps or not is_indexed(name):
        return
    constants = [operand for operand in node.operands if isinstance(operand, FilterConstant)]
    if len(constants) < len(node.operands):
        return
    found: dict[tuple[str, str, bool], None] = {}
    if node.operator == "in":
        for constant in constants:
            key = index_constant(constant)
            if key is not None:
                found[name, key, False] = None
    elif node.operator == "startswith" and constants[0].value:
        found = dict.fromkeys((name, key, True) for key in index_prefixes(str(constants[0].value)))
    elif constants[0].kind != "nothing":
        return
    yield from _bounded(found)


def _bounded(found: dict[tuple[str, str, bool], None]) -> Iterator[Alternatives]:
    if len(found) <= MAX_ALTERNATIVES:
        yield tuple(found)


__all__ = ["CompiledFilter", "Conjuncts", "index_name", "index_value", "parse_filter"]
