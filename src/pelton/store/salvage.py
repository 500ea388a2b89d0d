"""Rows that cannot be read, as far as their columns say what they are: one of them must not hide the others in a list.

What the engine acts on is read strictly, and not through this module; of definitions and secrets, which many rely on, only what
uses such a row fails.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import structlog

from pelton.kernel.model.state import OpenStep, Record, Run, Step, StepAttempt
from pelton.store.packing import (
    UNFIT,
    decode_any,
    decode_attempt,
    decode_dead,
    decode_definition,
    decode_event,
    decode_held,
    decode_run,
    decode_secret,
)
from pelton.store.rows import DeadLetter, DefinitionRow, EventRow, HeldRow, SecretRow

UNREADABLE = "unreadable"  # an attribute of an event, or a member of a record, that cannot be read whole: why
NO_STATUS = -1  # of a step that cannot be read

log = structlog.get_logger("pelton.store")


class RunColumns(NamedTuple):
    ns: str
    status: int
    created: int
    ended: int


class DefinitionColumns(NamedTuple):
    id: int
    ns: str
    kind: str
    name: str
    version: int
    since: int
    hash: bytes


def run_from(key: int, head: bytes, columns: Any) -> Run:
    """`columns`: gives the run's RunColumns."""
    try:
        return decode_run(head)
    except UNFIT as error:
        log.error("a stored run cannot be read", run=key, error=str(error))
        ns, status, created, ended = columns(key)
        return Run(key, ns, 0, status=status, created=created, ended=ended)


def unreadable_step(run: int, n: int, slot: str, error: Exception) -> Step:
    log.error("a stored step cannot be read", run=run, n=n, error=str(error))
    return Step(run, n, slot, NO_STATUS, reason=f"the stored step cannot be read: {error}")


def unreadable_open(run: int, n: int, slot: str, error: Exception) -> OpenStep:
    log.error("a stored open step cannot be read", run=run, n=n, error=str(error))
    return OpenStep(run, n, slot, NO_STATUS, reason=f"the stored step cannot be read: {error}")


def attempt_from(run: int, n: int, number: int, body: bytes) -> StepAttempt:
    try:
        return decode_attempt(body)
    except UNFIT as error:
        log.error("a stored attempt cannot be read", run=run, n=n, number=number, error=str(error))
        return StepAttempt(run, n, number, status=NO_STATUS, message=f"the stored attempt cannot be read: {error}")


def record_from(run: int, since: int, number: int, live: bool, body: bytes, strict: bool = False) -> Record:
    """`strict`: for somebody who acts on it. Raises then what msgspec raises."""
    try:
        return Record(run, since, number, live, decode_any(body))
    except UNFIT as error:
        if strict:
            raise
        log.error("a stored record cannot be read", run=run, error=str(error))
        return Record(run, since, number, live, {UNREADABLE: f"the stored record cannot be read: {error}"})


def definition_from(columns: DefinitionColumns, until: int, body: bytes) -> DefinitionRow:
    """Of no language, if it cannot be read: whoever uses it is told so."""
    try:
        found = decode_definition(body)
    except UNFIT as error:
        log.error("a stored definition cannot be read", id=columns.id, kind=columns.kind, name=columns.name, error=str(error))
        number, ns, kind, name, version, since, digest = columns
        found = DefinitionRow(number, ns, kind, "", name, version, b"", digest, since)
    found.until = until
    return found


def secret_from(ns: str, name: str, body: bytes) -> SecretRow:
    """Without a value, if it cannot be read: it can be set anew, or removed."""
    try:
        return decode_secret(body)
    except UNFIT as error:
        log.error("a stored secret cannot be read", ns=ns, name=name, error=str(error))
        return SecretRow(ns, name, b"", 0, source=UNREADABLE)


def event_from(key: int, ns: str, type_: str, body: bytes, outcome: bytes) -> EventRow:
    """An event from its row."""
    try:
        event = decode_event(body)
    except UNFIT as error:
        log.error("a stored event cannot be read", key=key, error=str(error))
        event = EventRow(
            key=key, ns=ns, source="", event_id="", type=type_, subject="", time=0, received=0, body=None,
            attributes={UNREADABLE: str(error)}, hash=b"", handlers=0, decisions=[], effects=[], state="failed",
        )  # fmt: skip
    try:
        event.decisions, event.effects, event.state = decode_any(outcome)
    except UNFIT as error:
        log.error("what was decided about a stored event cannot be read", key=key, error=str(error))
        event.attributes = {**event.attributes, UNREADABLE: str(error)}
        event.decisions, event.effects, event.state = [], [], "failed"
    return event


def held_from(id: int, ns: str, run: int, name: str, key: str, posted: int, expires: int, body: bytes) -> HeldRow:
    """Only for lists, and for its end: what a run takes is whole."""
    try:
        return decode_held(body)
    except UNFIT as error:
        log.error("a stored event that is held cannot be read", id=id, error=str(error))
        return HeldRow(id, ns, run, name, key, None, -1, -1, posted, expires, None, "")


def dead_from(number: int, ns: str, body: bytes) -> DeadLetter:
    try:
        letter = decode_dead(body)
    except UNFIT as error:
        log.error("a stored dead letter cannot be read", number=number, error=str(error))
        letter = DeadLetter(0, ns, "", "", "", body, {}, f"the stored letter cannot be read: {error}", 0, 0)
    letter.number = number
    return letter
