"""Parsing a filter into a tree, with the position of errors.

    filter    = and { "or" and }            and  = unary { "and" unary }
    unary     = "not" unary | "(" filter ")" | predicate
    predicate = path ("any" | "all" | "none") "(" filter ")" | path [ "not" ] "exists"
              | path [ "not" ] operator operand | path [ "not" ] "in" list
    operator  = "eq" | "neq" | "gt" | "gte" | "lt" | "lte" | "startswith" | "endswith" | "contains"
    list      = operand { "," operand } | "(" operand { "," operand } ")"
    path      = ( "~" | segment ) { "." segment | "[" key "]" }

Keywords are case-insensitive. Strings are enclosed in straight single quotes; a quote inside a string is doubled or
escaped with a backslash. Numbers, dates, `true`, `false` and GUIDs are unquoted. A bare name as an operand must be allowed by the
caller.

Linear in the text; bounded in length, in depth (`MAX_DEPTH`, `MAX_QUANTIFIERS`), and in predicates and operands
(`MAX_PREDICATES`, `MAX_OPERANDS`). Any error raises Invalid, whose message has the character position, counted from 0, and
what was expected.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Literal, NamedTuple

from pelton.kernel.expressions.base import Invalid
from pelton.languages.lusid.times import parse_moment

MAX_DEPTH = 100
MAX_QUANTIFIERS = 10  # in each other
MAX_PREDICATES = 1000
MAX_OPERANDS = 1000  # of one list
MAX_SHOWN = 20  # characters of what was found instead

Operator = Literal["eq", "gt", "gte", "lt", "lte", "startswith", "endswith", "contains", "in"]
Quantifier = Literal["any", "all", "none"]
Kind = Literal["text", "number", "date", "truth", "nothing"]


class MemberPath(NamedTuple):
    """Members, one below the other. `~`, the element at hand, is the path without steps."""

    steps: tuple[str, ...]
    position: int


class FilterConstant(NamedTuple):
    """`value`: str, Decimal, a moment (see `moment_of`), bool, or None for `nothing`, to which nothing is equal. `named`: it
    stands for a name that has been bound, and is worth showing."""

    kind: Kind
    value: str | Decimal | int | None
    named: bool = False


class Name(NamedTuple):
    """A name on the right-hand side, until its value is known."""

    steps: tuple[str, ...]
    position: int


class Comparison(NamedTuple):
    """One operand, of "in" one or more. What is written "eq" is an "in" with one operand, and "neq" its negation. `negated`: the
    opposite of what comparing says, where it says anything."""

    path: MemberPath
    operator: Operator
    negated: bool
    operands: tuple[FilterConstant | Name, ...]
    text: str
    position: int


class Presence(NamedTuple):
    path: MemberPath
    negated: bool
    text: str
    position: int


class Quantified(NamedTuple):
    path: MemberPath
    quantifier: Quantifier
    inner: Node
    text: str
    position: int


class All(NamedTuple):
    parts: tuple[Node, ...]


class Either(NamedTuple):
    parts: tuple[Node, ...]


class Negated(NamedTuple):
    part: Node


Node = Comparison | Presence | Quantified | All | Either | Negated

_WORD = re.compile(r"[^\W\d]\w*+(?![/-])")
_SEGMENT = re.compile(r"\w[\w/-]*+")
_ESCAPED = re.compile(r"\\'|''")
_QUOTED = re.compile(r"'((?:[^'\\]++|''|\\'|\\(?!'))*+)'")
_BARE_KEY = re.compile(r"[^\[\]'\"]++")
_GUID = re.compile(r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}")
# The blank before an offset is the plus sign of a query that was not encoded.
_DATE_LIKE = re.compile(r"\d{4}-\d\d-[\w:.+-]*+(?: \d\d:\d\d(?![\w:.]))?", re.ASCII)
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][+-]?\d{1,3}(?!\d))?", re.ASCII)
_FOUND = re.compile(r"[\w.:+/-]+|\s+|.", re.DOTALL)
_ENDS = re.compile(r"[\s,)]|$")
_ODD_QUOTES = '"`\u2018\u2019\u201a\u201b\u201c\u201d\u201e\u201f\u00ab\u00bb'

_TEXTUAL: dict[str, Operator] = {"startswith": "startswith", "endswith": "endswith", "contains": "contains"}
_ORDERED: dict[str, Operator] = {"gt": "gt", "gte": "gte", "lt": "lt", "lte": "lte"}
_OPERATORS = frozenset(["eq", "neq", "in", *_TEXTUAL, *_ORDERED])
_QUANTIFIERS: dict[str, Quantifier] = {"any": "any", "all": "all", "none": "none"}
_EXPECTED_VALUE = "a value such as 'text', 12.5, 2024-01-15, true"

_LONGEST_MOMENT = 40


def moment_of(text: str) -> int | None:
    """The moment that a text names, as `times.parse_moment` has it; None when it names none."""
    # Hardly any text does: most are known by their length and first character.
    return parse_moment(text) if len(text) <= _LONGEST_MOMENT and text[:1].isdigit() else None


def parse(text: str, right_names: frozenset[str] = frozenset(), right_roots: frozenset[str] = frozenset()) -> Node | None:
    """The tree of a filter, whose length has been checked; None for an empty text. For the arguments see `filters.parse_filter`.
    Raises Invalid."""
    return _Parser(text, right_names, right_roots).filter()


def check_length(text: str, limit: int) -> None:
    if len(text) > limit:
        raise Invalid(f"a filter of {len(text):,} characters is too long; at most {limit:,} are taken", limit)


class _Parser:
    """`at` is the position of the next character that counts: spaces before it are skipped already."""

    def __init__(self, text: str, right_names: frozenset[str], right_roots: frozenset[str]) -> None:
        self.text = text
        self.names = {name.casefold(): name for name in right_names}
        self.right_roots = frozenset(root.casefold() for root in right_roots)
        allowed = [*sorted(right_names), *(f"{root}.name" for root in sorted(right_roots))]
        self.expected_value = ", ".join([_EXPECTED_VALUE, *allowed])
        self.depth = 0
        self.inside = 0  # quantifiers
        self.predicates = 0
        self.at = self.end = 0  # end: after the last character that was taken
        self.ahead: tuple[str, int] | None = None  # the word at `at`, and where it ends
        self._skip(0)

    def filter(self) -> Node | None:
        if self.at == len(self.text):
            return None
        node = self._either()
        if self.at < len(self.text):
            raise self._wrong("and, or, or the end")
        return node

    def _wrong(self, expected: str, at: int | None = None) -> Invalid:
        at = self.at if at is None else at
        found = _FOUND.match(self.text, at)
        shown = "the end" if found is None else '"\'"' if found[0] == "'" else f"'{found[0][:MAX_SHOWN]}'"
        return Invalid(f"at {at}: expected {expected}, found {shown}", at)

    def _skip(self, end: int) -> None:
        self.end = end
        while self.text[end : end + 1].isspace():
            end += 1
        self.at = end
        self.ahead = None

    def _take(self, character: str) -> bool:
        if not self.text.startswith(character, self.at):
            return False
        self._skip(self.at + len(character))
        return True

    def _word(self) -> str:
        """The word that is next, case-folded, without taking it. It is asked for several times."""
        if self.ahead is None:
            match = _WORD.match(self.text, self.at)
            self.ahead = ("", self.at) if match is None else (match[0].casefold(), match.end())
        return self.ahead[0]

    def _take_word(self, word: str) -> bool:
        if self._word() != word or self.ahead is None:
            return False
        self._skip(self.ahead[1])
        return True

    def _either(self) -> Node:
        parts = [self._all()]
        while self._take_word("or"):
            parts.append(self._all())
        return parts[0] if len(parts) == 1 else Either(tuple(parts))

    def _all(self) -> Node:
        parts = [self._unary()]
        while self._take_word("and"):
            parts.append(self._unary())
        return parts[0] if len(parts) == 1 else All(tuple(parts))

    def _unary(self) -> Node:
        negated = False
        while self._take_word("not"):
            negated = not negated
        node = self._parenthesised() if self.text.startswith("(", self.at) else self._predicate()
        return Negated(node) if negated else node

    def _parenthesised(self) -> Node:
        start = self.at
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise Invalid(f"at {start}: the filter is nested more than {MAX_DEPTH} deep", start)
        self._take("(")
        node = self._either()
        self.depth -= 1
        if not self._take(")"):
            raise self._wrong(f"and, or, or the ) for the ( at {start}")
        return node

    def _predicate(self) -> Node:
        start = self.at
        self.predicates += 1
        if self.predicates > MAX_PREDICATES:
            raise Invalid(f"at {start}: the filter has more than {MAX_PREDICATES:,} conditions", start)
        if self._word() in ("and", "or"):
            raise self._wrong("a condition such as state eq 'Done'")
        path = self._path("a condition such as state eq 'Done'")
        if quantifier := _QUANTIFIERS.get(self._word()):
            return self._quantified(path, quantifier, start)
        negated = self._take_word("not")
        if self._take_word("exists"):
            return Presence(path, negated, self.text[start : self.end], start)
        word = self._word()
        if word not in _OPERATORS:
            raise self._wrong(
                "exists, or an operator such as eq, in or startswith" if negated else "an operator such as eq, in or startswith"
            )
        self._take_word(word)
        return self._comparison(path, word, negated, start)

    def _quantified(self, path: MemberPath, quantifier: Quantifier, start: int) -> Node:
        self._take_word(quantifier)
        if not self.text.startswith("(", self.at):
            raise self._wrong(f"( and a condition on the elements after {quantifier}")
        self.inside += 1
        if self.inside > MAX_QUANTIFIERS:
            raise Invalid(f"at {start}: more than {MAX_QUANTIFIERS} quantifiers are nested in each other", start)
        inner = self._parenthesised()
        self.inside -= 1
        return Quantified(path, quantifier, inner, self.text[start : self.end], start)

    def _comparison(self, path: MemberPath, word: str, negated: bool, start: int) -> Node:
        if word == "in":
            operands = self._list()
        else:
            at = self.at
            operands = (self._operand(),)
            self._check_kind(word, operands[0], at)
        operator: Operator = _TEXTUAL.get(word) or _ORDERED.get(word) or "in"
        return Comparison(path, operator, negated != (word == "neq"), operands, self.text[start : self.end], start)

    def _check_kind(self, word: str, operand: FilterConstant | Name, at: int) -> None:
        if isinstance(operand, Name):
            return
        if word in _TEXTUAL and operand.kind != "text":
            raise self._wrong(f"a text in single quotes after {word}", at)
        if word in _ORDERED and operand.kind == "truth":
            raise self._wrong(f"a number, a date or a text after {word}", at)

    def _list(self) -> tuple[FilterConstant | Name, ...]:
        start = self.at
        enclosed = self._take("(")
        operands = [self._operand()]
        while self._take(","):
            if len(operands) == MAX_OPERANDS:
                raise Invalid(f"at {self.at}: a list has at most {MAX_OPERANDS:,} values", self.at)
            operands.append(self._operand())
        if enclosed and not self._take(")"):
            raise self._wrong(f"a comma, or the ) for the ( at {start}")
        return tuple(operands)

    def _path(self, expected: str) -> MemberPath:
        start = self.at
        steps: list[str] = []
        if self.text.startswith("~", start):
            end = start + 1
        elif segment := _SEGMENT.match(self.text, start):
            steps.append(segment[0])
            end = segment.end()
        else:
            raise self._wrong(expected)
        while True:
            if self.text.startswith(".", end):
                segment = _SEGMENT.match(self.text, end + 1)
                if segment is None:
                    raise self._wrong("a name after the dot", end + 1)
                steps.append(segment[0])
                end = segment.end()
            elif self.text.startswith("[", end):
                end = self._key(end, steps)
            else:
                break
        self._skip(end)
        return MemberPath(tuple(steps), start)

    def _key(self, bracket: int, steps: list[str]) -> int:
        """Takes `[key]`, and says where it ends."""
        self._skip(bracket + 1)
        if self.text.startswith("'", self.at):
            steps.append(self._quoted())
        elif bare := _BARE_KEY.match(self.text, self.at):
            steps.append(bare[0].strip())
            self._skip(bare.end())
        else:
            raise self._wrong("a key such as ['amount']")
        if not self.text.startswith("]", self.at):
            raise self._wrong(f"the ] for the [ at {bracket}")
        return self.at + 1

    def _quoted(self) -> str:
        match = _QUOTED.match(self.text, self.at)
        if match is None:
            raise Invalid(f"at {self.at}: the text that begins here is never closed; it ends with a single quote", self.at)
        self._skip(match.end())
        return _ESCAPED.sub("'", match[1]) if "'" in match[1] else match[1]

    def _operand(self) -> FilterConstant | Name:
        start = self.at
        if self.text.startswith("'", start):
            return FilterConstant("text", self._quoted())
        if self.at < len(self.text) and self.text[start] in _ODD_QUOTES:
            raise self._wrong("a text between straight single quotes", start)
        if match := _GUID.match(self.text, start):
            operand = FilterConstant("text", match[0])
        elif match := _DATE_LIKE.match(self.text, start):
            moment = moment_of(match[0])
            if moment is None:
                raise self._wrong("a date such as 2024-01-15 or 2024-01-15T10:00:00Z", start)
            operand = FilterConstant("date", moment)
        elif match := _NUMBER.match(self.text, start):
            operand = FilterConstant("number", Decimal(match[0]))
        else:
            return self._name(start)
        if _ENDS.match(self.text, match.end()) is None:
            raise self._wrong(self.expected_value, start)
        self._skip(match.end())
        return operand

    def _name(self, start: int) -> FilterConstant | Name:
        if self._word() == "":
            raise self._wrong(self.expected_value)
        steps = self._path(self.expected_value).steps
        first = steps[0].casefold()
        if len(steps) == 1 and first in ("true", "false"):
            return FilterConstant("truth", first == "true")
        if len(steps) == 1 and first in self.names:
            return Name((self.names[first],), start)
        if first in self.right_roots:
            return Name(steps, start)
        raise self._wrong(f"{self.expected_value} (a text stands between single quotes)", start)
