"""The part of a path that finds many values: wildcards, descents, slices, filters, and lists of names, within a budget.

The RFC 9535 engine parses and checks it; here it is walked, because the engine's own walk cannot be stopped, and whatever looks
at values on the loop must end. Every look is counted: each name or index asked of a value, each child of a wildcard or a slice,
each container that a descent comes to, each test of a filter and everything that its paths look at. What one evaluation may look
at in all is its budget (`Looks`), which several searches can share.

Invariants: a search finds what the engine would find, in its order; it never changes the value. Cost: at most some 0.5 us a look.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from jsonpath_rfc9535 import JSONPathEnvironment, JSONPathError, JSONPathNode, JSONPathNodeList, JSONPathQuery
from jsonpath_rfc9535.filter_expressions import (
    ComparisonExpression,
    Expression,
    FilterContext,
    FilterExpression,
    FilterQuery,
    FunctionExtension,
    LogicalExpression,
    PrefixExpression,
    RelativeFilterQuery,
)
from jsonpath_rfc9535.segments import JSONPathRecursiveDescentSegment
from jsonpath_rfc9535.selectors import FilterSelector, IndexSelector, NameSelector, SliceSelector

from pelton.kernel.expressions.base import JSON, MAX_LOOKS, ExpressionError, LookedEnough, Looks

MAX_RESULTS = 10_000


class _Environment(JSONPathEnvironment):
    def setup_function_extensions(self) -> None:
        super().setup_function_extensions()
        # Their regular expressions run in a backtracking engine that nothing can interrupt.
        del self.function_extensions["match"]
        del self.function_extensions["search"]


_ENVIRONMENT = _Environment()


class _Test(NamedTuple):
    """A filter. `parts`: of its expression, each of which takes its time."""

    expression: FilterExpression
    parts: int


_Selector = str | int | slice | _Test | None  # None is the wildcard


class _Step(NamedTuple):
    descent: bool
    selectors: tuple[_Selector, ...]


class Search(NamedTuple):
    text: str
    steps: tuple[_Step, ...]

    def __str__(self) -> str:
        return self.text


class _Context(FilterContext):
    __slots__ = ("budget",)

    def __init__(self, current: object, root: Any, budget: Looks) -> None:
        super().__init__(env=_ENVIRONMENT, current=current, root=root)
        self.budget = budget


class _Within(FilterQuery):
    """A path inside a filter, which spends what the query around it has left."""

    __slots__ = ("relative", "steps")

    def __init__(self, found: FilterQuery) -> None:
        super().__init__(found.token, found.query)
        self.relative = isinstance(found, RelativeFilterQuery)
        self.steps = _steps(found.query)

    def evaluate(self, context: FilterContext) -> object:
        assert isinstance(context, _Context)
        value: Any = context.current if self.relative else context.root
        if self.relative and not self.steps and not isinstance(value, (list, dict)):
            return value
        found = _walk(self.steps, value, context.root, context.budget)
        return JSONPathNodeList(JSONPathNode(value=each, location=(), parent=None, root=context.root) for each in found)


def compile_search(text: str) -> Search:
    """Raises what the engine raises: JSONPathError, RecursionError, ValueError, KeyError."""
    return Search(text, _steps(_ENVIRONMENT.compile(text)))


def select(query: Search, value: JSON, budget: Looks | None = None) -> list[JSON]:
    """All that the query finds. Raises ExpressionError above 10,000 results, when the budget (by default one of its own) is
    spent, and when the value is too deep."""
    if not isinstance(value, (dict, list)):
        return []
    budget = budget or Looks()
    found: list[JSON] = []
    try:
        for each in _walk(query.steps, value, value, budget):
            found.append(each)
            if len(found) > MAX_RESULTS:
                raise ExpressionError(f"the path {query} finds more than {MAX_RESULTS} values")
    except LookedEnough as enough:
        if enough.together:
            raise
        raise ExpressionError(
            f"the path {query} has to look at more values than one expression may ({MAX_LOOKS}); name the members that lead "
            "to what it searches, or let a script or a worker do it"
        ) from None
    except (JSONPathError, RecursionError) as error:
        raise ExpressionError(f"the path {query} cannot be evaluated: {error}") from None
    return found


def _steps(query: JSONPathQuery) -> tuple[_Step, ...]:
    return tuple(
        _Step(isinstance(segment, JSONPathRecursiveDescentSegment), tuple(_selector(each) for each in segment.selectors))
        for segment in query.segments
    )


def _selector(selector: Any) -> _Selector:
    if isinstance(selector, NameSelector):
        return selector.name
    if isinstance(selector, IndexSelector):
        return selector.index
    if isinstance(selector, SliceSelector):
        return selector.slice
    if isinstance(selector, FilterSelector):
        return _Test(*_counted(selector.expression))
    return None


_INNER: dict[type, tuple[str, ...]] = {
    FilterExpression: ("expression",),
    PrefixExpression: ("right",),
    LogicalExpression: ("left", "right"),
    ComparisonExpression: ("left", "right"),
}


def _counted(expression: Any) -> tuple[Any, int]:
    """The expression with paths that spend, and the number of its parts."""
    if isinstance(expression, FilterQuery):
        return _Within(expression), 1
    parts = 1
    for name in _INNER.get(type(expression), ()):
        inner, more = _counted(getattr(expression, name))
        setattr(expression, name, inner)
        parts += more
    if isinstance(expression, FunctionExtension):
        arguments: list[Expression] = []
        for argument in expression.args:
            inner, more = _counted(argument)
            arguments.append(inner)
            parts += more
        expression.args = arguments
    return expression, parts


def _walk(steps: tuple[_Step, ...], value: JSON, root: JSON, budget: Looks) -> Iterable[JSON]:
    values: Iterable[JSON] = (value,)
    for step in steps:
        values = _stepped(step, values, root, budget)
    return values


def _stepped(step: _Step, values: Iterable[JSON], root: JSON, budget: Looks) -> Iterator[JSON]:
    for value in values:
        for each in _below(value, budget) if step.descent else (value,):
            for selector in step.selectors:
                yield from _selected(selector, each, root, budget)


def _below(value: JSON, budget: Looks) -> Iterator[JSON]:
    """The value and all maps and lists in it, each before what it holds."""
    stack: list[Iterator[JSON]] = [iter((value,))]
    while stack:
        for each in stack[-1]:
            budget.spend(1)
            yield each
            if isinstance(each, (dict, list)) and each:
                budget.spend(len(each))
                if len(stack) > _ENVIRONMENT.max_recursion_depth:
                    raise RecursionError("the value is nested too deeply")
                stack.append(
                    inner for inner in (each.values() if isinstance(each, dict) else each) if isinstance(inner, (dict, list))
                )
                break
        else:
            stack.pop()


def _selected(selector: _Selector, value: JSON, root: JSON, budget: Looks) -> Iterator[JSON]:
    if isinstance(selector, str):
        budget.spend(1)
        if isinstance(value, dict) and selector in value:
            yield value[selector]
    elif isinstance(selector, int):
        budget.spend(1)
        if isinstance(value, list) and -len(value) <= selector < len(value):
            yield value[selector]
    elif isinstance(selector, slice):
        if isinstance(value, list) and selector.step != 0:
            budget.spend(1 + len(range(*selector.indices(len(value)))))
            yield from value[selector]
    elif isinstance(value, (dict, list)):
        children = value.values() if isinstance(value, dict) else value
        budget.spend(1 + len(children))
        if selector is None:
            yield from children
            return
        for child in children:
            budget.spend(selector.parts)
            if selector.expression.evaluate(_Context(child, root, budget)):
                yield child
