from __future__ import annotations

import contextlib
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.exploring import examples
from tests.patience import at_most

from pelton.kernel.expressions.base import JSON, Bound, Constant, ExpressionError, Invalid, Read
from pelton.kernel.expressions.template import DEFAULT, compile_template, lint, references

DYNAMIC = "dynamic"  # Template's, not every Expression's
DOCUMENT: dict[str, JSON] = {
    "a": {
        "output": {
            "n": 1,
            "whole": 1.0,
            "t": True,
            "nil": None,
            "text": "hi",
            "my key": "spaced",
            "my-key": "hyphen",
            "list": [{"x": 1, "name": "one"}, {"x": 2, "name": "two"}],
            "k": {"i1": "picked", "x.y": "dotted"},
            "7": {"inner": {"k": 70}},
            "it's": "quoted",
            "é": "accent",
        }
    },
    "b": {"output": {"i": "i1", "name": "a"}},
    "conductor.event.name": "outer",
    "workflow": {"input": {"deep": {"deeper": [[1, 2], [3]]}}},
}


def resolve(name: str, members: tuple[str | int, ...]) -> Bound:
    """Binds every name to the member of the context (a document) with that name; "" is the whole document."""
    if name == "":
        return Bound(lambda context: context, 0, frozenset())
    if name == "a" and members[:1] == ("output",):
        return Bound(lambda context: context["a"]["output"], 1, frozenset({Read("slot", "a")}))
    return Bound(lambda context: context.get(name), 0, frozenset({Read("slot", name)}))


def render(value: JSON, document: Any = DOCUMENT) -> JSON:
    return compile_template(value, resolve).evaluate(document)


@pytest.mark.parametrize(
    ("template", "value"),
    [
        ("${a.output.n}", 1),
        ("${a.output.whole}", 1.0),
        ("${a.output.t}", True),
        ("${a.output.nil}", None),
        ("${a.output.list}", DOCUMENT["a"]["output"]["list"]),
        ("${a}", DOCUMENT["a"]),
        ("n=${a.output.n}", "n=1"),
        ("${a.output.n}${a.output.n}", "11"),
        ("t=${a.output.t} nil=${a.output.nil}", "t=true nil=null"),
        ("k=${a.output.k}", 'k={"i1":"picked","x.y":"dotted"}'),
        ("${a.nothing}", None),
        ("${nothing.at.all}", None),
        ("[${nothing}]", "[null]"),
        ("${}", ""),
        ("${ }", ""),
        ("<${}>", "<>"),
        ("$${a.output.n}", "${a.output.n}"),
        ("$$${a.output.n}", "$${a.output.n}"),
        ("$${x} ${a.output.n}", "${x} 1"),
        ("${a.output.n} $${x}", "1 ${x}"),
        ("${a.output.k.${b.output.i}}", "picked"),
        ("<${a.output.k.${b.output.i}}>", "<picked>"),
        ("${${b.output.name}.output.text}", "hi"),
        ("${a.output['my key']}", "spaced"),
        ('${a.output["my key"]}', "spaced"),
        ("${a.output.my key}", "spaced"),
        ("${a.output.my-key}", "hyphen"),
        ("${a.output.k['x.y']}", "dotted"),
        ("${a.output['it\\'s']}", "quoted"),
        ("${a.output.it's}", "quoted"),
        ("${a.output.é}", "accent"),
        ("${['conductor.event.name']}", "outer"),
        ("${conductor.event.name}", None),
        ("${a.output.list[0].name}", "one"),
        ("${a.output.list[-1].name}", "two"),
        ("${a.output.list[9].name}", None),
        ("${a.output.text[0]}", None),
        ("${a.output.n.x}", None),
        ("${a.output.7.inner.k}", 70),
        ("${workflow.input.deep.deeper[0][1]}", 2),
        ("${a.output.list[*].x}", [1, 2]),
        ("${a.output.list.*.x}", [1, 2]),
        ("${a.output.list[?(@.x>1)].name}", ["two"]),
        ("${a.output.list[?(@.name=='on}e' || @.x == 1)].x}", [1]),
        ("${a.output.list[0:1].x}", [1]),
        ("${a.output.nothing[*]}", []),
        ("${a..name}", ["one", "two"]),
        ("${a.output.my-key[*]}", []),
        ("${..deeper[1]}", [[3]]),
        ("${a.output.list.length()}", 2),
        ("${a.output.list[*].x.sum()}", 3),
        ("${ a.output.n }", 1),
        ("${a.output.n", "${a.output.n"),
        ("${ ${a.output.n}", "${ 1"),
        ("$", "$"),
        ("{a}", "{a}"),
        ("}${a.output.n}{", "}1{"),
        ("${a[}", "${a[}"),
        ("${a.output[}", "${a.output[}"),
        ("${a.output.}", None),
        ("${a]}", None),
        ("${[0]}", None),
        (12, 12),
        (None, None),
        ({"${a}": "${a.output.n}"}, {"${a}": 1}),
        ([["${a.output.n}", "x"], {"k": ["${b.output.i}"]}], [[1, "x"], {"k": ["i1"]}]),
        ({"z": 1, "a": "${a.output.n}", "m": 2}, {"z": 1, "a": 1, "m": 2}),
    ],
)
def test_value(template: JSON, value: JSON) -> None:
    if template in ("${a[}", "${a.output[}"):
        # A bracket that is never closed: the reference ends at the brace all the same, and finds nothing.
        assert render(template) is None
        return
    result = render(template)
    assert result == value
    assert type(result) is type(value)


def test_keys_keep_their_order() -> None:
    assert list(render({"z": "${a.output.n}", "a": 1, "m": "${b}"})) == ["z", "a", "m"]


def test_constants_are_shared_and_whole_constants_are_constant() -> None:
    value = {"list": [1, {"x": "y"}]}
    expression = compile_template(value, resolve)
    assert isinstance(expression, Constant)
    assert expression.value is value
    mixed = compile_template({"fixed": value, "moving": "${a.output.n}"}, resolve)
    assert mixed.evaluate(DOCUMENT)["fixed"] is value
    assert compile_template({"x": "$${y}", "z": [True]}, resolve).evaluate({}) == {"x": "${y}", "z": [True]}


def test_result_is_fresh_each_time() -> None:
    expression = compile_template({"x": "${a.output.n}", "l": ["${a.output.n}"]}, resolve)
    first, second = expression.evaluate(DOCUMENT), expression.evaluate(DOCUMENT)
    assert first == second
    assert first is not second
    assert first["l"] is not second["l"]


def test_reads() -> None:
    assert compile_template({"x": "${a.output.n}", "y": ["${b}-${c.d}"]}, resolve).reads == {
        Read("slot", "a"),
        Read("slot", "b"),
        Read("slot", "c"),
    }
    nested = compile_template("${a.output.k.${b.output.i}}", resolve)
    assert nested.reads == {Read("slot", "a"), Read("slot", "b")}
    assert not getattr(nested, DYNAMIC)
    dynamic = compile_template("${${b.output.name}.output.text}", resolve)
    assert dynamic.reads == {Read("slot", "b")}
    assert getattr(dynamic, DYNAMIC)


def test_static_members_reach_the_resolver() -> None:
    seen: list[tuple[str, tuple[str | int, ...]]] = []

    def note(name: str, members: tuple[str | int, ...]) -> Bound:
        seen.append((name, members))
        return Bound(lambda context: None, 0, frozenset())

    compile_template(["${a.b[0]['c d'].e[*].f}", "${x.y.pre${z}}", "${..q}"], note)
    assert seen == [("a", ("b", 0, "c d", "e")), ("z", ()), ("x", ("y",)), ("", ())]


def test_a_reference_is_evaluated_once_however_often_it_occurs() -> None:
    calls = []

    def counted(name: str, members: tuple[str | int, ...]) -> Bound:
        return Bound(lambda context: calls.append(name), 0, frozenset())

    compile_template(["${a}", "${a}", "x${a}"], counted).evaluate(None)
    assert calls == ["a"]


def test_the_contexts_own_exception_passes() -> None:
    class Missing(Exception):
        pass

    def fail(context: Any) -> JSON:
        raise Missing

    with pytest.raises(Missing):
        compile_template("x${a.b}", lambda name, members: Bound(fail, 0, frozenset())).evaluate(None)


def test_text_bomb() -> None:
    big = {"a": {"output": {"big": "x" * 400_000}}}
    assert len(render("${a.output.big}${a.output.big}", big)) == 800_000
    with pytest.raises(ExpressionError, match="1200000 characters; the limit is 1000000"):
        render("${a.output.big}" * 3, big)


@pytest.mark.parametrize("uses", [5, 16, 17])
@pytest.mark.parametrize(
    "large", ["x" * 3_700_000, {"rows": ["x" * 100] * 37_000}, ["x" * 37_000] * 100], ids=["text", "map", "list"]
)
def test_neither_can_a_few_of_them(large: Any, uses: int) -> None:
    with pytest.raises(ExpressionError, match="the limit is 16000000"):
        render(["${a.output.big}"] * uses, {"a": {"output": {"big": large}}})
    assert render(["${a.output.big}"] * 4, {"a": {"output": {"big": large}}}) == [large] * 4


def test_references_cannot_multiply_a_large_value() -> None:
    big = {"a": {"output": {"big": ["x" * 100_000] * 10}}}
    assert render(["${a.output.big}"] * 15, big)
    with pytest.raises(ExpressionError, match="the limit is 16000000"):
        render(["${a.output.big}"] * 100, big)
    with pytest.raises(ExpressionError, match="the limit is 16000000"):
        render([f"${{a.output.big[{i % 10}]}}" for i in range(200)] + ["${a}"] * 100, big)


def test_compile_bounds() -> None:
    with pytest.raises(Invalid, match="more than 2000 references"):
        compile_template(["${a}"] * 2001, resolve)
    with pytest.raises(Invalid, match="more than 100000 values"):
        compile_template([0] * 100_001, resolve)
    with pytest.raises(Invalid, match="nested deeper than 16"):
        compile_template("${a." * 18 + "}" * 18, resolve)
    deep: JSON = "${a}"
    for _ in range(300):
        deep = [deep]
    with pytest.raises(Invalid, match="nested deeper than 200"):
        compile_template(deep, resolve)
    with pytest.raises(Invalid, match="nested deeper than 200"):
        references(deep)
    assert "deeper" in lint(deep)[0].problem
    assert render("${a." + "x" * 3000 + "}") is None


def test_scanning_is_not_quadratic() -> None:
    with at_most(2):
        with pytest.raises(Invalid):
            compile_template("${" * 100_000, resolve)
        for text in ["$" * 200_000, "$${" * 60_000, "${a['" * 10 + "}" * 100_000, "${ " + "}{" * 100_000]:
            compile_template(text, resolve)


def test_dangerous_paths_find_nothing_and_lint_says_why() -> None:
    for path, why in [
        ("a[?match(@.x, '(a+)+$')]", "not a JSONPath"),
        ("a[?@..x]", "filter"),
        ("a..b..c..d", "descents"),
        ("a[?count($.b.*) > 1]", "filter"),
    ]:
        assert render("${" + path + "}") is None
        (problem,) = lint({"k": "${" + path + "}"})
        assert why in problem.problem
        assert problem.location == "k"


def test_too_many_results() -> None:
    with pytest.raises(ExpressionError, match="more than 10000 values"):
        render("${a[*]}", {"a": [0] * 10_001})


def test_lint() -> None:
    value = {"a": ["${}", {"b c": "x ${ w.i }"}], "k": "${.a.b}", "ok": "${a.b[0]} $${x} ${a[?(@.x>1)]}", "open": "${a"}
    assert [(p.location, p.text, p.problem.split(",")[0].split(";")[0]) for p in lint(value)] == [
        ("a[0]", "${}", "there is nothing between the braces"),
        ("a[1].b c", "${ w.i }", "there is a blank inside the braces"),
        ("k", "${.a.b}", "the path begins with a dot"),
        ("open", "${a", "a '${' is never closed"),
    ]
    assert lint("${a..b}") == []
    assert [p.problem for p in lint("${a.}")] == ["a name is missing at the end of the path"]


def test_references() -> None:
    found = references({"x": ["${a.b[1].c}"], "y": "q${k.${m.n}.z}", "z": "${${p}}", "w": "$${no}"})
    assert [tuple(r) for r in found] == [
        ("x[0]", "a", "${a.b[1].c}", ("b", 1, "c")),
        ("y", "k", "${k.${m.n}.z}", ()),
        ("y", "m", "${m.n}", ("n",)),
        ("z", None, "${${p}}", ()),
        ("z", "p", "${p}", ()),
    ]


scalars = st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False) | st.text()
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=20
)


@given(values, st.text(min_size=1).filter(lambda key: "${" not in key))
@examples(300)
def test_any_value_survives_a_round_trip(value: JSON, key: str) -> None:
    def quoted(text: str) -> str:
        return "['" + text.replace("\\", "\\\\").replace("'", "\\'") + "']"

    document = {"v": {key: value}}
    reference = "${v" + quoted(key) + "}"
    result = compile_template({"x": reference, "y": "<" + reference + ">"}, resolve).evaluate(document)
    assert result["x"] is value
    assert result["y"] == "<" + (value if isinstance(value, str) else msgspec.json.encode(value).decode()) + ">"


@given(st.text(alphabet="${}[]'\"ab.*?@\\ 0", max_size=40))
@examples(1000)
def test_any_text_compiles_or_is_refused(text: str) -> None:
    """Any string compiles or raises Invalid, evaluates or raises ExpressionError; nothing else comes out."""
    lint(text)
    try:
        expression = compile_template(text, resolve)
        references(text)
    except Invalid:
        return
    with contextlib.suppress(ExpressionError):
        expression.evaluate({"a": {"b": [1, {"a": "b"}]}, "b": "a"})


@given(st.text(max_size=30))
def test_text_without_references_is_itself(text: str) -> None:
    if "${" not in text:
        assert compile_template(text, resolve).evaluate(None) is text
    escaped = text.replace("${", "$${")
    if not text.replace("${", "").endswith("$") and "$$" not in text:
        assert compile_template(escaped, resolve, limits=DEFAULT).evaluate(None) == text
