"""A run's record: the one document that it keeps about itself, with every value that it ever had.

What is in it, and which changes are allowed, is the language's to say, in pure functions (`process.Records`). Here is when they
are asked, and what follows from a new value: the one before is superseded, what the run can be found by changes with it, and the
run's parent counts its children anew.

Invariants: `since` rises strictly within a run, and values of one instant are one value; a value that equals the one before is no
new value; a finished run's record changes only by `Amend` and `Retire`, which open a new era of the run.
Cost: one read of the record per signal (none while it is in memory), one row written per new value.
"""

from __future__ import annotations

from collections.abc import Mapping
from operator import is_
from typing import Any, NamedTuple

from msgspec import json

from pelton.errors import Code
from pelton.kernel.machine.draft import Moment, Refusal, Turn
from pelton.kernel.machine.scene import Scene
from pelton.kernel.model.process import Records
from pelton.kernel.model.reads import RecordKey
from pelton.kernel.model.signals import Count
from pelton.kernel.model.state import Record
from pelton.kernel.model.transition import UNSET, Book, SignalRun

COUNTER = "#"  # begins the names of variables that count children
COMING = ""  # what children are counted as that are to begin and have not yet


class Loaded(NamedTuple):
    """What the record was before this turn, and the rules that say by what the run was found."""

    record: Record | None
    rules: Records


def rules_of(turn: Turn) -> Records:
    rules = turn.process.records
    if rules is None:
        raise Refusal(Code.INVALID, f"runs of {turn.process.name!r} keep no record")
    return rules


def current(turn: Turn) -> Record | None:
    """The record as this turn has it so far."""
    if turn.book is not None:
        return turn.book.record
    if turn.created:
        return None
    found: Record | None = turn.facts.answer(RecordKey())
    return found


def write(turn: Turn, body: Any, moment: Moment) -> None:
    """A new value, unless it is the same as before."""
    old = current(turn)
    if old is not None and same(old.body, body):
        return
    rules = rules_of(turn)
    book = turn.book
    if book is None:
        book = turn.book = Book(Loaded(old, rules))
    live = rules.live(body)
    if old is None:
        book.record = Record(turn.head.key, moment.stamp, 1, live, body)
    elif old is not book.loaded.record and old.since >= moment.stamp:  # made in this very turn
        if book.loaded.record is not None and same(book.loaded.record.body, body):
            turn.book = None  # and taken back
        else:
            book.record = Record(old.run, old.since, old.number, live, body)
    else:
        since = max(moment.stamp, old.since + 1)
        book.past.append((old, since))
        book.record = Record(old.run, since, old.number + 1, live, body)


def same(old: Any, new: Any) -> bool:
    """As documents: True is not 1 there, nor is 1 the number 1.0, which Python takes for equal."""
    return old is new or (old == new and json.encode(old, order="sorted") == json.encode(new, order="sorted"))


def gone(turn: Turn) -> None:
    """There is no record from now on."""
    old = current(turn)
    if old is None:
        raise Refusal(Code.NOT_FOUND, "the run's record has been deleted")
    book = turn.book = turn.book or Book(Loaded(old, rules_of(turn)))
    stamp = turn.moment.stamp if turn.moment is not None else turn.facts.stamp
    book.past.append((old, max(stamp, old.since + 1)))
    book.record, book.gone = None, True


def change(turn: Turn, changes: Mapping[str, Any], moment: Moment) -> None:
    """The language's rules say what the changes come to. Raises Refusal."""
    rules = rules_of(turn)
    old = current(turn)
    if old is None:
        raise Refusal(Code.NOT_FOUND, "the run's record has been deleted")
    write(turn, rules.change(old.body, changes, moment), moment)


def begin_record(turn: Turn, scene: Scene) -> None:
    write(turn, rules_of(turn).begin(scene), scene.moment)


def count(turn: Turn, signal: Count) -> None:
    """Counts children in and out. An ended run counts on: it may be looked at, and taken back. Below nothing too: what a child
    was may come to be known after what it is now."""
    for name, by in signal.changes.items():
        add(turn, name, by)


def add(turn: Turn, kind: str, by: int) -> None:
    found = turn.var(0, COUNTER + kind)
    number = (found[0] if found is not None else 0) + by
    turn.variables[0, COUNTER + kind] = number if number else UNSET


def linked(parent: int, parent_n: int) -> bool:
    """Whether a run is a child that nobody waits for: its parent has counted it before it began."""
    return parent != 0 and parent_n == 0


def unmoved(was: Records, rules: Records, old: Any, new: Any) -> bool:
    """Whether the run is found by the same as before, told without asking by what."""
    return rules is was and rules.basis is not None and all(map(is_, rules.basis(old), rules.basis(new)))


def close_book(turn: Turn) -> None:
    """What follows from the record's new value: by what the run is found, and what its parent counts."""
    head, book, rules = turn.head, turn.book, turn.process.records
    changes: dict[str, int] = {COMING: -1} if turn.created and linked(head.parent, head.parent_n) else {}
    if book is not None and rules is not None:
        old, new = book.loaded.record, book.record
        if old is None or new is None or not unmoved(book.loaded.rules, rules, old.body, new.body):
            before = dict.fromkeys(book.loaded.rules.attributes(old.body)) if old is not None else {}
            if new is not None:
                after = dict.fromkeys(rules.attributes(new.body))
            else:
                after = {each: None for each in before if each[0] in rules.lasting}
            book.attributes = [(*each, False) for each in before if each not in after]
            book.attributes += [(*each, True) for each in after if each not in before]
        if head.parent and rules.counted is not None:
            was = rules.counted(old.body) if old is not None else ""
            now = rules.counted(new.body) if new is not None else ""
            if was != now:
                changes |= ({was: -1} if was else {}) | ({now: 1} if now else {})
    if changes:
        turn.effects.append(SignalRun(head.parent, Count(changes=changes, strict=False)))


def never_begun() -> Count:
    """To the parent of a linked child whose start was refused."""
    return Count(changes={COMING: -1}, strict=False)
