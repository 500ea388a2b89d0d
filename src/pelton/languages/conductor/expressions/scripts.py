"""Scripts in definitions: the evaluators, and expressions that wrap them with this language's error texts."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from pelton.kernel.expressions.base import JSON, BoundValue, Expression, ExpressionError, Invalid, Read
from pelton.kernel.expressions.javascript import script as javascript
from pelton.kernel.expressions.template import to_text

JAVASCRIPT = ("javascript", "graaljs")
EVALUATORS = (*JAVASCRIPT, "value-param")

LOAD_LIMIT = 4000  # milliseconds a script may take in all


@lru_cache(maxsize=1024)
def syntax_error(source: str) -> str | None:
    """Why a source is not JavaScript; None when it is."""
    try:
        javascript.check(source)
    except Invalid as error:
        return error.message
    return None


def script(source: str, argument: Callable[[Any], JSON], reads: frozenset[Read] = frozenset()) -> javascript.Script:
    return javascript.Script(source, BoundValue(argument, reads), limit_ms=LOAD_LIMIT)


@lru_cache(maxsize=1024)
def _of_value(source: str) -> javascript.Script:
    """A script whose `$` is the current value; cached by its text, since INLINE tasks only know theirs at run time."""
    return script(source, value_at_hand)


def value_at_hand(context: Any) -> JSON:
    return context.value


class Selected:
    """What a SWITCH decides: the text of its evaluator's answer."""

    __slots__ = ("_get", "reads")

    def __init__(self, evaluator: str, expression: str) -> None:
        if evaluator in JAVASCRIPT:
            found = _of_value(expression)
            self._get: Callable[[Any], JSON] = found.evaluate
            self.reads = found.reads
        else:
            self._get = lambda context: member(context.value, expression)
            self.reads = frozenset()

    def evaluate(self, context: Any) -> JSON:
        try:
            return to_text(self._get(context))
        except ExpressionError as error:
            raise _evaluating(error) from None


class Inline:
    """The answer of an INLINE task: evaluator and expression are part of its input."""

    __slots__ = ()
    reads: frozenset[Read] = frozenset()

    def evaluate(self, context: Any) -> JSON:
        value = context.value if isinstance(context.value, dict) else {}
        evaluator = value.get("evaluatorType") or "javascript"
        expression = value.get("expression")
        if evaluator not in EVALUATORS:
            raise ExpressionError(f"Unknown evaluator '{evaluator}' in INLINE task.")
        if not isinstance(expression, str) or not expression.strip():
            raise ExpressionError(
                "Empty 'expression' in INLINE task's input parameters. A non-empty String value must be provided."
            )
        if evaluator == "value-param":
            return {"result": member(value, expression)}
        try:
            return {"result": _of_value(expression).evaluate(context)}
        except Invalid as error:
            raise ExpressionError(error.message) from None
        except ExpressionError as error:
            raise _evaluating(error) from None


class Explained:
    """An expression whose errors begin with what was being done."""

    __slots__ = ("_expression", "_prefix", "reads")

    def __init__(self, expression: Expression, prefix: str) -> None:
        self._expression = expression
        self._prefix = prefix
        self.reads = expression.reads

    def evaluate(self, context: Any) -> JSON:
        try:
            return self._expression.evaluate(context)
        except ExpressionError as error:
            raise ExpressionError(f"{self._prefix}: {error.message}", error.timed_out) from None


def _evaluating(error: ExpressionError) -> ExpressionError:
    head, found, line = error.message.rpartition(" at line ")
    text = f"`{head}` at line {line}" if found else f"`{error.message}`"
    return ExpressionError(f"Error evaluating the script {text}", error.timed_out)


def member(value: JSON, name: str) -> JSON:
    return value.get(name) if isinstance(value, dict) else None
