"""Paths into JSON values: `a.b[0]['c d']`, and the whole of JSONPath where that is not enough.

A path is a first name, the plain members that follow it, and sometimes a rest. Plain members (names and list indexes)
are what nearly every path consists of; they become small closures of about 0.1 us a call. Only the rest, which begins
at the first wildcard, descent, slice or filter, is given to the RFC 9535 engine, and a path with a rest is
*indefinite*: it yields the list of everything it finds.

Invariants: selecting never raises for a value of another shape than the path expects (it yields None, or an empty
list), never changes the value, and never reads a character of a string as if the string were a list.

Cost: a plain path is linear in its members. The rest looks at no more values than its budget allows (`searches.py`), and finds no
more than 10,000; regular expressions, descents inside filters and more than two descents are refused when the path is parsed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

from jsonpath_rfc9535 import JSONPathError

from pelton.kernel.expressions.base import JSON, Invalid, Looks
from pelton.kernel.expressions.searches import Search, compile_search, select

MAX_PATH = 2_000  # characters
MAX_MEMBERS = 100
MAX_DESCENTS = 2

Members = tuple[str | int, ...]


class Path(NamedTuple):
    """A parsed path. `name` is "" when the path begins at the whole root document (`..x`)."""

    name: str
    members: Members
    rest: Search | None = None
    function: Callable[[JSON], JSON] | None = None  # what a trailing `.length()` and its like apply


@lru_cache(maxsize=4096)
def parse(text: str) -> Path:
    """The path that `text` spells, without the leading `$.` that it implies. Raises Invalid."""
    if len(text) > MAX_PATH:
        raise Invalid(f"the path has {len(text)} characters; the limit is {MAX_PATH}", MAX_PATH)
    if text == "$":
        return Path("", ())
    if text.startswith(("$.", "$[")):  # the root, which is implied anyway
        text = text[1:] if text.startswith(("$..", "$[")) else text[2:]
    if text.startswith("."):
        # One dot is a descent as well: it follows the dot of the implied `$.`.
        return Path("", (), _engine(("$" if text.startswith("..") else "$.") + text, 0))
    members, at = _plain(text)
    if len(members) > MAX_MEMBERS:
        raise Invalid(f"the path has more than {MAX_MEMBERS} members", at)
    function = None
    if at == len(text) and text.endswith("()") and text.rpartition(".")[2] in FUNCTIONS:
        function = FUNCTIONS[text.rpartition(".")[2]]
        members = members[:-1]
    if not members or not isinstance(members[0], str):
        if at == len(text) or members:
            raise Invalid("the path does not begin with a name", 0)
        return Path("", (), _engine("$" + ("" if text[at] == "[" else ".") + text, 0))
    rest = None if at == len(text) else _rest(text, at)
    return Path(members[0], tuple(members[1:]), *rest) if rest else Path(members[0], tuple(members[1:]), None, function)


def prefix(text: str) -> Members:
    """The complete plain members at the beginning of a path whose end is not known yet (`a.b.` of `a.b.${x}`)."""
    try:
        members, _at = _plain(text, whole=False)
    except Invalid:
        return ()
    return tuple(members)


def _plain(text: str, whole: bool = True) -> tuple[list[str | int], int]:
    """Plain members from the start of `text`, and where the first thing that is not one begins. With `whole` false the
    last name counts only if something follows that ends it."""
    members: list[str | int] = []
    at, end = 0, len(text)
    while at < end:
        start = at
        if text[at] == "[":
            member, at = _bracket(text, at)
            if member is None:
                return members, start
            members.append(member)
            continue
        if members:
            if text[at] != ".":
                raise Invalid(f"expected '.' or '[' but found {text[at]!r}", at)
            at += 1
        if members and text[at : at + 1] == "[":
            raise Invalid("a name is missing between '.' and '['", at)
        stop = at
        while stop < end and text[stop] not in ".[]":
            stop += 1
        name = text[at:stop]
        if not name and text[at : at + 1] == ".":
            return members, start
        if name == "*":
            return members, start
        if not name:
            if whole:
                raise Invalid("a name is missing" + (" at the end of the path" if at == end else ""), at)
            return members, start
        if not whole and stop == end:
            return members, start
        if text[stop : stop + 1] == "]":
            raise Invalid("']' without '['", stop)
        members.append(name)
        at = stop
    return members, at


def _bracket(text: str, at: int) -> tuple[str | int | None, int]:
    """The member in the brackets that open at `at`, or None when it is more than one plain member; and the end."""
    stop = close_bracket(text, at)
    if stop < 0:
        raise Invalid("'[' is never closed", at)
    inner = text[at + 1 : stop].strip()
    if inner[:1] in ("'", '"') and inner:
        name = _quoted(inner)
        return name, stop + 1
    digits = inner[1:] if inner[:1] == "-" else inner
    if digits.isascii() and digits.isdigit() and len(digits) < 16:
        return int(inner), stop + 1
    return None, stop + 1


def _quoted(inner: str) -> str | None:
    quote, out, at = inner[0], [], 1
    while at < len(inner):
        char = inner[at]
        if char == "\\" and at + 1 < len(inner):
            escape = inner[at + 1]
            if escape == "u":
                return None  # the engine knows the rules of surrogate pairs
            out.append({"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}.get(escape, escape))
            at += 2
            continue
        if char == quote:
            return "".join(out) if at == len(inner) - 1 else None
        out.append(char)
        at += 1
    return None


def close_bracket(text: str, at: int) -> int:
    """Where the bracket that opens at `at` closes, quotes heeded; -1 when it does not."""
    depth, quote = 0, ""
    while at < len(text):
        char = text[at]
        if quote:
            if char == "\\":
                at += 1
            elif char == quote:
                quote = ""
        elif char in "'\"":
            quote = char
        elif char == "[":
            depth += 1
        elif char == "]":
            depth -= 1
            if depth == 0:
                return at
        at += 1
    return -1


def _rest(text: str, at: int) -> tuple[Search, Callable[[JSON], JSON] | None]:
    """The engine's part of a path, from `at` on. Names are quoted for it, since it knows fewer plain ones than we do."""
    out, function, start = ["$"], None, at
    while at < len(text):
        if text[at] == "[":
            stop = close_bracket(text, at)
            if stop < 0:
                raise Invalid("'[' is never closed", at)
            out.append(text[at : stop + 1])
            at = stop + 1
            continue
        if text[at] != ".":
            raise Invalid(f"expected '.' or '[' but found {text[at]!r}", at)
        descent = text.startswith("..", at)
        at += 2 if descent else 1
        stop = at
        while stop < len(text) and text[stop] not in ".[]":
            stop += 1
        name = text[at:stop]
        if stop == len(text) and name in FUNCTIONS:
            function = FUNCTIONS[name]
        elif name:
            out.append((".." if descent else "") + ("[*]" if name == "*" else _quote(name)))
        elif descent and text[at : at + 1] == "[":
            out.append("..")
        else:
            raise Invalid("a name is missing", at)
        at = stop
    return _engine("".join(out), start), function


def _quote(name: str) -> str:
    return "['" + name.replace("\\", "\\\\").replace("'", "\\'") + "']"


def _engine(query: str, position: int) -> Search:
    """Compiles for the engine, and refuses what could cost more than the value is large."""
    outside, inside = _outside_filters(query)
    if outside.count("..") > MAX_DESCENTS:
        raise Invalid(f"more than {MAX_DESCENTS} descents ('..') in one path", position)
    if ".." in inside or ("$" in inside and "*" in inside):
        raise Invalid("a filter must not search the whole document ('..' or '$' with '*')", position)
    try:
        return compile_search(query)
    except (JSONPathError, RecursionError, ValueError, KeyError) as error:
        raise Invalid(f"not a JSONPath: {error}", position) from None


def _outside_filters(query: str) -> tuple[str, str]:
    outside, inside, at = [], [], 0
    while at < len(query):
        if query[at] == "[":
            stop = close_bracket(query, at)
            stop = len(query) if stop < 0 else stop + 1
            part = query[at:stop]
            if "?" in part:
                inside.append(part)
            at = stop
        else:
            outside.append(query[at])
            at += 1
    return "".join(outside), "".join(inside)


def after(path: Path, used: int, budget: Looks | None = None) -> Callable[[JSON], JSON]:
    """What `path` selects from a value that stands for its name and its first `used` members. `budget`: what it shares with other
    paths of the same evaluation."""
    members, rest, function = path.members[used:], path.rest, path.function
    walk = follow(members)
    if rest is not None:
        query = rest

        def selected(value: JSON) -> JSON:
            return select(query, walk(value), budget)

        walk_rest: Callable[[JSON], JSON] = selected
    else:
        walk_rest = walk
    if function is None:
        return walk_rest
    apply = function
    return lambda value: apply(walk_rest(value))


def follow(members: Members) -> Callable[[JSON], JSON]:
    """A closure that follows plain members and yields None where the value has no such member."""
    if any(isinstance(member, int) for member in members):
        return _follow_mixed(members)
    if not members:
        return _same
    if len(members) == 1:
        return _follow_one(*members)
    if len(members) == 2:
        return _follow_two(*members)
    return _follow_names(members)


# A mapping is indexed without a look at its type, so that a language may hand out one that loads its members lazily;
# str and list raise TypeError for a name, which costs nothing until it happens.


def _same(value: JSON) -> JSON:
    return value


def _follow_one(a: str | int) -> Callable[[JSON], JSON]:
    def one(value: JSON) -> JSON:
        try:
            return value[a]
        except (KeyError, TypeError):
            return None

    return one


def _follow_two(a: str | int, b: str | int) -> Callable[[JSON], JSON]:
    def two(value: JSON) -> JSON:
        try:
            return value[a][b]
        except (KeyError, TypeError):
            return None

    return two


def _follow_names(members: Members) -> Callable[[JSON], JSON]:
    def names(value: JSON) -> JSON:
        try:
            for member in members:
                value = value[member]
        except (KeyError, TypeError):
            return None
        return value

    return names


def _follow_mixed(members: Members) -> Callable[[JSON], JSON]:
    def mixed(value: JSON) -> JSON:
        try:
            for member in members:
                if isinstance(member, int) and not isinstance(value, list):
                    return None
                value = value[member]
        except (KeyError, IndexError, TypeError):
            return None
        return value

    return mixed


def _numbers(value: JSON) -> list[int | float]:
    return [item for item in value if type(item) in (int, float)] if isinstance(value, list) else []


def _length(value: JSON) -> JSON:
    return len(value) if isinstance(value, (list, dict, str)) else None


def _first(value: JSON) -> JSON:
    return value[0] if isinstance(value, list) and value else None


def _last(value: JSON) -> JSON:
    return value[-1] if isinstance(value, list) and value else None


def _keys(value: JSON) -> JSON:
    return list(value) if isinstance(value, dict) else None


def _least(value: JSON) -> JSON:
    return min(_numbers(value), default=None)


def _greatest(value: JSON) -> JSON:
    return max(_numbers(value), default=None)


def _sum(value: JSON) -> JSON:
    return sum(_numbers(value))


def _average(value: JSON) -> JSON:
    numbers = _numbers(value)
    return sum(numbers) / len(numbers) if numbers else None


FUNCTIONS: dict[str, Callable[[JSON], JSON]] = {
    "length()": _length,
    "size()": _length,
    "keys()": _keys,
    "first()": _first,
    "last()": _last,
    "min()": _least,
    "max()": _greatest,
    "sum()": _sum,
    "avg()": _average,
}
