"""Paths that search: they find what the engine finds, and look at no more than their budget."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonpath_rfc9535 import JSONPathEnvironment
from tests.exploring import examples
from tests.kernel.expressions.test_template import resolve

from pelton.kernel.expressions.base import JSON, MAX_LOOKS, ExpressionError, Looks
from pelton.kernel.expressions.searches import compile_search, select
from pelton.kernel.expressions.template import compile_template

QUERIES = [
    "$.*", "$..*", "$..a", "$..[0]", "$[*]['a','b',0]", "$..[1:3]", "$[::-1]", "$..a..b", "$[?@.a]", "$[?@.a == 1]",
    "$..[?@.a == @.b]", "$[?@.a == $.a]", "$[?!@.a || @.b > 1 && @.a != null]", "$[?count(@.*) > 1]", "$[?length(@.a) == 1]",
    "$[?@ == 1]", "$..[?value(@.a) == 'x']", "$[?@[?@.a]]", "$[-1]", "$..[?@.* ]", "$[?@.a.b == @['b'][0]]", "$[?$.a == 'x']",
]  # fmt: skip
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.sampled_from([None, True, 0, 1, 2, "x", ""]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=20,
)


@given(value=VALUES, query=st.sampled_from(QUERIES))
@examples(300)
def test_finds_what_the_engine_finds(value: Any, query: str) -> None:
    found = select(compile_search(query), value)
    assert found == (JSONPathEnvironment().find(query, value).values() if isinstance(value, (dict, list)) else [])


ITEMS: list[JSON] = [{"id": n, "tags": ["a", "b", "c"]} for n in range(3_000)]


@pytest.mark.parametrize(
    "path",
    [
        "l[*][" + ",".join(f"'q{n}'" for n in range(150)) + "]",
        "l..[" + ",".join(f"'q{n}'" for n in range(100)) + "]",
        "l[?(" + " || ".join(f"@.q{n}" for n in range(100)) + ")]",
        "l[?" + " || ".join(f"@.tags[?@ == 'z{n}']" for n in range(20)) + "]",
        "l[?(" + "&&".join(["1==1"] * 150) + ")].zz",
        ".zz..zz[*]",
        "l[*]..zz",
    ],
)
def test_a_path_that_would_look_at_too_much_is_refused_with_the_way_out(path: str) -> None:
    document: JSON = {"l": ITEMS * 12 if path in (".zz..zz[*]", "l[*]..zz") else ITEMS}
    with pytest.raises(ExpressionError, match="more values than one expression may") as refused:
        compile_template("${" + path + "}", resolve).evaluate(document)
    assert "name the members" in refused.value.message


def test_the_paths_of_one_template_share_what_they_may_look_at() -> None:
    document: JSON = {"l": ITEMS}
    one = "${l..zz%d}"
    assert compile_template(one % 0, resolve).evaluate(document) == []
    many = compile_template([one % n for n in range(20)], resolve)
    for _ in range(2):  # refused the same way each time
        with pytest.raises(ExpressionError, match="more values than one expression may"):
            many.evaluate(document)
    few = compile_template([one % n for n in range(3)], resolve)
    for _ in range(20):  # begun anew for each evaluation
        assert few.evaluate(document) == [[], [], []]


def test_paths_that_lead_somewhere_look_at_little() -> None:
    budget = Looks()
    assert select(compile_search("$[?@.id == 7].tags[0]"), ITEMS, budget) == ["a"]
    assert MAX_LOOKS - budget.left < 7 * len(ITEMS)
