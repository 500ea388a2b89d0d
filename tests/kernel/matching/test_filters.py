from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.exploring import examples
from tests.kernel.matching.leaves import Compare, Exists, Matches
from tests.patience import at_most

from pelton.kernel.expressions.base import JSON, Evaluation, ExpressionError, Invalid, Outcome, Unanswered
from pelton.kernel.expressions.javascript.equality import index_key, number_to_text, text_to_number
from pelton.kernel.expressions.javascript.script import Sandbox, run, truthy
from pelton.kernel.matching.conditions import Condition, compile_condition
from pelton.kernel.matching.filters import (
    And,
    Equality,
    Filter,
    Not,
    Or,
    ParameterTest,
    ScriptFilter,
    TracedFilter,
    wildcard,
)


class Facts:
    now = 0
    seed = 0

    def __init__(self) -> None:
        self.answers: dict[Evaluation, Outcome] = {}

    def evaluated(self, question: Evaluation) -> Outcome | None:
        return self.answers.get(question)


SANDBOX = Sandbox()


def engine(source: str, payload: JSON) -> Outcome:
    return run(Evaluation("javascript", source, msgspec.json.encode(payload).decode(), 0, 0, 1000), SANDBOX)


def passes(condition: Filter, payload: JSON) -> bool | str:
    """Whether it passes, or its error; asking the engine when the condition does."""
    facts = Facts()
    while True:
        try:
            return condition.passes(payload, facts)
        except Unanswered as asked:
            facts.answers[asked.question] = run(asked.question, SANDBOX)
        except ExpressionError as error:
            return error.message


def verdict_of(condition: Filter, payload: JSON) -> Any:
    facts = Facts()
    while True:
        try:
            return condition.test(payload, facts)
        except Unanswered as asked:
            facts.answers[asked.question] = run(asked.question, SANDBOX)


PAYLOAD = {"order": {"total": 250, "id": "A1", "express": True, "note": None}, "region": "eu", "tags": ["x", "y"], "my key": "1"}


@pytest.mark.parametrize(
    ("source", "expected", "trace"),
    [
        ("$.order.total > 100", True, [("$.order.total > 100", 250, True)]),
        ("$.order.total > 100 && $.region == 'us'", False, [("$.region == 'us'", "eu", False)]),
        (
            "$.order.total < 100 || $.region == 'us'",
            False,
            [("$.order.total < 100", 250, False), ("$.region == 'us'", "eu", False)],
        ),
        ("$.region == 'us' || $.order.express", True, [("$.order.express", True, True)]),
        ("!($.region === 'eu')", False, [("$.region === 'eu'", "eu", True)]),
        ("$['my key'] == 1;", True, [("$['my key'] == 1", "1", True)]),
        ("$.tags[1] == 'y' && $.tags.length == 2", True, [("$.tags[1] == 'y'", "y", True), ("$.tags.length == 2", 2, True)]),
        ("$.order.note == undefined && $.nothing === undefined", True, None),
        ("$.nothing?.at.all === undefined", True, None),
        ("$.order && $.region", False, None),  # a text is no yes
        ("$.order.id", False, [("$.order.id", "A1", True)]),
        ("$.order.total == $.region", False, [("$.order.total == $.region", [250, "eu"], False)]),
        ("-5 < 3", True, [("-5 < 3", [], True)]),
        ("true", True, []),
        ("((($.region != 'us')))", True, [("$.region != 'us'", "eu", True)]),
        ("$.a.b.c == 1", "TypeError: cannot read property 'b' of undefined at line 1", []),
        (
            "$.region == 'eu' &&\n$.order.note.x",
            "TypeError: cannot read property 'x' of null at line 2",
            [("$.region == 'eu'", "eu", True)],
        ),
    ],
)
def test_recognised(source: str, expected: bool | str, trace: list[tuple[str, JSON, bool]] | None) -> None:
    condition = compile_condition(source)
    assert isinstance(condition, Condition)
    assert passes(condition, PAYLOAD) == expected
    verdict = verdict_of(condition, PAYLOAD)
    assert (verdict.failed or verdict.passed) == expected
    assert verdict.passed is (expected is True)
    if trace is not None:
        assert [(t.text, t.value, t.result) for t in verdict.trace] == trace
    for entry in verdict.trace:
        assert source[entry.position :].startswith(entry.text)
    outcome = engine(source, PAYLOAD)
    assert (outcome.error or truthy(outcome.value)) == expected


@pytest.mark.parametrize(
    "source",
    [
        "$.tags.includes('x')",
        "if ($.region == 'eu') { true } else { false }",
        "$.tags.map(x => x).length == 2",
        "$.constructor == 1",
        "$.a.toString",
        "{}",
        "1 + 1 == 2",
        "$.region == `eu`",
        "/a/.test($.region)",
        "$.order.total > 100\n$.region",
        "$.region\n(1)",
        "$.region == 'eu' <!-- comment",
        "'a'.length == 1",
        "010 == 8",
        "$.x++",
        "True",
        "x",
        "!" * 60 + "$.region",
    ],
)
def test_not_recognised_is_left_to_the_engine(source: str) -> None:
    condition = compile_condition(source)
    assert isinstance(condition, ScriptFilter)
    assert condition.equalities == ()
    outcome = engine(source, PAYLOAD)
    assert passes(condition, PAYLOAD) == (outcome.error or truthy(outcome.value))
    verdict = verdict_of(condition, PAYLOAD)
    assert verdict.failed == (outcome.error or None)
    if not outcome.failed:
        assert [(t.text, t.result) for t in verdict.trace] == [(source, truthy(outcome.value))]


@pytest.mark.parametrize("source", ["", "$.a ==", "(", "$.a && ", "$.a = = 1", "$.a\u00d7b", "$.a\x1f"])
def test_not_javascript(source: str) -> None:
    with pytest.raises(Invalid):
        compile_condition(source)


def test_unsure_values_are_left_to_the_engine() -> None:
    for source, payload in [
        ("$.a == $.b", {"a": {}, "b": {}}),
        ("$.a == $.a", {"a": []}),
        ("$.a.length == 2", {"a": "ab"}),
        ("$.a.trim", {"a": "ab"}),
        ("$.a == 'x'", {"a": {"toString": 1}}),
        ("$.a[0] == 'a'", {"a": "ab"}),
        ("$.a[0] == 1", {"a": {"0": 1}}),
        ("$.a.b == undefined", {"a": 5}),
    ]:
        condition = compile_condition(source)
        assert isinstance(condition, Condition)
        outcome = engine(source, payload)
        assert passes(condition, payload) == (outcome.error or truthy(outcome.value)), source


def keys(source: str) -> list[tuple[tuple[str | int, ...], Any]]:
    return [(equality.path, equality.key) for equality in compile_condition(source).equalities]


def test_equalities() -> None:
    assert keys("$.a == 'x' && $.b.c === 5 && $.d > 1 && 'y' == $['e f'][0]") == [
        (("a",), ("text", "x")),
        (("b", "c"), ("number", 5)),
        (("e f", 0), ("text", "y")),
    ]
    assert keys("($.a == true && ($.b == '1.0'))") == [(("a",), ("number", 1)), (("b",), ("number", 1))]
    for source in ["$.a == 1 || $.b == 2", "!($.a == 1)", "$.a != 1", "$.a == null", "$.a == $.b", "$.a.length == 3", "$.a"]:
        assert keys(source) == []
    assert keys("$.a == 1 && ($.b == 2 || $.c == 3)") == [(("a",), ("number", 1))]


TEXTS = ["", " ", "0", "1", "1.0", "-0", "0x10", " 7\n", "1e3", "Infinity", "NaN", "a", "b", "true", "null", "1,2"]
TEXTS += ["[object Object]", ".5", "5.", "+1", "1_0", "0b1", "\u00851"]
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.integers(-(2**64), 2**64)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(TEXTS)
    | st.text(max_size=5)
)
keys_of_objects = st.sampled_from(["a", "b", "toString", "valueOf"])
payload_values = st.recursive(
    scalars, lambda v: st.lists(v, max_size=3) | st.dictionaries(keys_of_objects, v, max_size=2), max_leaves=5
)


@given(payload_values, payload_values)
@examples(1500)
@example(12345678901234567890, "12345678901234567000")
@example(1e21, "1e+21")
@example("\U0001f600", "\uffff")
def test_loose_equality_is_the_engines_and_equal_values_share_a_key(left: JSON, right: JSON) -> None:
    payload = {"l": left, "r": right}
    for operation in ["==", "===", "!=", "<", "<=", ">", ">="]:
        source = f"$.l {operation} $.r"
        outcome = engine(source, payload)
        result = passes(compile_condition(source), payload)
        if outcome.failed:
            assert isinstance(result, str)
            continue
        assert result == outcome.value, source
        if operation == "==" and outcome.value:
            assert index_key(left) == index_key(right)


@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**70), 2**70))
@examples(500)
def test_numbers_are_written_as_the_engine_writes_them(value: float) -> None:
    theirs, ours = engine("String($)", value).value, number_to_text(value)
    # The engine writes some numbers with a digit more than needed to tell them from their neighbours.
    assert theirs == ours or (float(theirs) == float(ours) and len(theirs) > len(ours) > 15)


@given(st.text(max_size=8) | st.text(alphabet="0123456789.eE+-xXbo_ \t\nInfity", max_size=8))
@examples(1000)
def test_texts_are_read_as_the_engine_reads_them(text: str) -> None:
    expected = engine("Number($)", text).value
    number = text_to_number(text)
    assert (str(number) == "nan") == (expected == "NaN")
    if expected not in ("NaN", "Infinity", "-Infinity"):
        assert number == expected


names = st.sampled_from(["a", "b", "c", "length"])
paths = st.lists(names | st.integers(0, 1), min_size=1, max_size=3).map(
    lambda steps: "$" + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)
)
optional_paths = st.lists(names, min_size=1, max_size=3).map(lambda steps: "$?." + "?.".join(steps))
literals = st.sampled_from(["1", "0", "-1", "1.5", "'1'", "''", "'a'", "true", "false", "null", "undefined", '"b"', "'\\n'"])
leaves = (
    paths
    | optional_paths
    | literals
    | st.builds(
        "{} {} {}".format, paths | literals, st.sampled_from(["==", "===", "!=", "!==", "<", "<=", ">", ">="]), paths | literals
    )
)
FORMS = ["({})", "!({})", "{} && {}", "{} || {}"]
conditions = st.recursive(
    leaves,
    lambda c: st.builds(lambda form, left, right: form.format(left, right), st.sampled_from(FORMS), c, c),
    max_leaves=5,
)
payloads = st.dictionaries(
    names,
    st.recursive(scalars, lambda v: st.lists(v, max_size=2) | st.dictionaries(names, v, max_size=3), max_leaves=5),
    max_size=3,
)


@given(conditions, payloads)
@examples(1500)
def test_a_recognised_condition_comes_to_what_the_engine_says(source: str, payload: JSON) -> None:
    """Same answer or same error, quickly and with reasons; and the equalities hold whenever it passes."""
    condition = compile_condition(source)
    outcome = engine(source, payload)
    expected = outcome.error or truthy(outcome.value)
    assert passes(condition, payload) == expected
    verdict = verdict_of(condition, payload)
    assert (verdict.failed or verdict.passed) == expected
    if expected is True:
        for equality in condition.equalities:
            value = payload
            for step in equality.path:
                value = value[step]
            assert index_key(value) == equality.key


@given(st.text(alphabet="$.ab()[]'\"!=<>&|? \n01;-", max_size=20))
@examples(500)
def test_any_source_compiles_or_is_refused(source: str) -> None:
    try:
        condition = compile_condition(source)
    except Invalid:
        return
    outcome = engine(source, {"a": 1, "b": {"a": "x"}})
    assert passes(condition, {"a": 1, "b": {"a": "x"}}) == (outcome.error or truthy(outcome.value))


def test_parameter() -> None:
    assert ParameterTest("go").passes({"go": True})
    assert ParameterTest("go").passes({"go": 2})
    for payload in [{"go": "true"}, {"go": None}, {}, [], "go", None]:
        assert not ParameterTest("go").passes(payload)
    assert ParameterTest("go").test({"go": "true"}).trace == (("go", "true", False, 0),)


def test_combinators() -> None:
    eu: TracedFilter = Compare(("region",), "=", "eu", position=0)
    big: TracedFilter = Compare(("order", "total"), ">", 100, position=10)
    noted: TracedFilter = Exists(("order", "note"))
    both = And([eu, big, noted])
    assert both.passes(PAYLOAD)
    assert [t.result for t in both.test(PAYLOAD).trace] == [True, True, True]
    assert both.equalities == eu.equalities == (Equality(("region",), ("text", "eu")),)
    other = {"region": "us", "order": {"total": 5}}
    assert [tuple(t) for t in both.test(other).trace] == [("region = 'eu'", "us", False, 0)]
    assert [tuple(t) for t in Or([eu, big]).test(other).trace] == [
        ("region = 'eu'", "us", False, 0),
        ("order.total > 100", 5, False, 10),
    ]
    assert [t.text for t in Or([big, eu]).test(PAYLOAD).trace] == ["order.total > 100"]
    assert Or([eu, big]).equalities == ()
    assert Or([eu]).equalities == eu.equalities
    assert Not(noted).passes(other)
    assert not Not(noted).passes(PAYLOAD)
    assert Not(eu).equalities == ()
    assert And([]).passes({})
    assert not Or([]).passes({})
    mail: TracedFilter = Matches(("order", "id"), "a*", fold=True)
    assert mail.passes(PAYLOAD)
    assert not mail.passes(other)


@pytest.mark.parametrize(
    ("operator", "constant", "value", "expected"),
    [
        ("=", 1, 1.0, True),
        ("=", 1, True, False),
        ("=", "1", 1, False),
        ("!=", "1", 1, True),
        ("=", None, None, True),
        ("<", 5, 4, True),
        ("<", 5, "4", False),
        ("<", 5, True, False),
        (">=", "b", "b", True),
        (">", "b", "a", False),
        (">", None, 1, False),
    ],
)
def test_compare(operator: Any, constant: JSON, value: JSON, expected: bool) -> None:
    assert Compare(("v",), operator, constant).passes({"v": value}) is expected


@given(st.text(alphabet="ab*?.", max_size=10), st.text(alphabet="ab.\n", max_size=10), st.booleans())
@examples(1000)
def test_wildcard(pattern: str, text: str, fold: bool) -> None:
    expression = "".join({"*": ".*", "?": "."}.get(char, re.escape(char)) for char in pattern)
    assert wildcard(pattern, fold=fold)(text) == (re.fullmatch(expression, text, re.DOTALL) is not None)
    if "?" not in pattern:
        assert wildcard(pattern, single=False)(text) == wildcard(pattern)(text)


def test_wildcard_does_not_backtrack_and_folds() -> None:
    with at_most(1):
        assert not wildcard("*a" * 50 + "*b")("a" * 100_000)
    assert wildcard("STRASSE*", fold=True)("straße 1")
    assert not wildcard("a?", single=False)("ab")
