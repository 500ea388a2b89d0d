"""Trace contexts as W3C has them (https://www.w3.org/TR/trace-context/): what is taken, and what counts as none."""

from __future__ import annotations

import pytest

from pelton.telemetry.spans import NO_SPANS, Span, Spans
from pelton.telemetry.trace import MOST_STATE, context, from_headers, from_mapping, headers_of, passed_on, span_id, trace_id

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARENT = f"00-{TRACE}-{SPAN}-01"


@pytest.mark.parametrize(
    ("parent", "taken"),
    [
        (PARENT, PARENT),
        (f" {PARENT}\t", PARENT),
        (f"00-{TRACE}-{SPAN}-00", f"00-{TRACE}-{SPAN}-00"),
        (f"00-{TRACE}-{SPAN}-ff", f"00-{TRACE}-{SPAN}-03"),  # flags without a meaning are not passed on
        (f"cc-{TRACE}-{SPAN}-01", PARENT),
        (f"cc-{TRACE}-{SPAN}-01-what-is-to-come", PARENT),
        (f"cc-{TRACE}-{SPAN}-01.what", ""),
        (f"00-{TRACE}-{SPAN}-01-more", ""),
        (f"ff-{TRACE}-{SPAN}-01", ""),
        (f"00-{'0' * 32}-{SPAN}-01", ""),
        (f"00-{TRACE}-{'0' * 16}-01", ""),
        (f"00-{TRACE.upper()}-{SPAN}-01", ""),
        (f"00-{TRACE[:-1]}-{SPAN}-01", ""),
        (f"00-{TRACE}-{SPAN}-1", ""),
        (f"00-{TRACE}-{SPAN}", ""),
        ("", ""),
        ("nonsense", ""),
        (None, ""),
        (7, ""),
        (PARENT + "\n", ""),
        ("cc" + PARENT[2:] + "-" + "x" * 10_000, ""),
    ],
)
def test_a_parent_is_taken_or_counts_as_none(parent: object, taken: str) -> None:
    assert context(parent) == taken


@pytest.mark.parametrize(
    ("state", "kept"),
    [
        ("rojo=00f067aa0ba902b7", "rojo=00f067aa0ba902b7"),
        ("a=1 ,\tb=2,,", "a=1,b=2"),
        ("t61rcWkgMzE@v=x", ""),
        ("tenant@v=x y", "tenant@v=x y"),
        ("a=1,a=2", ""),
        ("a", ""),
        ("A=1", ""),
        ("a=b=c", ""),
        ("a=\x7f", ""),
        (",".join(f"k{n}=v" for n in range(33)), ""),
        ("a=" + "x" * 257, ""),
        (",".join(f"k{n}=" + "v" * 60 for n in range(10)), ""),
        ("", ""),
    ],
)
def test_a_state_is_kept_whole_or_not_at_all_and_harms_no_parent(state: str, kept: str) -> None:
    assert len(kept) <= MOST_STATE
    assert context(PARENT, state) == (f"{PARENT} {kept}" if kept else PARENT)


def test_headers_of_a_request() -> None:
    parent, state = (b"traceparent", PARENT.encode()), (b"tracestate", b"a=1")
    assert from_headers([parent, state, (b"tracestate", b"b=2"), (b"x", b"y")]) == f"{PARENT} a=1,b=2"
    assert from_headers([parent, parent]) == ""
    assert from_headers([state]) == ""
    assert from_headers([(b"traceparent", b"\xff")]) == ""


def test_names_of_messages_headers_have_any_case() -> None:
    assert from_mapping({"Traceparent": PARENT, "TRACESTATE": "a=1"}) == f"{PARENT} a=1"
    assert from_mapping({"traceparent": PARENT}) == PARENT
    assert from_mapping({"traceparent": 5}) == ""
    assert from_mapping({}) == ""


def test_a_context_is_passed_on_unless_there_is_one() -> None:
    assert headers_of(f"{PARENT} a=1") == {"traceparent": PARENT, "tracestate": "a=1"}
    assert headers_of(PARENT) == {"traceparent": PARENT}
    assert headers_of("") == {}
    assert passed_on({"x": "y"}, PARENT) == {"x": "y", "traceparent": PARENT}
    assert passed_on({"TraceParent": "mine"}, PARENT) == {"TraceParent": "mine"}


class Kept:
    def __init__(self) -> None:
        self.spans: list[Span] = []

    def root(self, name: str) -> str:
        return PARENT

    def report(self, span: Span) -> None:
        self.spans.append(span)

    async def close(self) -> None: ...


def test_a_thing_has_the_same_span_whenever_it_is_asked_for_and_none_where_nobody_collects() -> None:
    spans, parent = Spans(Kept()), f"{PARENT} a=1"
    own = spans.of_step(parent, 7, 3)
    assert own == spans.of_step(parent, 7, 3)
    assert trace_id(own) == TRACE
    assert own.endswith("-01 a=1")
    assert len({span_id(each) for each in (parent, own, spans.of_run(parent, 7), spans.of_step(parent, 7, 4))}) == 4
    assert spans.own("", "run", 7) == ""
    assert NO_SPANS.of_step(parent, 7, 3) == parent
    assert NO_SPANS.root("x") == ""
