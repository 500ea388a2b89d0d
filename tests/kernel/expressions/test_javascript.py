from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.exploring import examples
from tests.patience import at_most

from pelton.kernel.expressions.base import (
    JSON,
    BoundValue,
    Constant,
    Evaluation,
    ExpressionError,
    Invalid,
    Outcome,
    Read,
    Unanswered,
)
from pelton.kernel.expressions.javascript import script as javascript
from pelton.kernel.expressions.javascript.bounded import is_tame
from pelton.kernel.expressions.javascript.lexer import tokens
from pelton.kernel.expressions.javascript.script import Script, check, member_uses, run, truthy


class Facts:
    """A context that knows the answers it was given, and one that asks for the others."""

    now = 1_700_000_000_000
    seed = 7

    def __init__(self) -> None:
        self.answers: dict[Evaluation, Outcome] = {}

    def evaluated(self, question: Evaluation) -> Outcome | None:
        return self.answers.get(question)


def evaluate(source: str, argument: JSON = None, **options: Any) -> JSON:
    """On the loop, or as the runtime would when the script asks for that."""
    facts, script = Facts(), Script(source, Constant(argument), **options)
    try:
        return script.evaluate(facts)
    except Unanswered as asked:
        facts.answers[asked.question] = run(asked.question)
        return script.evaluate(facts)


def ask(source: str, argument: JSON = None, limit: int = 1000) -> Outcome:
    return run(Evaluation("javascript", source, msgspec.json.encode(argument).decode(), Facts.now, Facts.seed, limit))


ARGUMENT = {"a": 3, "b": {"c": "text"}, "list": [1, 2, 3], "s": "hello"}


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("$.a > 1", True),
        ("if ($.a > 5) { true; } else { false; }", False),
        ("1.0", 1),
        ("$.a / 2", 1.5),
        ("-0", 0),
        ("2 ** 53", 2**53),
        ("1e300", 1e300),
        ("undefined", None),
        ("null", None),
        ("var x = 1;", None),
        ("NaN", "NaN"),
        ("-1 / 0", "-Infinity"),
        ("new Date()", {}),
        ("(function () { return $.a + 1; })()", 4),
        ("(function () { if ($.a) { return 'x'; } }());", "x"),
        ("(function ($) { return $.b.c; })($)", "text"),
        ("() => 1", None),
        ("function f() { return 1 }", None),
        ("Symbol()", None),
        ("10n", 10),
        ("10n ** 20n", "1" + "0" * 20),
        (
            "({ d: new Date(), u: undefined, n: NaN, f: () => 1, i: 1.0, big: 5n })",
            {"d": {}, "u": None, "n": "NaN", "f": None, "i": 1, "big": 5},
        ),
        ("$.list.map(x => x * 2)", [2, 4, 6]),
        ("var sum = 0; for (const x of $.list) { sum += x; } sum", 6),
        ("implicit = $.a; implicit + 1", 4),
        ("'a\\u0000b'", "a\0b"),
        ("'\\ud83d\\ude00'", "😀"),
        ("'\\ud800'", "\ufffd"),
        ("new Date().toISOString()", "2023-11-14T22:13:20.000Z"),
        ("new Date(2024, 0, 2).toISOString()", "2024-01-02T00:00:00.000Z"),
        ("new Date('2024-01-02T03:04:05').getHours()", 3),
        ("new Date('2024-01-02T03:04:05+02:00').getHours()", 1),
        ("new Date('Jan 2 2024 10:00').toISOString()", "2024-01-02T10:00:00.000Z"),
        ("String(new Date(0))", "Thu Jan 01 1970 00:00:00 GMT+0000 (UTC)"),
        ("new Date(NaN).toString()", "Invalid Date"),
        ("Date.now() === new Date().getTime() && Date.now() === +new Date(Date())+0 - (+new Date(Date()) - Date.now())", True),
        ("new Date(0) instanceof Date", True),
        ("typeof performance + typeof Atomics + typeof WeakRef", "undefined" * 3),
        ("var o = {}; o.toString = () => 'mine'; '' + o", "mine"),
        ("function A() {} A.prototype.constructor = A; A.prototype.valueOf = () => 4; new A() + 1", 5),
        ("var e = new Error('a'); e.message = 'b'; e.name = 'N'; String(e)", "N: b"),
        ("with ($) { a + 1 }", 4),
    ],
)
def test_value(source: str, value: JSON) -> None:
    result = evaluate(source, ARGUMENT)
    assert result == value
    assert type(result) is type(value)
    check(source)


def test_function_body() -> None:
    assert evaluate("if ($.a) return 'yes';\nreturn 'no';", {"a": 1}, wrapper="function body") == "yes"
    assert evaluate("return $.a // the end", {"a": 1}, wrapper="function body") == 1
    with pytest.raises(Invalid):
        check("return 1")
    check("return 1", "function body")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("$.x.y", "TypeError: cannot read property 'y' of undefined at line 1"),
        ("\n\nnothing()", "ReferenceError: nothing is not defined at line 3"),
        ("True", "ReferenceError: True is not defined at line 1"),
        ("throw 'plain'", "plain"),
        ("throw null", "null"),
        ("JSON.parse('{')", "at line 1"),
        ("1 +", "SyntaxError"),
        ("function f() { return f() + 1 } f()", "RangeError: Maximum call stack size exceeded at line 1"),
        ("throw { toString() { throw 1 } }", "an error that cannot be shown"),
        ("'x'.repeat(5000000)", "the limit is 4000000"),
        ("var a = []; for (;;) a.push('x'.repeat(100000) + a.length)", "needs more than 32 MB"),
        ("var o = {}; o.o = o; o", "TypeError"),
        ("var o = 1; for (var i = 0; i < 3000; i++) o = [o]; o", "RangeError"),
    ],
)
def test_failure(source: str, message: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        evaluate(source, {})
    assert message in caught.value.message
    assert not caught.value.timed_out
    assert "\n" not in caught.value.message


def test_time_limit() -> None:
    with at_most(10):
        outcome = ask("while (true) {}", limit=50)
        assert outcome == Outcome(None, "the script was stopped after 50 ms", failed=True, timed_out=True)
        assert ask("try { while (true) {} } catch (e) { 1 } finally { 2 }", limit=50).timed_out
        assert ask("/(a+)+$/.test('a'.repeat(40) + 'b')", limit=50).timed_out
    facts = Facts()
    script = Script("while (true) {}", Constant({}), limit_ms=50)
    with pytest.raises(Unanswered) as asked:
        script.evaluate(facts)
    facts.answers[asked.value.question] = run(asked.value.question)
    with pytest.raises(ExpressionError) as caught:
        script.evaluate(facts)
    assert caught.value.timed_out


def test_what_is_not_tame_is_asked_for_and_the_answer_used() -> None:
    facts = Facts()
    script = Script(
        "$.list.map(x => x + 1)", BoundValue(lambda context: {"list": [1]}, frozenset({Read("var", "v")})), limit_ms=77
    )
    with pytest.raises(Unanswered) as asked:
        script.evaluate(facts)
    question = asked.value.question
    assert question == Evaluation("javascript", "$.list.map(x => x + 1)", '{"list":[1]}', Facts.now, Facts.seed, 77)
    assert script.reads == {Read("var", "v")}
    facts.answers[question] = Outcome(["given"])
    assert script.evaluate(facts) == ["given"]


def test_a_tame_script_with_a_large_argument_or_no_budget_is_asked_for() -> None:
    with pytest.raises(Unanswered):
        Script("$.a", Constant({"a": "x" * 70_000})).evaluate(Facts())
    with pytest.raises(Unanswered):
        Script("$.a", Constant({}), in_kernel_ms=0).evaluate(Facts())
    with pytest.raises(Invalid):
        Script("$", Constant({}), engine="python")
    with pytest.raises(Invalid):
        Script("1" * 200_000, Constant({}))


@pytest.mark.parametrize(
    "leave",
    [
        "leak = 1",
        "leak = 1; undefined",
        "var leak = 1",
        "globalThis.leak = 1",
        "Object.defineProperty(globalThis, 'leak', { value: 1 })",
        "$.leak = 1",
        "Object.prototype.leak = 1",
        "Array.prototype.leak = 1",
        "Object.setPrototypeOf(globalThis, { leak: 1 })",
        "(function* () {}).constructor.prototype.leak = 1",
    ],
)
def test_nothing_leaks_between_scripts(leave: str) -> None:
    seen = "(typeof leak) + (typeof $.leak) + (typeof [].leak)"
    assert is_tame(seen)
    evaluate(leave, {})
    assert evaluate(seen, {}) == "undefined" * 3
    sandbox = javascript.Sandbox(shared=True)

    def one(source: str) -> Outcome:
        return run(Evaluation("javascript", source, "{}", 0, 0, 1000), sandbox)

    one(leave)
    if sandbox.clean():
        assert one(seen) == Outcome("undefined" * 3)


def test_pending_jobs_are_noticed() -> None:
    sandbox = javascript.Sandbox(shared=True)
    run(Evaluation("javascript", "(async () => { await 1; globalThis.x = 1 })()", "{}", 0, 0, 1000), sandbox)
    assert not sandbox.clean()


def test_chance_and_time_are_the_same_in_both_places() -> None:
    source = "'' + Math.random() + Math.random() + Date.now()"
    here = Script(source, Constant(None)).evaluate(Facts())
    assert here == ask(source).value == ask("1;" + source).value
    facts = Facts()
    facts.seed = 8
    assert Script(source, Constant(None)).evaluate(facts) != here


def test_many_scripts_and_their_eviction() -> None:
    facts = Facts()
    for number in range(javascript.MAX_SCRIPTS * 2):
        assert Script(f"$.a + {number} - {number}" + " " * 2000, Constant({"a": 1})).evaluate(facts) == 1


@pytest.mark.parametrize(
    "source",
    [
        "while (1) {}",
        "new Array(4294967295).join('')",
        "[].join.call({ length: 4294967295 })",
        "'' + { toString: [].join, length: 4294967295 }",
        "({ at: [].join, length: 4294967295 }).at()",
        "var a = { ['at']: [].join, length: 4294967295 }; a.at()",
        "var a = []; a[4294967294] = 1; '' + a",
        "var a = []; [a.length] = [4294967295]; '' + a",
        "var a = []; a.length++; a",
        "JSON.parse('{\"length\":4294967295}', [].join)",
        "'a'.repeat(1e7).indexOf('a'.repeat(5e6) + 'b')",
        "$.s.indexOf($.t)",
        "$.s.includes('a', $.list.map($.f))",
        "$.list.map(x => x)",
        "$.list['constructor']('return 1')()",
        "f = $.f; f()",
        "(function f() { f(); f() })()",
        "(function () { (function () {})() })()",
        "(function () { return arguments.callee })()()",
        "var f = (function () { return 1 }); f()",
        "(0, eval)('1')",
        "eval`1`",
        "Function('while(1);')()",
        "x = (function () { return this })().eval; 1",
        "`${$.a}`",
        "/a/.test($.s)",
        "$.a++",
        "[...$.s]",
        "a = $.s; b = (a = a + a) + a; b",
        ";".join(["s = $.s"] + ["s = s + s"] * 20),
        "s = " + "+".join(["$.s"] * 300),
        "try { x } catch (e) { 1 }",
        "\\u0065val('1')",
        "'\\1'",
        "class A { static { for (;;) {} } }",
        "({ __proto__: $ })",
        "({ get a() { return 1 } })",
        "label: for (;;) {}",
        "import('x')",
        "7n ** 3000000n",
        "async () => 1",
        "x = y => y",
        "(a) => { for (;;) {} }",
        "if ($.a) [].constructor(4294967295) + ''",
        "new (class {})()",
        "new Array(4294967295) + ''",
        "Array(4294967295) + ''",
        "$.f?.()",
        "$.f?.(1)",
        "Number = $.f; Number()",
        "(",
        "'never closed",
        "x" * 5000,
    ],
)
def test_not_tame(source: str) -> None:
    assert not is_tame(source)


@pytest.mark.parametrize(
    "source",
    [
        "$.a > 1 && ($.b || !$.c)",
        "if ($.loop['iteration'] < 10) { true; } else { false; }",
        "if ($.a) ($.b)",
        "(function () { var x = $.a; if (x == 1) { return 'one' } else if (x == 2) { return 'two' } return 'many' })();",
        "switch ($.a) { case 1: 'one'; break; default: 'other' }",
        "$.name.toLowerCase().startsWith('a') && $.tags.includes('x') && Math.max($.a, $.b) > 2",
        "new Date($.at).getTime() < Date.now()",
        "let a = $.x; const b = a ? a.y : null; b",
        "x = 1;\ny = 2;\nx + y",
        "`plain`",
        "$.a / $.b / 2",
        "typeof $.a === 'number' // a comment",
        "parseInt($.a) > 2 ? 'big' : 'small'",
        "$.a?.b ?? 'none'",
    ],
)
def test_tame(source: str) -> None:
    assert is_tame(source)
    check(source)


@given(st.text(alphabet="$.ab(){}[];=+'\"`/ \n0,?:", max_size=30))
@examples(500)
def test_any_text_is_lexed_or_refused_and_judged(text: str) -> None:
    """Whatever the text: tokens or Invalid; the tokens cover it in order; judgements never raise."""
    is_tame(text)
    member_uses(text)
    try:
        found = tokens(text)
    except Invalid:
        return
    at = 0
    for token in found:
        assert token.position >= at
        assert text[token.position : token.position + len(token.text)] == token.text
        at = token.position + len(token.text)


def test_member_uses() -> None:
    def uses(source: str) -> tuple[set[tuple[str, str | None]], bool]:
        found = member_uses(source)
        return set(found.members), found.computed

    assert uses("$.loop.iteration < 5 && $['x'].y") == ({("loop", "iteration"), ("x", "y")}, False)
    assert uses("$?.a?.b + $.c[0] + $.d[$.e] + $['f']['g']") == (
        {("a", "b"), ("c", None), ("d", None), ("e", None), ("f", "g")},
        False,
    )
    assert uses("// $.a\n'$.b' + $.c") == ({("c", None)}, False)
    assert uses("`x ${$.a.b} y`") == ({("a", "b")}, False)
    assert uses("a$.b + x.$") == (set(), False)
    for source in ["$[x]", "f($)", "const {a} = $", "eval('$.a')", "`${'`'}${$.a}`", "$", "'open", "if (a) /$/.test(b)"]:
        assert uses(source)[1], source


def test_truthy() -> None:
    assert [truthy(v) for v in [True, False, 1, 0, -1, 0.5, None, "true", "", [1], {"a": 1}]] == [
        True, False, True, False, False, True, False, False, False, False, False,
    ]  # fmt: skip


def test_check_does_not_run_and_says_where() -> None:
    check("while (true) {}")
    check("function f() {} f(); for (;;) {}")
    with pytest.raises(Invalid, match="at line 3") as caught:
        check("\n\nfoo bar")
    assert caught.value.position == 2
    for bad in ["", "  ", "if (", "(" * 50_000, "a" * 200_000]:
        with pytest.raises(Invalid):
            check(bad)
