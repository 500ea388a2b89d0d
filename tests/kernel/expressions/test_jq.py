from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pelton.kernel.expressions.base import BoundValue, Constant, Evaluation, ExpressionError, Invalid, Outcome, Read, Unanswered
from pelton.kernel.expressions.jq import JqScript, check, names


@pytest.mark.parametrize(
    "source",
    [
        "env",
        "$ENV",
        "$ENV.PATH",
        ".a | env | .b",
        '"\\(env)"',
        '"a \\("b \\($ENV)") c"',
        "{a: env}",
        "{(env | .a): 1}",
        "{$ENV}",
        ".[1,env:2]",
        "[.[env]]",
        "{a: {b: env}}",
        "def f: env; f",
        "def env: 1; env",
        "input",
        "[inputs]",
        'include "a"; 1',
        'import "a" as a; 1',
        "input_line_number",
        "input_filename",
        "debug",
        'debug("x")',
        "stderr",
        "halt",
        "halt_error(1)",
        "get_search_list",
        "modulemeta",
        "a::env",
        "..env",
        ". env",
        "# harmless\nenv",
        '# "\nenv # "',
        "1 as $x | env",
        '@text "\\(env)"',
        "$__prog_args",
    ],
)
def test_refused(source: str) -> None:
    with pytest.raises(Invalid, match="not available"):
        check(source)


@pytest.mark.parametrize(
    "source",
    [
        ".",
        ".env",
        ".a.env.input",
        ".a?.env",
        "{env: 1, input: .x}",
        "{env}",
        "{a, env}",
        '"env $ENV (env)"',
        '."env"',
        '.["env"]',
        "# env\n.a",
        ".environment | inputs_of",
        'reduce .[] as $x (0; . + $x) | "\\(.)"',
        "[.[] | select(.a > 1) | {b: .c}]",
        "1.5e3 | floor",
        "$__loc__",
        'now | strftime("%Y")',
    ],
)
def test_allowed(source: str) -> None:
    check(source)


@pytest.mark.parametrize("source", ["", " ", "(", "[)", '"a', '"\\(a"', "]", "[" * 500 + "]" * 500, "x" * 60_000, "# a \\\nenv"])
def test_not_a_program(source: str) -> None:
    with pytest.raises(Invalid):
        check(source)


@given(st.text(alphabet='.$env(){}[]",:\\# \n@a_1', max_size=30))
def test_any_text_is_scanned_or_refused(text: str) -> None:
    try:
        found = names(text)
    except Invalid:
        return
    for name, position in found:
        assert name.rpartition("::")[2] in text[position:]


class Facts:
    now = 5
    seed = 6

    def __init__(self, outcome: Outcome | None) -> None:
        self.outcome = outcome

    def evaluated(self, question: Evaluation) -> Outcome | None:
        return self.outcome


def test_always_asks() -> None:
    script = JqScript(".a", BoundValue(lambda context: {"a": 1}, frozenset({Read("slot", "s")})), limit_ms=9)
    assert script.reads == {Read("slot", "s")}
    with pytest.raises(Unanswered) as asked:
        script.evaluate(Facts(None))
    assert asked.value.question == Evaluation("jq", ".a", '{"a":1}', 5, 6, 9)
    assert script.evaluate(Facts(Outcome([1]))) == [1]
    with pytest.raises(ExpressionError) as caught:
        script.evaluate(Facts(Outcome(None, "late", failed=True, timed_out=True)))
    assert caught.value.timed_out
    with pytest.raises(Invalid):
        JqScript("env", Constant(None))
