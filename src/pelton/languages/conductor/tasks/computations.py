"""Task types that compute and go on at once: jq programs, function bodies, the decision of a DECISION."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from pelton.kernel.expressions.base import JSON, BoundValue, Expression, ExpressionError, Invalid, Read
from pelton.kernel.expressions.jq import JqScript
from pelton.kernel.expressions.template import to_text
from pelton.languages.conductor.expressions import scripts

NOTHING: frozenset[Read] = frozenset()
QUERY = "queryExpression"
FUNCTION = "scriptExpression"


@lru_cache(maxsize=1024)
def _query(source: str) -> JqScript:
    return JqScript(source, BoundValue(scripts.value_at_hand), limit_ms=scripts.LOAD_LIMIT)


class JqTransform:
    """`queryExpression` over the whole input: its first result, and all."""

    __slots__ = ()
    reads = NOTHING

    def evaluate(self, context: Any) -> JSON:
        value = context.value if isinstance(context.value, dict) else {}
        source = value.get(QUERY)
        if not isinstance(source, str) or not source.strip():
            raise ExpressionError(f"Missing '{QUERY}' in input parameters", retriable=True)
        try:
            found = _query(source).evaluate(context)
        except Invalid as error:
            raise ExpressionError(error.message, retriable=True) from None
        except ExpressionError as error:
            raise ExpressionError(error.message, error.timed_out, retriable=True) from None
        results = found if isinstance(found, list) else []
        return {"result": results[0] if results else None, "resultList": results}


class FunctionBody:
    """The answer of a LAMBDA: `scriptExpression` is the body of a function over `$`. `stated`: where the definition has it beside
    the input parameters."""

    __slots__ = ("_stated",)
    reads = NOTHING

    def __init__(self, stated: str) -> None:
        self._stated = stated

    def evaluate(self, context: Any) -> JSON:
        value = context.value if isinstance(context.value, dict) else {}
        body = value.get(FUNCTION) or self._stated
        if not isinstance(body, str) or not body.strip():
            raise ExpressionError(
                f"Empty '{FUNCTION}' in Lambda task's input parameters. A non-empty String value must be provided."
            )
        try:
            return {"result": _whole(_function_of(body), context)}
        except Invalid as error:
            raise ExpressionError(error.message, retriable=True) from None
        except ExpressionError as error:
            raise ExpressionError(error.message, error.timed_out, retriable=True) from None


def _function_of(body: str) -> str:
    return f"(function() {{ {body}\n}})()"


@lru_cache(maxsize=1024)
def _script(source: str) -> Expression:
    return scripts.script(source, scripts.value_at_hand)


def _whole(source: str, context: Any) -> JSON:
    return _script(source).evaluate(context)


class Decided:
    """The case of a DECISION: the value of an input, or what a script yields, as text."""

    __slots__ = ("_expression", "_param")
    reads = NOTHING

    def __init__(self, param: str, expression: str) -> None:
        self._param = param
        self._expression = expression

    def evaluate(self, context: Any) -> JSON:
        if not self._expression:
            return to_text(scripts.member(context.value, self._param))
        return to_text(_whole(self._expression, context))
