from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.exploring import examples
from tests.kernel.matching.leaves import Compare, Matches
from tests.patience import at_most

from pelton.kernel.expressions.base import JSON, Evaluation, Outcome, Unanswered
from pelton.kernel.expressions.javascript.equality import folded_key, index_key
from pelton.kernel.expressions.javascript.script import Sandbox, run
from pelton.kernel.matching.conditions import compile_condition
from pelton.kernel.matching.filters import (
    And,
    Equality,
    Filter,
    Not,
    Or,
    ParameterTest,
    Prefix,
    TracedFilter,
    folded_reader,
)
from pelton.kernel.matching.filters import Test as Leaf
from pelton.kernel.matching.filters import Verdict as FilterVerdict
from pelton.kernel.matching.handlers import Decision, Handler, HandlerIndex, explain, match
from pelton.kernel.matching.index import MAX_KEYS, MAX_PREFIX

SANDBOX = Sandbox()


class Facts:
    now = 0
    seed = 0

    def __init__(self) -> None:
        self.answers: dict[Evaluation, Outcome] = {}
        self.rounds = 0

    def evaluated(self, question: Evaluation) -> Outcome | None:
        return self.answers.get(question)

    def complete(self, asked: Unanswered) -> None:
        self.rounds += 1
        for question in asked.questions:
            self.answers[question] = run(question, SANDBOX)


def handler(number: int, types: str = "order", condition: str | Filter | None = None, **more: Any) -> Handler:
    condition_filter = compile_condition(condition) if isinstance(condition, str) else condition
    return Handler(id=number, ns="n", name=f"h{number}", types=tuple(types.split()), filter=condition_filter, **more)


def decide(index: HandlerIndex, event_type: str, payload: JSON, **options: Any) -> list[Decision]:
    facts = Facts()
    while True:
        try:
            return match(index, event_type, payload, facts, **options)
        except Unanswered as asked:
            facts.complete(asked)


def asked_directly(one: Handler, event_type: str, payload: JSON) -> Decision:
    facts = Facts()
    while True:
        try:
            return explain(one, event_type, payload, facts)
        except Unanswered as asked:
            facts.complete(asked)


def verdicts(index: HandlerIndex, event_type: str, payload: JSON) -> dict[int, str]:
    return {decision.handler.id: decision.verdict for decision in decide(index, event_type, payload)}


def one_of(path: tuple[str, ...], *texts: str) -> Leaf:
    """Whether the value is one of the texts, with names and texts in any letter case."""
    folded = [text.casefold() for text in texts]
    first, *others = [folded_key(text) for text in texts]
    equality = Equality(tuple(step.casefold() for step in path), first, True, tuple(others))
    return Leaf(
        f"{path} in {texts}",
        folded_reader(path),
        lambda value: isinstance(value, str) and value.casefold() in folded,
        equality=equality,
    )


def begins(path: tuple[str, ...], start: str, fold: bool) -> Leaf:
    if not fold:
        return Matches(path, start + "*")
    return Leaf(
        f"{path} begins {start}",
        folded_reader(path),
        lambda value: isinstance(value, str) and value.casefold().startswith(start.casefold()),
        prefix=Prefix(tuple(step.casefold() for step in path), start.casefold(), True),
    )


def test_by_type_and_equality() -> None:
    index = HandlerIndex(
        [
            handler(1),
            handler(2, "order", "$.region == 'eu'"),
            handler(3, "order", "$.region == 'us' && $.total > 5"),
            handler(4, "order", "$.total > 100"),
            handler(5, "mail"),
            handler(6, "ord*"),
            handler(7, "*"),
            handler(8, "order.*"),
            handler(9, "order", "$.region == 'eu'", active=False),
            handler(10, "order", "$.region == 'us'", active=False),
            handler(11, "order mail"),
            handler(12, "order ord* *"),
        ]
    )
    assert len(index) == 12
    assert verdicts(index, "order", {"region": "eu", "total": 7}) == {
        1: "fired",
        2: "fired",
        4: "false",
        6: "fired",
        7: "fired",
        9: "inactive",
        11: "fired",
        12: "fired",
    }
    assert list(verdicts(index, "mail", {})) == [5, 7, 11, 12]
    assert list(verdicts(index, "order.new", {})) == [6, 7, 8, 12]
    assert list(verdicts(index, "", {})) == [7, 12]


def test_decisions_say_why() -> None:
    index = HandlerIndex([handler(1, "order", "$.region == 'eu' && $.order.total > 100"), handler(2, "order", "$.a.b > 1")])
    false, failed = decide(index, "order", {"region": "eu", "order": {"total": 7}})
    assert (false.verdict, false.detail) == ("false", "$.order.total > 100 is false: it saw 7")
    assert [tuple(entry)[:3] for entry in false.trace] == [("$.order.total > 100", 7, False)]
    assert (failed.verdict, failed.detail) == ("failed", "TypeError: cannot read property 'b' of undefined at line 1")


def test_explain() -> None:
    one = handler(1, "order mail.*", "$.region == 'eu'")
    assert explain(one, "order", {"region": "eu"}).verdict == "fired"
    assert explain(one, "mail.x", {"region": "eu"}).verdict == "fired"
    ruled_out = explain(one, "order", {"region": "us"})
    assert (ruled_out.verdict, ruled_out.detail) == ("false", "$.region == 'eu' is false: it saw \"us\"")
    other = explain(one, "post", {"region": "eu"})
    assert (other.verdict, other.detail) == ("type differs", "the handler is for 'order' and 'mail.*'; the event is 'post'")
    assert explain(handler(2, "order", active=False), "order", {}).verdict == "inactive"
    assert len(explain(handler(3, "x" * 500), "order", {}).detail) <= 300


def test_indexes_read_lists_maps_and_texts() -> None:
    index = HandlerIndex([handler(1, "order", "$.a[1] == 'b'"), handler(2, "order", "$.a[3] == '1'")])
    for fired, value in [({1}, ["a", "b"]), ({1}, {"1": "b"}), ({1}, "ab"), ({2}, "\U0001f6001" + "1"), (set(), "a"), (set(), 5)]:
        found = verdicts(index, "order", {"a": value})
        assert {number for number, verdict in found.items() if verdict == "fired"} == fired


def test_a_failing_filter_fails_alone() -> None:
    deep: JSON = 1
    for _ in range(500):
        deep = [deep]
    index = HandlerIndex(
        [handler(1, "order", "$.x.y.z"), handler(2), handler(3, "order", "throw 'no'"), handler(4, "order", "$.d == 1")]
    )
    found = verdicts(index, "order", {"d": deep})
    assert found[1] == found[3] == "failed"
    assert found[2] == "fired"


def test_all_questions_at_once() -> None:
    index = HandlerIndex([handler(n, "order", f"$.list.some(x => x > {n})") for n in range(20)])
    facts = Facts()
    payload = {"list": [10]}
    with pytest.raises(Unanswered) as asked:
        match(index, "order", payload, facts)
    assert len(asked.value.questions) == 20
    facts.complete(asked.value)
    assert [d.verdict for d in match(index, "order", payload, facts)] == ["fired"] * 10 + ["false"] * 10


def test_views() -> None:
    index = HandlerIndex(
        [handler(1, "order", "$.body.id == 5", language="x"), handler(2, "order", "$.body == '{}'", language="y")]
    )
    seen: list[str] = []

    def view(language: str) -> JSON:
        seen.append(language)
        return {"body": {"id": 5}} if language == "x" else {"body": "{}"}

    assert [d.verdict for d in decide(index, "order", None, view=view)] == ["fired", "fired"]
    assert sorted(seen) == ["x", "y"]


def test_add_replaces_and_remove_forgets() -> None:
    index = HandlerIndex(counter=3)
    assert index.counter == 3
    for _ in range(2):
        index.add(handler(1, "order", "$.a.b == 1"))
        index.add(handler(2, "ord*", "$.a[0] == 1"))
        index.add(handler(3, "order *", "$.c == 1"))
    assert len(index) == 3
    index.add(handler(1, "order", "$.a.b == 2"))
    assert verdicts(index, "order", {"a": {"b": 1}}) == {}
    assert verdicts(index, "order", {"a": {"b": 2}}) == {1: "fired"}
    for number in (1, 2, 3, 4):
        index.remove(handler(number))
    assert len(index) == 0
    assert list(index) == []
    for one in (begins(("a", "b"), "x", True), begins(("a",), "xy", False), one_of(("A",), "x", "Y", "X")):
        index.add(handler(1, "order *", one))
        index.remove(handler(1))
    # Nothing is left behind: an index that lives for months does not grow with what came and went.
    assert not index._exact
    assert not index._patterns
    assert not index._prefixes
    assert not index._places


def test_neutral_filters_are_indexed_too() -> None:
    index = HandlerIndex()
    for number in range(100):
        parts: list[Any] = [Compare(("state",), "=", "open"), Compare(("owner", "id"), "=", number), Matches(("name",), "a*")]
        index.add(Handler(id=number, ns="n", name="h", types=("task",), filter=And(parts)))
    index.add(Handler(id=100, ns="n", name="p", types=("task",), filter=ParameterTest("go")))
    payload = {"state": "open", "owner": {"id": 7}, "name": "abc", "go": 1}
    found = verdicts(index, "task", payload)
    assert {number for number, verdict in found.items() if verdict == "fired"} == {7, 100}
    assert len(found) <= 4  # of the tests that all share, each has the first handler that came to it


def test_beginnings() -> None:
    long = "p" * (MAX_PREFIX + 10)
    starts = ["a", "ab", "abc", "b", long, long + "x", "ß"]
    for fold in (False, True):
        index = HandlerIndex([handler(n, "order", begins(("file", "path"), start, fold)) for n, start in enumerate(starts)])

        def selected(path: JSON, index: HandlerIndex = index) -> list[int]:
            return list(verdicts(index, "order", {"file": {"path": path}}))

        assert selected("abcd") == [0, 1, 2]
        assert selected("ab") == [0, 1]
        assert selected("") == selected("xab") == selected(5) == selected(None) == selected(["abc"]) == []
        assert selected("ABC") == ([0, 1, 2] if fold else [])
        assert selected("SSx") == ([6] if fold else [])
        assert selected(long + "y") == [4, 5]  # what differs later than that is not told apart, but asked
        assert verdicts(index, "order", {"file": {"path": long + "y"}}) == {4: "fired", 5: "false"}
        assert list(verdicts(index, "order", {"FILE": {"Path": "b"}})) == ([3] if fold else [])


def test_one_of_some_values() -> None:
    many = [str(number) + "x" for number in range(MAX_KEYS + 1)]
    index = HandlerIndex(
        [
            handler(1, "order", one_of(("a",), "X", "y", "x")),
            handler(2, "order", one_of(("A",), "Y")),
            handler(3, "order", one_of(("A",), *many)),
        ]
    )
    assert verdicts(index, "order", {"a": "x"}) == {1: "fired", 3: "false"}
    assert verdicts(index, "order", {"a": "Y"}) == {1: "fired", 2: "fired", 3: "false"}
    assert verdicts(index, "order", {"A": "7X"}) == {3: "fired"}
    index.remove(handler(1))
    assert verdicts(index, "order", {"a": "y"}) == {2: "fired", 3: "false"}


def test_the_most_selective_test_is_taken() -> None:
    """Of what is known: how many lie there already; then equalities before beginnings, long ones before short ones."""
    index = HandlerIndex()
    for number in range(50):
        parts: list[TracedFilter] = [begins(("path",), "/", True), begins(("path",), f"/in/{number}/", True)]
        if number >= 25:
            parts = [one_of(("kind",), "file"), *parts]
        index.add(handler(number, "order", And(parts)))
    found = verdicts(index, "order", {"kind": "file", "path": "/in/7/x"})
    assert {number for number, verdict in found.items() if verdict == "fired"} == {7}
    assert len(found) <= 2


TYPES = ["order", "order.new", "mail", "o*", "*", "order.*", "*.new"]
LITERALS = ["1", "'1'", "0", "''", "true", "false", "null", "'a'", "'1,2'", "1.5"]
MEMBERS = ["$.a", "$.b", "$.a.b", "$.a[0]", "$.b.c", "$.a?.b", "$.a.length"]
tests = st.builds(
    "{} {} {}".format, st.sampled_from(MEMBERS), st.sampled_from(["==", "===", "!=", ">"]), st.sampled_from(LITERALS)
)
conjunctions = st.lists(tests, min_size=1, max_size=3).map(" && ".join)
conditions = conjunctions | st.builds("{} || {}".format, tests, tests) | st.builds("!({})".format, tests) | st.just("$.a")
plain = st.sampled_from(
    [None, True, False, 0, 1, 1.5, "", "1", "a", "1,2", " 1 ", "\U0001f600", "A", "ab", "AB", "ß", "ss", "Sst"]
)
names = st.sampled_from(["a", "b", "c", "0", "toString", "A", "B"])
values = st.recursive(plain, lambda v: st.lists(v, max_size=2) | st.dictionaries(names, v, max_size=3), max_leaves=4)
payloads = st.dictionaries(st.sampled_from(["a", "b", "A", "B"]), values, max_size=3) | values
paths = st.sampled_from([("a",), ("B",), ("a", "b"), ("A", "b")])
some_texts = st.sampled_from(["a", "AB", "1", "ss", "\u1e9e", "\U0001f600"])
leaves: st.SearchStrategy[TracedFilter] = (
    st.builds(one_of, paths, some_texts)
    | st.builds(one_of, paths, some_texts, some_texts)
    | st.builds(begins, paths, some_texts, st.booleans())
    | st.builds(
        lambda path, pattern, fold: Matches(path, pattern, fold=fold),
        paths,
        st.sampled_from(["a", "A*", "a?", "*"]),
        st.booleans(),
    )
    | st.builds(lambda path, value: Compare(path, "=", value), paths, plain)
)
neutral: st.SearchStrategy[TracedFilter] = (
    st.lists(leaves, min_size=1, max_size=3).map(And) | st.lists(leaves, min_size=1, max_size=2).map(Or) | leaves.map(Not)
)
made = st.builds(
    lambda types, condition, active: (types, condition, active),
    st.lists(st.sampled_from(TYPES), min_size=1, max_size=2),
    st.none() | conditions | neutral,
    st.booleans() | st.just(True),
)


@given(st.lists(made, max_size=12), st.sampled_from(["order", "order.new", "mail", "x"]), payloads, st.data())
@examples(400)
def test_the_index_comes_to_what_asking_everyone_does(
    definitions: list[tuple[list[str], str | Filter | None, bool]], event_type: str, payload: JSON, data: st.DataObject
) -> None:
    """After any changes: what fires when asked directly is selected and fires; every decision is what asking gives."""
    handlers = [handler(n, " ".join(types), source, active=active) for n, (types, source, active) in enumerate(definitions)]
    index = HandlerIndex(handlers)
    for one in handlers:
        if data.draw(st.booleans()):
            index.remove(one)
            if data.draw(st.booleans()):
                index.add(one)
    live = list(index)
    decisions = {decision.handler.id: decision for decision in decide(index, event_type, payload)}
    assert list(decisions) == sorted(decisions)
    for one in live:
        expected = asked_directly(one, event_type, payload)
        if expected.verdict == "fired":
            assert decisions[one.id].verdict == "fired"
        if one.id in decisions:
            assert decisions[one.id] == expected
        else:
            assert expected.verdict != "fired"
            # Only a test of an index or the type can rule a handler out.
            assert expected.verdict in ("type differs", "inactive") or one.filter.equalities or one.filter.prefixes


@given(neutral, payloads)
@examples(400)
def test_what_a_filter_says_of_itself_holds_whenever_it_passes(condition: TracedFilter, payload: JSON) -> None:
    assert condition.test(payload).passed == condition.passes(payload)
    if not condition.passes(payload):
        return
    for equality in condition.equalities:
        keys = {folded_key(value) if equality.fold else index_key(value) for value in values_at(payload, equality)}
        assert keys & {equality.key, *equality.others}
    for prefix in condition.prefixes:
        texts = [value.casefold() if prefix.fold else value for value in values_at(payload, prefix) if isinstance(value, str)]
        assert any(text.startswith(prefix.text) for text in texts)


def values_at(payload: JSON, test: Equality | Prefix) -> list[JSON]:
    found = [payload]
    for step in test.path:
        found = [
            item
            for value in found
            if isinstance(value, dict)
            for name, item in value.items()
            if (name.casefold() if test.fold else name) == step
        ]
    return found


@pytest.mark.parametrize("by", ["equality", "beginning"])
def test_handlers_that_do_not_match_cost_nothing(by: str) -> None:
    """Counted in filters asked, not in seconds."""
    asked: list[int] = []

    class Counting:
        def __init__(self, number: int) -> None:
            self.number = number
            self.equalities = compile_condition("$.kind == 'a'").equalities
            self.prefixes: tuple[Prefix, ...] = ()
            if by == "equality":
                self.equalities += compile_condition(f"$.customer == {number}").equalities
            else:
                self.prefixes = (Prefix(("path",), f"/in/{number}/", True),)

        def passes(self, payload: JSON, context: Any = None) -> bool:
            asked.append(self.number)
            return bool(payload["customer"] == self.number)

        def test(self, payload: JSON, context: Any = None) -> FilterVerdict:
            return FilterVerdict(payload["customer"] == self.number)

    index = HandlerIndex(
        Handler(id=n, ns="n", name="h", types=("order" if n % 2 else "mail",), filter=Counting(n)) for n in range(20_000)
    )
    decisions = match(index, "order", {"kind": "a", "customer": 777, "PATH": "/IN/777/x", "more": list(range(50))})
    assert 777 in asked
    assert len(asked) <= 2  # the first handler of a type may lie under the test that all share
    assert [d.handler.id for d in decisions if d.verdict == "fired"] == [777]
    with at_most(1):
        for n in range(1000):
            index.add(Handler(id=100_000 + n, ns="n", name="h", types=("order",), filter=Counting(n)))


def test_a_view_is_not_made_where_nothing_looks_at_it() -> None:
    def view(language: str) -> JSON:
        raise AssertionError(language)

    index = HandlerIndex([handler(2, "order"), handler(1, "ord*")])
    assert [found.handler.id for found in decide(index, "order", {}, view=view)] == [1, 2]
