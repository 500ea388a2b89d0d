"""jq programs as expressions. The kernel never runs one: an engine that cannot be interrupted belongs in a process that
can be ended, so every evaluation asks the runtime and the answer is the list of all results.

What would reach out of the program is refused when it is defined: the environment, files and modules, further inputs,
messages, the program's end. `now` is what the context says.
"""

from __future__ import annotations

from typing import Any

import msgspec

from pelton.kernel.expressions.base import JSON, Evaluation, Expression, ExpressionError, Invalid, Read, Unanswered
from pelton.kernel.expressions.javascript.lexer import words

MAX_SOURCE = 50_000  # characters
MAX_NESTING = 200  # of brackets, and of strings in strings
DEFAULT_LIMIT_MS = 4000

REFUSED = words(
    "env input inputs include import input_line_number input_filename debug stderr halt halt_error get_search_list modulemeta "
    "$ENV $__prog_args $__prog_name"
)


class JqScript:
    """A jq program over an argument. Evaluating it gives the list of all its results, and raises ExpressionError or
    Unanswered."""

    __slots__ = ("_argument", "_limit", "reads", "source")

    def __init__(self, source: str, argument: Expression, *, limit_ms: int = DEFAULT_LIMIT_MS) -> None:
        """Raises Invalid as `check` does."""
        check(source)
        self.source = source
        self.reads: frozenset[Read] = argument.reads
        self._argument = argument
        self._limit = limit_ms

    def evaluate(self, context: Any) -> JSON:
        text = msgspec.json.encode(self._argument.evaluate(context)).decode()
        question = Evaluation("jq", self.source, text, context.now, context.seed, self._limit)
        outcome = context.evaluated(question)
        if outcome is None:
            raise Unanswered(question)
        if outcome.failed:
            raise ExpressionError(outcome.error, outcome.timed_out)
        return outcome.value


def check(source: str) -> None:
    """Raises Invalid for a program that is too long or uses a refused word. Its syntax is the runtime's to check."""
    for name, position in names(source):
        if name in REFUSED:
            raise Invalid(f"{name!r} is not available to jq programs here: they see nothing but their input", position)


def names(source: str) -> list[tuple[str, int]]:
    """The functions, keywords and variables (with their dollar) of a program, in strings' interpolations too, each with its
    position. Fields (`.env`, `{env: 1}`) are not among them. Raises Invalid when brackets or strings are not closed."""
    if len(source) > MAX_SOURCE:
        raise Invalid(f"the program has {len(source)} characters; the limit is {MAX_SOURCE}", MAX_SOURCE)
    if not source.strip():
        raise Invalid("the program is empty", 0)
    return _Scanner(source).scan()


class _Scanner:
    def __init__(self, source: str) -> None:
        self.source = source
        self.found: list[tuple[str, int]] = []
        # What is open: a bracket, or '"' for a string; an interpolation is '\\' on top of its string.
        self.open: list[str] = []
        self.before = ""  # the text of the token before

    def scan(self) -> list[tuple[str, int]]:
        at = 0
        while at < len(self.source):
            if len(self.open) > MAX_NESTING:
                raise Invalid(f"the program is nested deeper than {MAX_NESTING}", at)
            at = self._string(at) if self.open and self.open[-1] == '"' else self._token(at)
        if self.open:
            raise Invalid("a string or bracket is never closed", len(self.source))
        return self.found

    def _string(self, at: int) -> int:
        char = self.source[at]
        if char == "\\":
            if self.source.startswith("\\(", at):
                self.open.append("\\")
                self.before = "("
            return at + 2
        if char == '"':
            self.open.pop()
            self.before = '"'
        return at + 1

    def _token(self, at: int) -> int:
        source, char = self.source, self.source[at]
        if char == "#":
            return self._comment(at)
        if char == '"':
            self.open.append('"')
        elif char in "([{":
            self.open.append(char)
        elif char in ")]}":
            if not self.open or self.open.pop() not in {")": "(\\", "]": "[", "}": "{"}[char]:
                raise Invalid(f"{char!r} without its partner", at)
        elif char.isalpha() or char in "_$@":
            return self._name(at)
        elif char.isdigit():
            end = at + 1
            while end < len(source) and (source[end].isalnum() or source[end] == "."):
                end += 1
            self.before = "0"
            return end
        if not char.isspace():
            self.before = ".." if char == "." and self.before == "." and source[at - 1] == "." else char
        return at + 1

    def _comment(self, at: int) -> int:
        # A comment goes on after an odd number of backslashes; stopping at the first line end would only show us more of
        # the program than the engine sees, which is the safe side, unless a quote in it hid what follows.
        end = at
        while end < len(self.source) and self.source[end] not in "\r\n":
            end += 1
        if self.source[at:end].endswith("\\"):
            raise Invalid("a comment ends with a backslash", end - 1)
        return end

    def _name(self, at: int) -> int:
        source, end = self.source, at + 1
        while end < len(source) and (source[end].isalnum() or source[end] == "_" or source.startswith("::", end)):
            end += 2 if source[end] == ":" else 1
        name = source[at:end]
        field = self.before == "." and at > 0 and source[at - 1] == "."
        if not field and not self._is_key(name, end):
            self.found.extend((part, at) for part in {name, name.rpartition("::")[2]})
            if name == "$" and source[end : end + 1].isspace():
                raise Invalid("a blank after '$'", at)
        self.before = name
        return end

    def _is_key(self, name: str, end: int) -> bool:
        """Whether a name is the key of an object that is being built; `{env}` stands for `{env: .env}`."""
        if not self.open or self.open[-1] != "{" or self.before not in ("{", ",") or name[0] in "$@":
            return False
        following = self.source[end:].lstrip()[:1]
        return following in (":", ",", "}")
