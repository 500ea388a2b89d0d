from __future__ import annotations

import contextlib
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from tests.patience import at_most

from pelton.kernel.expressions.base import JSON, ExpressionError, Invalid
from pelton.kernel.matching.filters import Equality, Prefix
from pelton.languages.lusid.filters import Conjuncts, index_name, index_value, parse_filter

GUARD: dict[str, Any] = {"right_names": frozenset(["CurrentUser"])}
EVENT: dict[str, Any] = {"right_roots": frozenset(["header", "body"])}

TASK: dict[str, Any] = {
    "id": "3f2504e0-4f89-41d3-9a0c-0305e82c3301",
    "state": "Held",
    "terminalState": False,
    "taskDefinitionId": {"scope": "ops", "code": "Intake"},
    "version": {"asAtCreated": "2025-03-01T10:00:00.0000000+00:00", "userIdCreated": "Ann", "asAtVersionNumber": 3},
    "correlationIds": ["Batch-1", "other"],
    "fields": {
        "amount": 2500.6,
        "Desk": "Rates",
        "note": "client's copy",
        "a.b": 0.1,
        "due": "2025-06-30T00:00:00.0000000+00:00",
    },
    "stackingKey": None,
    "childTasks": [
        {"state": "Closed", "taskDefinitionId": {"scope": "ops", "code": "part"}},
        {"state": "Waived", "taskDefinitionId": {"scope": "ops", "code": "part"}},
    ],
    "properties": {"TaskDefinition/s/c": {"value": {"labelValue": "x"}}},
}


def passes(text: str, payload: JSON = None, context: Any = None, **options: Any) -> bool:
    """Whether the filter passes; as `test` says as well."""
    condition = parse_filter(text, **options)
    payload = TASK if payload is None else payload
    passed = condition.passes(payload, context)
    verdict = condition.test(payload, context)
    assert (verdict.passed, verdict.failed) == (passed, None)
    assert verdict.trace or not text.strip()
    return passed


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("state in 'Queued', 'Held' and version.asAtCreated gte 2025-03-01", True),
        ("taskDefinitionId.code eq 'intake' and not terminalState eq true", True),
        ("fields['amount'] gt 2500.5 or (fields['desk'] eq 'rates' and fields['owner'] not exists)", True),
        ("fields['amount'] gt 2501 or (fields['desk'] eq 'rates' and fields['owner'] not exists)", True),
        ("fields['amount'] gt 2501 or (fields['desk'] eq 'rates' and fields['owner'] exists)", False),
        ("correlationIds any (~ startswith 'batch-')", True),
        ("childTasks all (state eq 'Closed' or state eq 'Waived')", True),
        ("childTasks all (state in 'Closed')", False),
        ("childTasks any (state in 'Closed')", True),
        ("childTasks none (state eq 'Done')", True),
        ("childTasks none (state eq 'waived')", False),
        ("fields['note'] eq 'client''s copy'", True),
        ("fields['note'] eq 'CLIENT\\'s copy'", True),
        # keywords, paths and texts in any letter case
        ("STATE EQ 'hELD' AND FIELDS['DESK'] In ('RATES')", True),
        ("Fields[desk] StartsWith 'RA' and fields[ amount ] GTE 2500.6", True),
        ("fields.note endswith 'COPY' and fields.note contains \"'S C\"".replace('"', "'").replace("''S", "'''S"), True),
        # negation before the operator, and before the condition
        ("fields['desk'] exists and fields['desk'] NOT eq ''", True),
        ("not state in 'a','b'", True),
        ("state not in 'a','b'", True),
        ("state not in 'a','held'", False),
        ("not not state eq 'held'", True),
        ("not (state eq 'held' or x exists)", False),
        # precedence: not, and, or
        ("state eq 'held' or state eq 'x' and state eq 'y'", True),
        ("(state eq 'held' or state eq 'x') and state eq 'y'", False),
        ("not state eq 'x' and state eq 'held'", True),
        # lists end where they end
        ("state in 'x', 'held' or state eq 'y'", True),
        ("(state in 'x', 'y') or state in ('held', 'z')", True),
        ("fields['amount'] in 1, 2500.60, 'x'", True),
        # keys, and paths with a slash
        ("fields['a.b'] eq 0.1 and fields[a.b] eq 1e-1", True),
        ("properties[TaskDefinition/s/c].value.labelValue eq 'X'", True),
        ("properties.taskdefinition/S/C exists", True),
        # a GUID needs no quotes
        ("id eq 3F2504E0-4f89-41d3-9a0c-0305e82c3301", True),
        ("id in 00000000-4f89-41d3-9a0c-0305e82c3301, 'x'", False),
    ],
)
def test_examples(text: str, expected: bool) -> None:
    assert passes(text) is expected


def test_an_empty_text_is_no_filter() -> None:
    for text in ("", " \n\t"):
        condition = parse_filter(text)
        assert condition.passes(TASK)
        assert condition.passes(None)
        assert condition.test({}).passed
        assert (condition.conjuncts, condition.equalities, condition.prefixes, condition.paths) == ((), (), (), frozenset())


@pytest.mark.parametrize("payload", [{}, {"x": None}, {"x": [1]}, {"x": {"y": 1}}, [], "x", 5, None])
def test_a_condition_on_nothing_is_false_however_it_is_negated(payload: JSON) -> None:
    for negation in ("", "not "):
        for rest in [
            "eq 'a'",
            "neq ''",
            "gt 1",
            "lte 'a'",
            "startswith ''",
            "endswith 'a'",
            "contains ''",
            "in 'a',1",
            "eq true",
        ]:
            for right in (rest, rest.replace("'a'", "2024-01-15") if "with" not in rest else rest):
                assert not parse_filter(f"x {negation}{right}").passes(payload)
                assert parse_filter(f"not (x {negation}{right})").passes(payload)
                assert parse_filter(f"not x {negation}{right}").passes(payload)


def test_existence() -> None:
    payloads: list[JSON] = [{}, {"x": None}, None, 5]
    for payload in payloads:
        assert passes("x not exists", payload if payload is not None else {})
        assert not parse_filter("x exists").passes(payload)
        assert not passes("not x not exists", payload if payload is not None else {})
    present: list[JSON] = ["", 0, False, [], {}]
    for value in present:
        assert passes("x exists", {"x": value})
        assert not passes("x not exists", {"x": value})


@pytest.mark.parametrize(
    ("text", "value", "expected"),
    [
        ("x eq 5", "5", False),
        ("x neq 5", "5", False),
        ("x not eq 5", 6, True),
        ("x eq '5'", 5, False),
        ("x neq '5'", 5, False),
        ("x eq 1", True, False),
        ("x neq 1", True, False),
        ("x eq true", 1, False),
        ("x eq True", True, True),
        ("x neq FALSE", True, True),
        ("x in 'a', 1", 1.0, True),
        ("x not in 'a', 1", 2, False),  # neither like 'a' nor unlike it
        ("x not in 1, 2", 3, True),
        ("x gt 'a'", 5, False),
        ("x gt 5", "a", False),
        ("x not gt 5", "a", False),
        ("x not gt 5", 5, True),
        ("x eq 0.1", 0.1, True),
        ("x eq 0.10", Decimal("0.1"), True),
        ("x eq 0.1", Decimal("0.10000000000000001"), False),
        ("x lt 1e3", 999.9999, True),
        ("x gte -12", -12, True),
        ("x eq 9007199254740993", 9007199254740993, True),
        ("x eq 9007199254740993", 9007199254740992, False),
        ("x gt 1e300", 10**400, True),
        ("x gt 5", float("nan"), False),
        ("x not gt 5", float("inf"), False),
        ("x startswith 'STRASS'", "Straße 5", True),
        ("x eq 'strasse'", "STRAßE", True),
        ("x endswith 'SSE'", "straße", True),
        ("x contains 'SS'", "straße", True),
        ("x lt 'b'", "A", True),
        ("x gt 'strassa'", "straße", True),
        ("x startswith ''", "", True),
        ("x not startswith 'a'", "b", True),
        ("x not contains 'a'", 5, False),
        # dates
        ("x eq 2024-01-15", "2024-01-15T00:00:00.0000000+00:00", True),
        ("x eq 2024-01-15T10:00:00", "2024-01-15T10:00:00Z", True),
        ("x eq 2024-01-15T10:00:00+02:12", "2024-01-15T07:48:00.0000000+00:00", True),
        ("x gte 2024-01-15T10:00:00.1234567Z", "2024-01-15T10:00:00.1234567+00:00", True),
        ("x gt 2024-01-15T10:00:00.123455Z", "2024-01-15T10:00:00.1234560+00:00", True),
        ("x eq 2024-01-15T10:00:00.123456Z", "2024-01-15T10:00:00.1234560+00:00", True),
        ("x eq 2024-01-15T10:00:00 02:12", "2024-01-15T07:48:00.0000000+00:00", True),
        ("x lt '2024-01-15'", "2024-01-14T23:59:59Z", True),
        ("x eq '2024-01-15T10:00:00Z'", "2024-01-15T12:00:00+02:00", True),
        ("x in '2024-01-15T10:00:00Z', 'a'", "2024-01-15T12:00:00+02:00", True),
        ("x not in '2024-01-15T10:00:00Z', 'a'", "2024-01-15T12:00:00+02:00", False),
        ("x neq 2024-01-15", "2024-01-16", True),
        ("x neq 2024-01-15", "soon", False),
        ("x gt 2024-01-15", "soon", False),
        ("x not gt 2024-01-15", "soon", False),
        ("x gt '2024-01-15'", "soon", True),  # both are texts
        ("x startswith '2024-01'", "2024-01-15", True),
        ("x lt 9999-12-31T23:59:59.9999999+00:00", "2024-01-15", True),
    ],
)
def test_values(text: str, value: JSON, expected: bool) -> None:
    assert passes(text, {"x": value}) is expected


def test_members_are_found_in_any_case_the_one_spelled_alike_first() -> None:
    payload = {"A": {"b": 1}, "a": {"B": 2, "b": 3}}
    assert passes("a.b eq 3", payload)
    assert passes("A.B eq 1", payload)
    assert passes("a.B eq 2", payload)
    assert passes("STRASSE eq 1", {"straße": 1})
    assert passes("a.b not exists", {"a": None, "A": {"b": 1}})


def test_quantifiers() -> None:
    lists: list[tuple[JSON, bool, bool, bool]] = [
        ([], False, True, True),
        (["x"], True, True, False),
        (["x", "y"], True, False, False),
        (["y"], False, False, True),
        ([None], False, False, True),
        (None, False, False, False),
        ("x", False, False, False),
        ({"x": "x"}, False, False, False),
        (5, False, False, False),
    ]
    for value, some, every, no in lists:
        found = [passes(f"l {quantifier} (~ eq 'X')", {"l": value}) for quantifier in ("any", "ALL", "None")]
        assert found == [some, every, no], value
    nested = {"l": [{"k": [1, 2]}, {"k": [3]}]}
    assert passes("l any (k all (~ gt 2))", nested)
    assert passes("l any (~.k any (~ eq 1) and not k any (~ gt 2))", nested)


def test_children_may_be_any_iterable() -> None:
    class Summaries:
        def __iter__(self) -> Iterator[JSON]:
            yield {"state": "Closed", "count": 70_000}
            yield {"state": "Open", "count": 2}

    for children in (tuple(Summaries()), Summaries()):
        assert passes("childTasks any (state eq 'open')", {"childTasks": children})
        assert not passes("childTasks all (state eq 'closed')", {"childTasks": children})


@pytest.mark.parametrize(
    ("text", "reads", "by_state"),
    [
        ("state eq 'a'", False, False),
        ("childTasks all (state eq 'a' and taskDefinitionId.scope eq 's' and TaskDefinitionId.Code in 'c')", True, True),
        ("CHILDTASKS any (not State exists) or x exists", True, True),
        ("childTasks exists", True, True),
        ("childTasks any (id eq 'a')", True, False),
        ("childTasks any (~ exists)", True, False),
        ("childTasks any (state eq 'a') and childTasks none (correlationIds any (~ eq 'b'))", True, False),
        ("parentTask.childTasks any (id eq 'a')", False, False),
    ],
)
def test_what_is_read_of_children(text: str, reads: bool, by_state: bool) -> None:
    condition = parse_filter(text)
    assert (condition.reads_children, condition.children_by_state_only) == (reads, by_state)


def test_names_on_the_right() -> None:
    text = "UserCreated neq CURRENTUSER"
    assert passes(text, {"UserCreated": "ann"}, {"CurrentUser": "bob"}, **GUARD)
    assert not passes(text, {"UserCreated": "ann"}, {"CurrentUser": "ANN"}, **GUARD)
    for context in (None, {}, {"CurrentUser": None}, object()):
        assert not passes(text, {"UserCreated": "ann"}, context, **GUARD)
    same_file = "fields['path'] eq BODY.filePath and state not in header.a, header.b"
    payload = {"fields": {"path": "/IN/x"}, "state": "s"}
    assert passes(same_file, payload, {"body": {"FilePath": "/in/X"}, "header": {"a": "1", "b": "2"}}, **EVENT)
    assert not passes(same_file, payload, {"body": {"FilePath": "/in/X"}, "header": {"a": "1"}}, **EVENT)
    assert passes("x in header.a, header.b", {"x": 5}, {"header": {"b": 5.0}}, **EVENT)
    assert passes(
        "x gte body.identifiers[Instrument/default/Figi]",
        {"x": "b"},
        {"body": {"identifiers": {"instrument/default/FIGI": "A"}}},
        **EVENT,
    )
    assert passes("l any (~ eq body.x)", {"l": [1, 2]}, {"body": {"x": 2}}, **EVENT)
    assert passes("x gt body.d", {"x": "2024-01-02T00:00:00Z"}, {"body": {"d": "2024-01-02T00:00:00+01:00"}}, **EVENT)
    condition = parse_filter(same_file, **EVENT)
    assert condition.names == {("BODY", "filePath"), ("header", "a"), ("header", "b")}
    assert condition.conjuncts == ()
    entry = condition.test(payload, {"body": {"filePath": "/out"}}).trace[0]
    assert (entry.value, entry.result) == (["/IN/x", "/out"], False)


def test_binding() -> None:
    condition = parse_filter("fields['path'] eq body.filePath and fields['n'] gt body.n and x startswith body.p", **EVENT)
    bound = condition.bind({"body": {"filePath": "/in/X", "n": 1.5, "p": "Ab"}})
    assert bound.names == frozenset()
    assert bound.conjuncts == ((("fields.path", "s:/in/x", False),), (("x", "s:ab", True),))
    assert bound.passes({"fields": {"path": "/IN/x", "n": 2}, "x": "abc"})
    assert bound.test({"fields": {"path": "/IN/x", "n": 1}}).trace[0].value == [1, 1.5]
    assert bound.bind({}) is bound
    nothing = condition.bind({"body": {"filePath": [1]}})
    assert nothing.conjuncts == ((), (), ())  # no task can match
    assert not nothing.passes({"fields": {"path": "/IN/x", "n": 2}, "x": "abc"})
    inner = parse_filter("not (correlationIds any (~ eq body.id) or x exists)", **EVENT).bind({"body": {"id": "7"}})
    assert inner.passes({"correlationIds": ["8"]})
    assert not inner.passes({"correlationIds": ["7"]})


def test_why_not() -> None:
    verdict = parse_filter("state eq 'held' and (fields['amount'] gt 3000 or not fields['desk'] eq 'rates')").test(TASK)
    assert [tuple(entry) for entry in verdict.trace] == [
        ("fields['amount'] gt 3000", 2500.6, False, 21),
        ("fields['desk'] eq 'rates'", "Rates", True, 53),
    ]
    verdict = parse_filter("state exists and childTasks all (state eq 'closed')").test(TASK)
    assert [tuple(entry) for entry in verdict.trace] == [("childTasks all (state eq 'closed')", TASK["childTasks"][1], False, 17)]
    many = {"l": list(range(1000))}
    assert parse_filter("l any (~ gt 5000)").test(many).trace[0].value == [0, 1, 2, 3, 4]
    assert parse_filter("l none (~ eq 77)").test(many).trace[0].value == 77


@pytest.mark.parametrize(
    ("text", "position", "expected"),
    [
        ("state in 'a' and fo foo 'x'", 20, "expected an operator such as eq, in or startswith, found 'foo'"),
        ("state", 5, "expected an operator such as eq, in or startswith, found the end"),
        ("state = 'x'", 6, "expected an operator such as eq, in or startswith, found '='"),
        ("state not 'x'", 10, "expected exists, or an operator"),
        ("state eq", 8, "found the end"),
        ('state eq "x"', 9, "expected a text between straight single quotes"),
        ("state eq \u2018x\u2019", 9, "expected a text between straight single quotes"),
        ("state eq 'x", 9, "the text that begins here is never closed"),
        ("state eq 'x\\'", 9, "the text that begins here is never closed"),
        ("(state eq 'x'", 13, "or the ) for the ( at 0, found the end"),
        ("state eq 'x')", 12, "expected and, or, or the end, found ')'"),
        ("state eq 'x' state eq 'y'", 13, "expected and, or, or the end, found 'state'"),
        ("state eq 'x' and", 16, "expected a condition such as"),
        ("and state eq 'x'", 0, "expected a condition such as state eq 'Done', found 'and'"),
        ("state eq 'x' or or", 16, "expected a condition"),
        ("()", 1, "expected a condition"),
        ("a. eq 1", 2, "expected a name after the dot"),
        ("a[] eq 1", 2, "expected a key such as"),
        ("a['x' eq 1", 6, "expected the ] for the [ at 1"),
        ("a[\u2018x\u2019", 5, "expected the ] for the [ at 1"),
        ("x in ()", 6, "expected a value"),
        ("x in ('a'", 9, "expected a comma, or the ) for the ( at 5"),
        ("x in 'a',", 9, "expected a value"),
        ("x in 'a' 'b'", 9, "expected and, or, or the end"),
        ("x eq foo", 5, "(a text stands between single quotes), found 'foo'"),
        ("x eq null", 5, "found 'null'"),
        ("x eq CurrentUser", 5, "found 'CurrentUser'"),
        ("x eq body.a", 5, "found 'body.a'"),
        ("x eq 5x", 5, "found '5x'"),
        ("x eq 1e5000", 5, "found '1e5000'"),
        ("x eq -", 5, "found '-'"),
        ("x eq 2024-13-01", 5, "expected a date such as"),
        ("x eq 2024-01-15T25:00:00", 5, "expected a date such as"),
        ("x eq 2024-01-15T10:00:00x", 5, "expected a date such as"),
        ("x eq 2024-02-30", 5, "expected a date such as"),
        ("x gt true", 5, "expected a number, a date or a text after gt"),
        ("x startswith 5", 13, "expected a text in single quotes after startswith"),
        ("x contains 2024-01-15", 11, "expected a text in single quotes after contains"),
        ("x any y eq 1", 6, "expected ( and a condition on the elements after any"),
        ("x any (y foo 1)", 9, "expected an operator"),
        ("x none (y eq 1", 14, "or the ) for the ( at 7"),
    ],
)
def test_errors_say_where_and_what(text: str, position: int, expected: str) -> None:
    with pytest.raises(Invalid) as raised:
        parse_filter(text)
    assert raised.value.position == position
    assert raised.value.message.startswith(f"at {position}: ")
    assert expected in raised.value.message


def test_roots() -> None:
    roots = frozenset(["state", "childTasks"])
    assert parse_filter("STATE eq 'a' and childTasks any (anything eq 1)", roots=roots).passes(
        {"state": "A", "childTasks": [{"anything": 1}]}
    )
    for text, position in [("stat eq 'a'", 0), ("state eq 'a' or not (~ eq 1)", 21), ("state eq 'x' and version.x eq 1", 17)]:
        with pytest.raises(Invalid, match=f"^at {position}: there is no .*; known are childTasks, state") as raised:
            parse_filter(text, roots=roots)
        assert raised.value.position == position


def test_allowed_names_are_in_the_message() -> None:
    with pytest.raises(Invalid, match=r"CurrentUser, body\.name, header\.name"):
        parse_filter("x eq foo", **GUARD, **EVENT)


def test_bounds() -> None:
    assert parse_filter("(" * 100 + "x eq 1" + ")" * 100).passes({"x": 1})
    assert parse_filter("not " * 3000 + "x eq 1").passes({"x": 1})
    ladder = "x eq 1"
    for level in range(99):
        ladder = f"({ladder}) {'and' if level % 2 else 'or'} not x eq {level}"
    parse_filter(ladder).test({"x": 1})
    quantified = "~ eq 1"
    for _ in range(10):
        quantified = f"~ any ({quantified})"
    assert parse_filter(quantified).test([[[[[[[[[[1]]]]]]]]]]).passed
    for text, wrong in [
        ("(" * 101 + "x eq 1" + ")" * 101, "nested more than 100 deep"),
        (f"~ any ({quantified})", "more than 10 quantifiers"),
        (" or ".join(["x eq 1"] * 1001), "more than 1,000 conditions"),
        ("x in " + ",".join(["1"] * 1001), "at most 1,000 values"),
        ("x eq '" + "a" * 16_384 + "'", r"16,391 characters is too long; at most 16,384"),
    ]:
        with pytest.raises(Invalid, match=wrong):
            parse_filter(text)
    parse_filter(" or ".join(["x eq 1"] * 1000))
    with pytest.raises(Invalid, match="at most 1,024"):
        parse_filter("x eq 1" + " " * 1019, limit=1024)
    parse_filter("x eq 1" + " " * 1018, limit=1024)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("state eq 'A'", ((("state", "s:a", False),),)),
        ("State in 'A', 'b' and x gt 1", ((("state", "s:a", False), ("state", "s:b", False)),)),
        (
            "(fields['Amount'] eq 1.00 and fields.Flag eq true) and d eq 2024-01-15",
            (
                (("fields.amount", "n:1e0", False),),
                (("fields.flag", "b:true", False),),
                (("d", index_value("2024-01-15T00:00:00Z"), False),),
            ),
        ),
        (
            "correlationIds any (~ eq 'A' and ~ startswith 'B')",
            ((("correlationids", "s:a", False),), (("correlationids", "s:b", True),)),
        ),
        ("correlationIds any (~ in 'a', 'b')", ((("correlationids", "s:a", False), ("correlationids", "s:b", False)),)),
        ("x startswith 'Ab'", ((("x", "s:ab", True),),)),
        ("x startswith '2024-0'", ((("x", "s:2024-0", True), ("x", "d:", True)),)),
        ("x startswith '2024x'", ((("x", "s:2024x", True),),)),
        ("state eq 'a' or state eq 'b' and y eq 1", ((("state", "s:a", False), ("state", "s:b", False)),)),
        ("state eq 'a' or x gt 1", ()),
        ("not state eq 'a'", ()),
        ("state neq 'a'", ()),
        ("state not in 'a'", ()),
        ("state not startswith 'a'", ()),
        ("x startswith ''", ()),
        ("l all (~ eq 'a')", ()),
        ("l none (~ eq 'a')", ()),
        ("l any (y eq 'a')", ()),
        ("l any (~ eq 'a' or ~ eq 'b')", ()),
        ("x exists", ()),
    ],
)
def test_conjuncts(text: str, expected: Conjuncts) -> None:
    assert parse_filter(text).conjuncts == expected


def test_conjuncts_of_what_is_indexed() -> None:
    condition = parse_filter("a eq 1 and (b eq 2 or c eq 3 and d in 4, 5)")
    assert condition.narrowed(lambda name: name in ("b", "d")) == (
        (("b", "n:2e0", False), ("d", "n:4e0", False), ("d", "n:5e0", False)),
    )
    assert condition.narrowed(lambda name: name == "c") == ()


def test_index_keys() -> None:
    groups: list[list[JSON]] = [
        [1, 1.0, Decimal("1.00")],
        [0, -0.0, Decimal("0E5")],
        [0.1, Decimal("0.10")],
        ["Straße", "STRASSE"],
        [100, 1e2],
    ]
    for alike in groups:
        assert len({index_value(value) for value in alike}) == 1
    assert index_value("2024-01-15T10:00:00.0000000+00:00") == index_value("2024-01-15T12:00:00+02:00")
    different = [1, "1", True, False, 10, -1, 0, "true", "", "2024-01-15", "2024-01-16"]
    assert len({index_value(value) for value in different}) == len(different)
    nothing: list[JSON] = [None, [], {}, float("nan"), float("inf")]
    assert [index_value(value) for value in nothing] == [None] * 5
    for long in ["x" * 10**6, "ß" * 10**6, 10**4000, Decimal(1) / 3]:
        key = index_value(long)
        assert key is not None
        assert len(key) <= 200
    assert parse_filter("x eq '" + "é" * 5000 + "'").conjuncts == ((("x", index_value("É" * 5000), False),),)
    assert index_name(("Fields", "Amount")) == "fields.amount"


def test_handlers_are_found_by_it() -> None:
    condition = parse_filter(
        "Body.FilePath startswith '/Acme/IN' and header.userId eq 'Ann' and body.size eq 5 and body.at eq 2024-01-15"
    )
    assert condition.prefixes == (Prefix(("body", "filepath"), "/acme/in", True),)
    assert condition.equalities == (
        Equality(("header", "userid"), ("text", "ann"), True),
        Equality(("body", "size"), ("number", 5), True),
    )
    assert parse_filter("a in 'X', 1, true").equalities == (
        Equality(("a",), ("text", "x"), True, (("number", 1), ("number", 1))),
    )
    for text in ("a eq 'x' or a eq 'y'", "not a eq 'x'", "a neq 'x'", "a eq '2024-01-15'", "l any (~ eq 'x')", "a gt 1"):
        assert parse_filter(text).equalities == ()
        assert parse_filter(text).prefixes == ()


@pytest.mark.parametrize(
    "text",
    [
        "x eq '" + "\\'" * 8000 + "'",
        "x eq '" + "''" * 8000,
        "x eq '" + "\\" * 16_000,
        "(" * 16_000,
        "not " * 4000,
        "a." * 8000,
        "a[" * 8000,
        " " * 16_000 + "x",
        "x in " + "1," * 990 + "\n" * 14_000,
        "x eq " + "9" * 16_000,
        "x eq 0." + "0" * 15_000 + "1e-999",
        "x eq 2024-01-15T" + ":1" * 8000,
        "x" * 16_000,
        "x eq 'a' or " * 1300,
        "x-" * 8000,
    ],
)
def test_parsing_is_linear(text: str) -> None:
    """The longest allowed text of the worst kind, in little time."""
    with at_most(0.5), contextlib.suppress(Invalid):
        parse_filter(text).passes({"x": "a"})


def test_evaluating_is_linear() -> None:
    contains = parse_filter("x contains '" + "a" * 5000 + "b" + "a" * 5000 + "'")
    many = parse_filter(" or ".join(f"x {word} '{'b' * 10}{n}'" for n in range(200) for word in ("eq", "gt", "startswith")))
    payload = {"x": "a" * 1_000_000}
    with at_most(0.5):
        assert not contains.passes(payload)
        assert not many.passes(payload)


@pytest.mark.parametrize(
    "text",
    [
        "lots any (legs any (" + " or ".join(f"q{n} eq 1" for n in range(100)) + "))",
        " or ".join(f"lots any (q eq {n})" for n in range(100)),
        " and ".join(f"lots none (legs all (id eq {n + 9}))" for n in range(60)),
        " or ".join(f"lots any (legs any (w{n} exists))" for n in range(30)),
    ],
)
def test_a_filter_looks_at_so_much_and_no_more(text: str) -> None:
    condition = parse_filter(text)
    payload = {"lots": [{"q": "x", "legs": [{"id": 1}, {"id": 2}]} for _ in range(5_000)]}
    with pytest.raises(ExpressionError, match="more values than one evaluation may"):
        condition.passes(payload)
    assert "more values" in str(condition.test(payload).failed)
    assert not parse_filter("lots any (legs any (id eq 3))").passes(payload)


def test_names_in_other_letters_are_sought_among_so_many_and_no_more() -> None:
    condition = parse_filter(" or ".join(f"body.N{n} eq 1" for n in range(500)))
    with pytest.raises(ExpressionError, match="more values than one evaluation may"):
        condition.passes({"body": {f"x{n}": n for n in range(10_000)}})
