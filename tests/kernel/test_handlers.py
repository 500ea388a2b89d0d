from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pelton.kernel.expressions.base import JSON, Evaluation, Outcome, Unanswered
from pelton.kernel.expressions.conditions import compile_condition
from pelton.kernel.expressions.filters import And, Compare, Matches, Parameter
from pelton.kernel.expressions.filters import Verdict as FilterVerdict
from pelton.kernel.expressions.javascript import Sandbox, run
from pelton.kernel.handlers import Decision, Handler, HandlerIndex, explain, match

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


def handler(number: int, types: str = "order", condition: str | None = None, **more: Any) -> Handler:
    condition_filter = compile_condition(condition) if condition is not None else None
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
    index.add(Handler(id=100, ns="n", name="p", types=("task",), filter=Parameter("go")))
    payload = {"state": "open", "owner": {"id": 7}, "name": "abc", "go": 1}
    found = verdicts(index, "task", payload)
    assert {number for number, verdict in found.items() if verdict == "fired"} == {7, 100}
    assert len(found) <= 4  # of the tests that all share, each has the first handler that came to it


TYPES = ["order", "order.new", "mail", "o*", "*", "order.*", "*.new"]
LITERALS = ["1", "'1'", "0", "''", "true", "false", "null", "'a'", "'1,2'", "1.5"]
MEMBERS = ["$.a", "$.b", "$.a.b", "$.a[0]", "$.b.c", "$.a?.b", "$.a.length"]
tests = st.builds(
    "{} {} {}".format, st.sampled_from(MEMBERS), st.sampled_from(["==", "===", "!=", ">"]), st.sampled_from(LITERALS)
)
conjunctions = st.lists(tests, min_size=1, max_size=3).map(" && ".join)
conditions = conjunctions | st.builds("{} || {}".format, tests, tests) | st.builds("!({})".format, tests) | st.just("$.a")
plain = st.sampled_from([None, True, False, 0, 1, 1.5, "", "1", "a", "1,2", " 1 ", "\U0001f600"])
names = st.sampled_from(["a", "b", "c", "0", "toString"])
values = st.recursive(plain, lambda v: st.lists(v, max_size=2) | st.dictionaries(names, v, max_size=3), max_leaves=4)
payloads = st.dictionaries(st.sampled_from(["a", "b"]), values, max_size=2) | values
made = st.builds(
    lambda types, condition, active: (types, condition, active),
    st.lists(st.sampled_from(TYPES), min_size=1, max_size=2),
    st.none() | conditions,
    st.booleans() | st.just(True),
)


@given(st.lists(made, max_size=12), st.sampled_from(["order", "order.new", "mail", "x"]), payloads, st.data())
@settings(max_examples=400, deadline=None)
def test_the_index_comes_to_what_asking_everyone_does(
    definitions: list[tuple[list[str], str | None, bool]], event_type: str, payload: JSON, data: st.DataObject
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
            # Only an equality test or the type can rule a handler out.
            assert expected.verdict in ("type differs", "inactive") or one.filter.equalities


def test_handlers_that_do_not_match_cost_nothing() -> None:
    """Counted in filters asked, not in seconds."""
    asked: list[int] = []

    class Counting:
        def __init__(self, number: int) -> None:
            self.number = number
            self.equalities = compile_condition(f"$.kind == 'a' && $.customer == {number}").equalities
            self.prefixes = ()

        def passes(self, payload: JSON, context: Any = None) -> bool:
            asked.append(self.number)
            return bool(payload["customer"] == self.number)

        def test(self, payload: JSON, context: Any = None) -> FilterVerdict:
            return FilterVerdict(payload["customer"] == self.number)

    index = HandlerIndex(
        Handler(id=n, ns="n", name="h", types=("order" if n % 2 else "mail",), filter=Counting(n)) for n in range(20_000)
    )
    decisions = match(index, "order", {"kind": "a", "customer": 777, "more": list(range(50))})
    assert 777 in asked
    assert len(asked) <= 2  # the first handler of a type may lie under the test that all share
    assert [d.handler.id for d in decisions if d.verdict == "fired"] == [777]
    started = time.process_time()
    for n in range(1000):
        index.add(Handler(id=100_000 + n, ns="n", name="h", types=("order",), filter=Counting(n)))
    assert time.process_time() - started < 1
