"""The words of a JavaScript source: enough of a lexer to recognise simple scripts and to find what a script reads.

It need not understand everything: what it cannot split for certain (a slash that may begin a regular expression or
divide) comes as a token of kind "unsure", and its users then assume the worst.

Cost: linear in the source.
"""

from __future__ import annotations

import re
from typing import Any, Literal, NamedTuple

from pelton.kernel.expressions.base import Invalid

Kind = Literal["name", "number", "string", "template", "regex", "punctuator", "unsure", "end"]


def words(text: str) -> frozenset[str]:
    return frozenset(text.split())


KEYWORDS = words(
    "await break case catch class const continue debugger default delete do else enum export extends false finally for "
    "function if import in instanceof let new null return super switch this throw true try typeof var void while with "
    "yield async"
)
# After these words an operand follows, so that a slash begins a regular expression.
_BEFORE_OPERAND = words("return typeof case in instanceof new delete void throw do else")


class Lexeme(NamedTuple):
    """`value` is the number or text of a literal, or the sources inside a template's braces (a tuple of str)."""

    kind: Kind
    text: str
    value: Any
    position: int


# JavaScript's blanks, which are not quite Python's.
_SPACE = re.compile(
    r"(?:[\t-\r \u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000\ufeff]+|//[^\n\r\u2028\u2029]*|/\*[\s\S]*?\*/)+"
)
_NAME = re.compile(r"[A-Za-z_$\u0080-\U0010ffff][\w$\u0080-\U0010ffff]*")
_NUMBER = re.compile(r"0[xX][0-9a-fA-F]+|0[bB][01]+|0[oO][0-7]+|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
_PUNCTUATOR = re.compile(
    r">>>=|\.\.\.|===|!==|\*\*=|<<=|>>=|>>>|&&=|\|\|=|\?\?=|=>|==|!=|<=|>=|&&|\|\||\?\?|\?\.(?!\d)|\+\+|--|\+=|-=|\*=|%=|&=|\|=|\^="
    r"|<<|>>|\*\*|[{}()\[\];,<>+\-*%&|^!~?:=.@#]"
)
_STRING = re.compile(r"""'(?:[^'\\\n\r]|\\[\s\S])*'|"(?:[^"\\\n\r]|\\[\s\S])*\"""")
_REGEX = re.compile(r"/(?![*/])(?:[^\\/\[\n\r]|\\[^\n\r]|\[(?:[^\]\\\n\r]|\\[^\n\r])*\])+/[a-z]*")
_ESCAPE = re.compile(r"\\(?:u\{([0-9a-fA-F]{1,6})\}|u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})|(\r\n|[\s\S]))")
_SIMPLE = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "v": "\v", "0": "\0", "\n": "", "\r\n": "", "\r": ""}


def tokens(source: str) -> list[Lexeme]:
    """The tokens of a source, an "end" token last. Raises Invalid at a character that begins nothing."""
    found: list[Lexeme] = []
    at, end = 0, len(source)
    while True:
        space = _SPACE.match(source, at)
        if space:
            at = space.end()
        if at >= end:
            found.append(Lexeme("end", "", None, end))
            return found
        token = _token(source, at, found[-1] if found else None)
        found.append(token)
        at += len(token.text)


def _token(source: str, at: int, before: Lexeme | None) -> Lexeme:
    char = source[at]
    if match := _NAME.match(source, at):
        return Lexeme("name", match[0], None, at)
    if match := _NUMBER.match(source, at):
        return _number(source, match, at)
    if char in "'\"":
        if match := _STRING.match(source, at):
            return Lexeme("string", match[0], _unescaped(match[0][1:-1], at), at)
        raise Invalid("a string is never closed", at)
    if char == "`":
        return _template(source, at)
    if char == "/":
        return _slash(source, at, before)
    if match := _PUNCTUATOR.match(source, at):
        return Lexeme("punctuator", match[0], None, at)
    raise Invalid(f"unexpected character {char!r}", at)


def _number(source: str, match: re.Match[str], at: int) -> Lexeme:
    text = match[0]
    following = source[match.end() : match.end() + 1]
    if following and (following.isalnum() or following in "_$"):
        # A BigInt, a separator (1_000), or not JavaScript at all: not for the recognisers.
        rest = re.compile(r"[\w$]+").match(source, match.end())
        return Lexeme("unsure", text + (rest[0] if rest else following), None, at)
    if len(text) > 1 and text[0] == "0" and text[1].isdigit():
        return Lexeme("unsure", text, None, at)  # 010 is eight
    value: int | float
    if text[:2].lower() in ("0x", "0b", "0o"):
        value = int(text, 0)
    elif text.isdigit():
        value = int(text)
    else:
        value = float(text)
    if isinstance(value, int) and value > 2**53:
        value = float(value) if len(text) < 300 else float("inf")
    return Lexeme("number", text, value, at)


def _slash(source: str, at: int, before: Lexeme | None) -> Lexeme:
    operand = before is not None and (
        before.kind in ("number", "string", "template", "regex")
        or (before.kind == "name" and before.text not in _BEFORE_OPERAND)
        or before.text in ("]", ")", "}")
    )
    divides = "/=" if source.startswith("/=", at) else "/"
    match = _REGEX.match(source, at)
    if operand and before is not None and not (match and before.text in (")", "}")):
        return Lexeme("punctuator", divides, None, at)
    if operand:
        return Lexeme("unsure", divides, None, at)
    return Lexeme("regex", match[0], None, at) if match else Lexeme("unsure", divides, None, at)


def _template(source: str, at: int) -> Lexeme:
    inner: list[str] = []
    start, end = at, len(source)
    at += 1
    while at < end:
        if source[at] == "\\":
            at += 2
        elif source[at] == "`":
            return Lexeme("template", source[start : at + 1], tuple(inner), start)
        elif source.startswith("${", at):
            close = _closing_brace(source, at + 2)
            inner.append(source[at + 2 : close])
            at = close + 1
        else:
            at += 1
    raise Invalid("a template is never closed", start)


def _closing_brace(source: str, at: int) -> int:
    """Where the braces of a template's part close. A brace in a string or a template inside confuses it; then the part
    is too short, and its users see a `$` or an unclosed string and assume the worst."""
    depth = 1
    while at < len(source):
        if source[at] in "'\"`":
            return len(source)
        depth += {"{": 1, "}": -1}.get(source[at], 0)
        if depth == 0:
            return at
        at += 1
    return len(source)


def _unescaped(text: str, at: int) -> str | None:
    """The value of a string literal; None when it is no text (half of a surrogate pair) or an old octal escape."""
    if "\\" not in text:
        return text
    if re.search(r"\\(?:[1-9]|0\d|u(?![0-9a-fA-F]{4}|\{)|x(?![0-9a-fA-F]{2}))", text):
        return None

    def character(match: re.Match[str]) -> str:
        code = match[1] or match[2] or match[3]
        if code:
            number = int(code, 16)
            return chr(number) if number < 0x110000 else "\ud800"
        return _SIMPLE.get(match[4], match[4])

    value = _ESCAPE.sub(character, text)
    if any("\ud800" <= char <= "\udfff" for char in value):
        return None
    return value
