"""Which JavaScript may run on the loop, and what of its argument a script reads. Both are decided from the tokens alone.

The engine can be interrupted between the steps of a script but not inside one: `[].join` of an array of four billion
holes, a search in a string of its own worst kind, or a comparison of two huge strings hold it for minutes. So a script
runs on the loop only when it is *tame*: straight-line code without loops, functions (but for one called where it
stands), callbacks, changes of members or objects of its own, which calls only what is known to be linear. (An object of
its own could carry a library function and a length of four billion: `({at: [].join, length: 4e9}).at()`.) Its work is
then bounded by its *weight*: how often it can touch its argument, counted through its variables (`s = s + s` doubles it).

A script that is not tame is no worse, it is only run elsewhere, in a process that can be ended.
"""

from __future__ import annotations

from typing import NamedTuple

from pelton.kernel.expressions.base import Invalid
from pelton.kernel.expressions.javascript.lexer import KEYWORDS, Lexeme, tokens, words

MAX_SOURCE = 4_000  # characters of a tame script
MAX_WEIGHT = 200

_FORBIDDEN = words(
    "while for do class async await yield import export try catch finally with delete eval arguments super debugger "
    "extends function __proto__ of get set static label globalThis Function Symbol this"
)
_BEFORE_GROUP = words("if switch return typeof case in instanceof void throw else")
# Called as methods: each is linear in what it is called on and never calls back.
_METHODS = words(
    "toUpperCase toLowerCase trim trimStart trimEnd startsWith endsWith charAt charCodeAt substring substr toFixed toString "
    "valueOf getTime toISOString getFullYear getMonth getDate getDay getHours getMinutes getSeconds getUTCFullYear "
    "getUTCMonth getUTCDate getUTCDay getUTCHours getUTCMinutes getUTCSeconds hasOwnProperty isArray keys now random abs "
    "ceil floor round trunc sign sqrt pow min max isInteger isNaN isFinite parseInt parseFloat at slice"
)
_SEARCHES = words("includes indexOf lastIndexOf split")  # linear only when they search for something short
_FUNCTIONS = words("Number String Boolean parseInt parseFloat isNaN isFinite")
_CONSTRUCTORS = words("Date Error TypeError RangeError")
_ASSIGNMENTS = words("= += -= *= /= %= **= &= |= ^= <<= >>= >>>= &&= ||= ??=")
_BEFORE_ASSIGNED = words("; { } let const var ) else")


class Uses(NamedTuple):
    """What a script may read of `$`: pairs of a member and the member after it, None for all of it. `computed` says that
    it may read anything else as well."""

    members: frozenset[tuple[str, str | None]]
    computed: bool


def is_tame(source: str) -> bool:
    """Whether the script's work is bounded by its text and the size of its argument."""
    if len(source) > MAX_SOURCE:
        return False
    try:
        found = tokens(source)
    except Invalid:
        return False
    return _calls_are_tame(found) and _weight(found) <= MAX_WEIGHT


def assigns(source: str) -> bool:
    """Whether a tame script could make a global variable by assigning to an undeclared name."""
    return any(token.kind == "punctuator" and token.text in _ASSIGNMENTS for token in tokens(source))


def _calls_are_tame(found: list[Lexeme]) -> bool:
    partner = _partners(found)
    if partner is None:
        return False
    inline: set[int] = set()  # tokens of functions that are called where they stand, already judged
    for at, token in enumerate(found):
        before = found[at - 1] if at else None
        if token.kind in ("unsure", "regex") or (token.kind == "template" and token.value):
            return False
        if token.kind == "template" and before is not None and _ends_operand(before):
            return False
        if token.kind == "string" and token.value is None:
            return False
        if token.kind == "name" and token.text in _FORBIDDEN and at not in inline:
            in_place = token.text == "function" and _called_in_place(found, partner, at, inline)
            if not in_place:
                return False
        if token.kind != "punctuator":
            continue
        if token.text in ("++", "--", "#", "@", "=>", "..."):
            return False
        if token.text == "{" and not (before is None or before.text in (")", ";", "{", "}", "else")):
            return False  # an object, or nothing that can be distinguished from one
        if token.text == "(" and at not in inline and not _group_or_tame_call(found, partner, at):
            return False
        if token.text in _ASSIGNMENTS and not _assigns_a_name(found, at):
            return False
    return True


def _partners(found: list[Lexeme]) -> dict[int, int] | None:
    """Where each bracket closes or opens; None when they do not match."""
    stack: list[int] = []
    partner: dict[int, int] = {}
    for at, token in enumerate(found):
        if token.kind != "punctuator":
            continue
        if token.text in "([{":
            stack.append(at)
        elif token.text in ")]}":
            if not stack or found[stack[-1]].text + token.text not in ("()", "[]", "{}"):
                return None
            partner[at] = stack[-1]
            partner[stack.pop()] = at
    return None if stack else partner


def _called_in_place(found: list[Lexeme], partner: dict[int, int], at: int, inline: set[int]) -> bool:
    """`(function () {...})()` and `(function () {...}())`, without a name and with no more than `$` as its parameter and
    argument. Judged once for the whole source, so that nothing inside can call it again."""
    if at == 0 or found[at - 1].text != "(" or found[at + 1].text != "(" or inline:
        return False
    if at > 1 and found[at - 2].text not in ("return", ";", "=", "!", "{", "}"):
        return False
    parameters = partner[at + 1]
    if found[parameters + 1].text != "{" or parameters - at > 3:
        return False
    body = partner[parameters + 1]
    outer = partner[at - 1]
    call = body + 1 if found[body + 1].text == "(" else outer + 1
    if call != body + 1 and (outer != body + 1 or found[call].text != "("):
        return False
    if call not in partner or partner[call] - call > 2:
        return False
    names = [found[at + 2].text] if parameters - at == 3 else []
    given = [found[call + 1].text] if partner[call] - call == 2 else []
    if names not in ([], ["$"]) or given not in ([], ["$"]):
        return False
    if call == body + 1 and outer != partner[call] + 1:
        return False
    inline.update((at, at + 1, call))
    return True


def _group_or_tame_call(found: list[Lexeme], partner: dict[int, int], at: int) -> bool:
    before = found[at - 1] if at else None
    if before is None or (before.kind == "punctuator" and before.text not in (")", "]", "}", "?.")):
        return True
    if before.text == ")" and before.kind == "punctuator":
        # `if (a) (b)`: a group after a condition; anything else is a call of the value of a group.
        opened = partner[at - 1]
        return opened > 0 and found[opened - 1].text == "if"
    if before.kind != "name":
        return False
    owner = found[at - 2] if at > 1 else None
    method = owner is not None and owner.kind == "punctuator" and owner.text in (".", "?.")
    if method:
        return before.text in _METHODS or (before.text in _SEARCHES and _one_short_literal(found, at, partner[at]))
    if owner is not None and owner.text == "new":
        return before.text in _CONSTRUCTORS
    return before.text in _BEFORE_GROUP or before.text in _FUNCTIONS


def _one_short_literal(found: list[Lexeme], at: int, close: int) -> bool:
    return close == at + 2 and found[at + 1].kind in ("string", "number") and len(found[at + 1].text) <= 64


def _assigns_a_name(found: list[Lexeme], at: int) -> bool:
    if at == 0 or found[at - 1].kind != "name" or found[at - 1].text in KEYWORDS | _FUNCTIONS | _CONSTRUCTORS:
        return False
    if at == 1:
        return True
    before = found[at - 2]
    return before.text in _BEFORE_ASSIGNED and before.kind in ("punctuator", "name")


def _ends_operand(token: Lexeme) -> bool:
    if token.kind == "name":
        return token.text not in KEYWORDS or token.text in ("this", "null", "true", "false")
    return token.kind in ("string", "number", "template") or token.text in (")", "]", "}")


def _weight(found: list[Lexeme]) -> int:
    """How many times the argument can be touched. A tame script has no loops, so each assignment happens at most once and
    in the order of the text."""
    weights: dict[str, int] = {}
    total, at = 0, 0
    while at < len(found):
        token = found[at]
        if token.kind == "name":
            total += weights.get(token.text, 1)
        elif token.kind == "punctuator" and token.text in _ASSIGNMENTS:
            name, right = found[at - 1].text, 1
            for later in found[at + 1 :]:
                if later.text == ";" and later.kind == "punctuator":
                    break
                right += weights.get(later.text, 1) if later.kind == "name" else 0
            weights[name] = min(weights.get(name, 1) + right, MAX_WEIGHT + 1)
        if total > MAX_WEIGHT:
            return total
        at += 1
    return total


def member_uses(source: str) -> Uses:
    """Which `$.name` and `$.name.member` a script reads. What is not certain counts as computed."""
    members: set[tuple[str, str | None]] = set()
    try:
        computed = _collect(source, members)
    except Invalid:
        computed = True
    return Uses(frozenset(members), computed)


def _collect(source: str, members: set[tuple[str, str | None]]) -> bool:
    found = tokens(source)
    computed = False
    for at, token in enumerate(found):
        if token.kind == "unsure" and token.text.startswith("/"):
            computed = True
        elif token.kind == "template":
            for inner in token.value:
                computed = _collect(inner, members) or computed
        elif token.kind == "name" and token.text in ("eval", "Function", "arguments", "constructor", "with"):
            computed = True
        elif token.kind == "name" and token.text == "$" and not (at and found[at - 1].text in (".", "?.")):
            first, after = _member(found, at + 1)
            if first is None:
                computed = True
            else:
                members.add((first, _member(found, after)[0]))
    return computed


def _member(found: list[Lexeme], at: int) -> tuple[str | None, int]:
    """The name of the member whose access begins at `at`, and where the tokens after it begin."""
    if found[at].text in (".", "?.") and found[at].kind == "punctuator" and found[at + 1].kind == "name":
        return found[at + 1].text, at + 2
    start = at + 1 if found[at].text == "?." and found[at].kind == "punctuator" else at
    if found[start].text == "[" and found[start].kind == "punctuator" and start + 2 < len(found):
        inner, close = found[start + 1], found[start + 2]
        if inner.kind == "string" and isinstance(inner.value, str) and close.text == "]":
            return inner.value, start + 3
    return None, at
