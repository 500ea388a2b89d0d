"""What a filter means, said once more in other words, and compared."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st
from tests.exploring import examples

from pelton.kernel.expressions.base import JSON, Invalid
from pelton.kernel.matching.handlers import Handler, HandlerIndex, match
from pelton.languages.lusid.filters import CompiledFilter, index_name, index_value, parse_filter

names = st.sampled_from(["a", "B", "fields['c']", "d.e", "D[E]"])
texts = st.sampled_from(["", "a", "A", "ab", "it's", "straße", "STRASSE", "2024-01-15", "2024-01-15T00:00:00Z", "5", "true"])
numbers = st.sampled_from([0, 1, 1.0, -2.5, 0.1, 2**60, 2**60 + 1])
scalars = st.none() | st.booleans() | numbers | texts
dates = st.sampled_from(["2024-01-15", "2024-01-15T00:00:00", "2024-01-14T22:00:00-02:00", "2024-01-16"])
constants = (
    st.tuples(st.just("text"), texts)
    | st.tuples(st.just("number"), numbers)
    | st.tuples(st.just("truth"), st.booleans())
    | st.tuples(st.just("date"), dates)
)
negations = st.booleans()
comparisons = (
    st.tuples(st.just("compare"), names, negations, st.sampled_from(["eq", "neq"]), constants)
    | st.tuples(
        st.just("compare"),
        names,
        negations,
        st.sampled_from(["gt", "gte", "lt", "lte"]),
        constants.filter(lambda c: c[0] != "truth"),
    )
    | st.tuples(
        st.just("compare"),
        names,
        negations,
        st.sampled_from(["startswith", "endswith", "contains"]),
        st.tuples(st.just("text"), texts),
    )
    | st.tuples(st.just("list"), names, negations, st.lists(constants, min_size=1, max_size=3))
    | st.tuples(st.just("exists"), names, negations)
)
elements = st.tuples(st.just("compare"), st.just("~"), negations, st.sampled_from(["eq", "neq"]), constants) | st.tuples(
    st.just("list"), st.just("~"), negations, st.lists(constants, min_size=1, max_size=3)
)
quantified = st.tuples(st.just("some"), names, st.sampled_from(["any", "all", "none"]), elements | comparisons)
trees = st.recursive(
    comparisons | quantified,
    lambda inner: (
        st.tuples(st.sampled_from(["and", "or"]), st.lists(inner, min_size=2, max_size=3)) | st.tuples(st.just("not"), inner)
    ),
    max_leaves=6,
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "E", "e"]), inner, max_size=3),
    max_leaves=5,
)
payloads = st.fixed_dictionaries(
    {},
    optional={
        "A": values,
        "b": values,
        "fields": st.dictionaries(st.sampled_from(["c", "C"]), values),
        "D": st.fixed_dictionaries({"e": values}),
    },
)


def printed(tree: Any, spell: Callable[[str], str]) -> str:
    kind = tree[0]
    if kind in ("and", "or"):
        return f" {spell(kind)} ".join(f"({printed(part, spell)})" for part in tree[1])
    if kind == "not":
        return f"{spell('not')} ({printed(tree[1], spell)})"
    negation = spell("not ") if tree[2] is True else ""
    if kind == "exists":
        return f"{tree[1]} {negation}{spell('exists')}"
    if kind == "list":
        return f"{tree[1]} {negation}{spell('in')} {', '.join(literal(constant) for constant in tree[3])}"
    if kind == "some":
        return f"{tree[1]} {spell(tree[2])} ({printed(tree[3], spell)})"
    return f"{tree[1]} {negation}{spell(tree[3])} {literal(tree[4])}"


def literal(constant: tuple[str, Any]) -> str:
    kind, value = constant
    if kind == "text":
        return "'" + str(value).replace("'", "''") + "'"
    return repr(value) if kind == "number" else str(value)


def meant(tree: Any, payload: JSON) -> bool:
    kind = tree[0]
    if kind == "and":
        return all(meant(part, payload) for part in tree[1])
    if kind == "or":
        return any(meant(part, payload) for part in tree[1])
    if kind == "not":
        return not meant(tree[1], payload)
    value = found(payload, tree[1])
    if kind == "exists":
        return bool((value is not None) != tree[2])
    if kind == "some":
        if not isinstance(value, list):
            return False
        results = [meant(tree[3], element) for element in value]
        return {"any": any(results), "all": all(results), "none": not any(results)}[tree[2]]
    if kind == "list":
        each = [compared(value, "neq" if tree[2] else "eq", constant) is True for constant in tree[3]]
        return all(each) if tree[2] else any(each)
    result = compared(value, tree[3], tree[4])
    return result is not None and result != tree[2]


def found(payload: JSON, path: str) -> JSON:
    if path == "~":
        return payload
    for step in path.replace("['", ".").replace("[", ".").replace("']", "").replace("]", "").split("."):
        if not isinstance(payload, dict):
            return None
        same = [payload[key] for key in payload if key == step] or [
            payload[key] for key in payload if key.lower() == step.lower()
        ]
        payload = same[0] if same else None
    return payload


OPERATIONS: dict[str, Any] = {
    "eq": operator.eq,
    "neq": operator.ne,
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
    "startswith": str.startswith,
    "endswith": str.endswith,
    "contains": operator.contains,
}


def compared(value: JSON, operation: str, constant: tuple[str, Any]) -> bool | None:
    kind, right = constant
    compare = OPERATIONS[operation]
    if isinstance(value, str) and kind in ("text", "date"):
        moments = moment(value), moment(right)
        if None not in moments and operation not in ("startswith", "endswith", "contains"):
            return bool(compare(*moments))
        return bool(compare(value.casefold(), right.casefold())) if kind == "text" else None
    if isinstance(value, bool) and kind == "truth":
        return bool(compare(value, right))
    if isinstance(value, (int, float)) and not isinstance(value, bool) and kind == "number":
        return bool(compare(Decimal(repr(value)), Decimal(repr(right))))
    return None


def moment(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text).replace(tzinfo=datetime.fromisoformat(text).tzinfo or UTC)
    except ValueError:
        return None


@given(trees, payloads, st.sampled_from([str, str.upper, str.lower, str.title]))
@examples(800)
def test_a_printed_filter_means_what_its_tree_means(tree: Any, payload: JSON, spell: Any) -> None:
    condition = parse_filter(printed(tree, spell))
    expected = meant(tree, payload)
    assert condition.passes(payload) == expected
    assert condition.test(payload).passed == expected
    if expected:
        index_agrees(condition, payload)


def rows(payload: JSON, path: tuple[str, ...] = ()) -> Iterator[tuple[str, str]]:
    """What an attribute index would keep of a payload."""
    if isinstance(payload, dict):
        for name, value in payload.items():
            yield from rows(value, (*path, name))
    for value in payload if isinstance(payload, list) else [payload]:
        key = index_value(value)
        if key is not None:
            yield index_name(path), key


def index_agrees(condition: CompiledFilter, payload: JSON) -> None:
    """What passes is found, by attributes and among handlers."""
    kept = set(rows(payload))
    for alternatives in condition.conjuncts:
        assert any(
            name == kept_name and (kept_key.startswith(key) if is_prefix else kept_key == key)
            for name, key, is_prefix in alternatives
            for kept_name, kept_key in kept
        ), alternatives
    index = HandlerIndex([Handler(id=1, ns="n", name="h", types=("t",), filter=condition)])
    assert [decision.verdict for decision in match(index, "t", payload)] == ["fired"]


@given(texts | st.text(max_size=5), texts | st.text(max_size=5))
@examples(600)
@example("\u0149", "\u02bcn")
@example("ﬃx", "FF")
def test_equal_values_share_a_key_and_beginnings_begin_it(value: str, constant: str) -> None:
    quoted = "'" + constant.replace("'", "''") + "'"
    if constant.endswith("\\") or "\\'" in quoted:
        return
    for text in (f"x eq {quoted}", f"x startswith {quoted}"):
        condition = parse_filter(text)
        if condition.passes({"x": value}):
            index_agrees(condition, {"x": value})


PIECES = ["a", "b.c", "~", "not", "and", "or", "in", "eq", "gt", "startswith", "exists", "any", "all", "none", "(", ")", "[", "]"]
PIECES += ["'", "''", "\\", "\\'", ",", "'x'", "5", "-", "1e9", "2024-01-15", "2024-01-15T1", "true", "body.x", "CurrentUser"]
PIECES += [" ", "\u2019", '"', "\0", "é", "."]
pieces = st.sampled_from(PIECES)


def compiled_or_wrong(text: str) -> CompiledFilter | Invalid:
    try:
        return parse_filter(text, right_names=frozenset(["CurrentUser"]), right_roots=frozenset(["body"]))
    except Invalid as wrong:
        return wrong


@given(st.lists(pieces, max_size=25).map(" ".join) | st.lists(pieces, max_size=25).map("".join) | st.text(max_size=30))
@examples(600)
def test_any_text_is_a_filter_or_refused(text: str) -> None:
    condition = compiled_or_wrong(text)
    if isinstance(condition, Invalid):
        assert 0 <= condition.position <= len(text)
        assert condition.message.startswith(f"at {condition.position}: ")
        assert len(condition.message) < 400
        return
    for payload in ({}, {"a": 1, "b": {"c": "x"}}, {"a": [1, "x"]}, None, [1]):
        passed = condition.test(payload).passed
        assert condition.passes(payload) == passed
        assert condition.bind({"body": {"x": 5}, "CurrentUser": "me"}).passes(payload, None) in (True, False)
