"""Trace contexts as W3C has them: which trace something belongs to, and what in it came before. They are taken from requests,
events and messages, kept with what follows from them, and passed on.

A context is one text, so that a row of the store has one more field: the `traceparent`, and after a space the `tracestate`, if
there is one; "" is none. What is not valid is none: a trace is never a reason to refuse anything.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

TRACEPARENT = "traceparent"
TRACESTATE = "tracestate"
MOST_STATE = 512  # characters, as every system must pass on
MOST_MEMBERS = 32
SAMPLED = 1
FLAGS = 3  # those with a meaning: sampled, random trace id

_PARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII)
_KEY = r"[a-z0-9][a-z0-9_\-*/]{0,255}(@[a-z][a-z0-9_\-*/]{0,13})?"
_VALUE = r"[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
_MEMBER = re.compile(f"{_KEY}={_VALUE}")


def context(parent: object, state: object = "") -> str:
    """The context of these two, "" if the first is not valid. A version to come is read as far as it is known."""
    found = _PARENT.fullmatch(parent.strip(" \t")) if isinstance(parent, str) and len(parent) <= MOST_STATE else None
    if found is None:
        return ""
    version, trace, span, flags, rest = found.groups()
    if version == "ff" or (version == "00" and rest) or not trace.strip("0") or not span.strip("0"):
        return ""
    members = _members(state) if isinstance(state, str) else ""
    return f"00-{trace}-{span}-{int(flags, 16) & FLAGS:02x}" + (f" {members}" if members else "")


def _members(state: str) -> str:
    """A trace state that can be passed on, "" if it is not valid."""
    members = [each for part in state.split(",") if (each := part.strip(" \t"))]
    if not members or len(members) > MOST_MEMBERS or not all(map(_MEMBER.fullmatch, members)):
        return ""
    keys = {each.partition("=")[0] for each in members}
    text = ",".join(members)
    return text if len(keys) == len(members) and len(text) <= MOST_STATE else ""


def from_headers(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The context of a request; header names are in lower case. Two parents are none; several states are one list."""
    parent, states = None, []
    for name, value in headers:
        if name == b"traceparent":
            if parent is not None:
                return ""
            parent = value.decode("latin-1")
        elif name == b"tracestate":
            states.append(value.decode("latin-1"))
    return context(parent, ",".join(states)) if parent is not None else ""


def from_mapping(found: Mapping[str, object]) -> str:
    """The context of a message's headers or of an event's attributes, whatever the case of their names."""
    parent = found.get(TRACEPARENT)
    if parent is not None:
        return context(parent, found.get(TRACESTATE, ""))
    lower = {name.lower(): value for name, value in found.items()}
    return context(lower.get(TRACEPARENT), lower.get(TRACESTATE, ""))


def headers_of(trace: str) -> dict[str, str]:
    """As a system takes it that has headers or attributes; nothing without a trace."""
    if not trace:
        return {}
    parent, _, state = trace.partition(" ")
    return {TRACEPARENT: parent, TRACESTATE: state} if state else {TRACEPARENT: parent}


def passed_on(headers: Mapping[str, str], trace: str) -> Mapping[str, str]:
    """The headers with the context, unless they have one of their own."""
    if not trace or any(name.lower() == TRACEPARENT for name in headers):
        return headers
    return {**headers, **headers_of(trace)}


def trace_id(trace: str) -> str:
    return trace[3:35]


def span_id(trace: str) -> str:
    return trace[36:52]


def flags_of(trace: str) -> int:
    return int(trace[53:55], 16)


def with_span(trace: str, span: str) -> str:
    """The context of a span in the same trace."""
    return f"{trace[:36]}{span}{trace[52:]}"
