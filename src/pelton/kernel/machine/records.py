"""A run's record: the one document that it keeps about itself, with every value it has ever had.

The language decides what is in it and which changes are allowed, in pure functions (`process.Records`). This module decides when
they are called, and what follows from a new value: the previous one is superseded, the attributes by which the run is found
change with it, and the run's parent counts its children anew.

Invariants: `since` rises strictly within a run, and values of one instant are one value; a value that equals the previous one is
not a new value; a finished run's record changes only by `Amend` and `Retire`, which open a new era of the run.
Cost: one read of the record per signal (none while it is in memory), one row written per new value.
"""

from __future__ import annotations

from collections.abc import Mapping
from operator import is_
from typing import Any, NamedTuple

from msgspec import json

from pelton.errors import Code
from pelton.kernel.machine.draft import Draft, Moment, Refusal
from pelton.kernel.machine.scene import Scene
from pelton.kernel.model.process import Records
from pelton.kernel.model.reads import RecordKey
from pelton.kernel.model.signals import Amend, Count, Retire, Trigger
from pelton.kernel.model.state import END, Record, RunStatus
from pelton.kernel.model.transition import UNSET, RecordChange, SignalRun

COUNTER = "#"  # prefix of the variables that count children
COMING = ""  # children that have been announced and have not started yet are counted as this


class Loaded(NamedTuple):
    """The record before this draft, and the rules by which the run was found."""

    record: Record | None
    rules: Records


def record_rules(draft: Draft) -> Records:
    rules = draft.process.records
    if rules is None:
        raise Refusal(Code.INVALID, f"runs of {draft.process.name!r} keep no record")
    return rules


def current_record(draft: Draft) -> Record | None:
    """The record as this draft has it so far."""
    if draft.record_change is not None:
        return draft.record_change.record
    if draft.created:
        return None
    found: Record | None = draft.reads.answer(RecordKey())
    return found


def write_record(draft: Draft, body: Any, moment: Moment) -> None:
    """Writes a new value, unless it is the same as before."""
    old = current_record(draft)
    if old is not None and same(old.body, body):
        return
    rules = record_rules(draft)
    record_change = draft.record_change
    if record_change is None:
        record_change = draft.record_change = RecordChange(Loaded(old, rules))
    live = rules.live(body)
    if old is None:
        record_change.record = Record(draft.head.key, moment.stamp, 1, live, body)
    elif old is not record_change.loaded.record and old.since >= moment.stamp:  # made by this same draft
        if record_change.loaded.record is not None and same(record_change.loaded.record.body, body):
            draft.record_change = None  # and taken back
        else:
            record_change.record = Record(old.run, old.since, old.number, live, body)
    else:
        since = max(moment.stamp, old.since + 1)
        record_change.past.append((old, since))
        record_change.record = Record(old.run, since, old.number + 1, live, body)


def same(old: Any, new: Any) -> bool:
    """As documents: True is not 1 there, nor is 1 the number 1.0, which Python takes for equal."""
    return old is new or (old == new and json.encode(old, order="sorted") == json.encode(new, order="sorted"))


def delete_record(draft: Draft) -> None:
    """Ends the record: there is none from now on."""
    old = current_record(draft)
    if old is None:
        raise Refusal(Code.NOT_FOUND, "the run's record has been deleted")
    record_change = draft.record_change = draft.record_change or RecordChange(Loaded(old, record_rules(draft)))
    stamp = draft.moment.stamp if draft.moment is not None else draft.reads.stamp
    record_change.past.append((old, max(stamp, old.since + 1)))
    record_change.record, record_change.gone = None, True


def change_record(draft: Draft, changes: Mapping[str, Any], moment: Moment) -> None:
    """Applies changes by the language's rules. Raises Refusal."""
    rules = record_rules(draft)
    old = current_record(draft)
    if old is None:
        raise Refusal(Code.NOT_FOUND, "the run's record has been deleted")
    write_record(draft, rules.change(old.body, changes, moment), moment)


def start_record(draft: Draft, scene: Scene) -> None:
    write_record(draft, record_rules(draft).begin(scene), scene.moment)


def follow_status(draft: Draft) -> None:
    """Where the run has ended, or goes on after its end, the record says so too, by the language's rules."""
    before = draft.reads.head()
    follows = record_rules(draft).follows
    if follows is None or (draft.head.status < RunStatus.COMPLETED and (before is None or before.status < RunStatus.COMPLETED)):
        return
    record = current_record(draft)
    if record is not None and (before is None or before.status != draft.head.status):
        moment = draft.moment or Moment(draft.now, draft.reads.stamp)
        write_record(draft, follows(record.body, draft.head.status, reason_of_end(draft), moment), moment)


def reason_of_end(draft: Draft) -> str:
    return next((step.reason for step in draft.ended.values() if step.slot == END), "")


def apply_count(draft: Draft, signal: Count) -> None:
    """Counts children in and out. An ended run keeps counting, since it may be looked at and rewound. A count may pass below
    zero: the message about what a child was may arrive after the one about what it is now."""
    for name, by in signal.changes.items():
        count_child(draft, name, by)


def count_child(draft: Draft, kind: str, by: int) -> None:
    found = draft.var(0, COUNTER + kind)
    number = (found[0] if found is not None else 0) + by
    draft.variables[0, COUNTER + kind] = number if number else UNSET


def moment_of(draft: Draft, signal: Trigger | Amend | Retire) -> Moment:
    return Moment(draft.now, draft.reads.stamp, signal.actor, signal.request)


def is_linked(parent: int, parent_n: int) -> bool:
    """Whether a run is a child that no step waits for: its parent counted it before it started."""
    return parent != 0 and parent_n == 0


def same_attributes(was: Records, rules: Records, old: Any, new: Any) -> bool:
    """Whether the run has the same attributes as before, decided without computing them."""
    return rules is was and rules.basis is not None and all(map(is_, rules.basis(old), rules.basis(new)))


def settle_record(draft: Draft) -> None:
    """Sets what follows from the record's new value: the attributes of the run, and the counts of its parent."""
    head, record_change, rules = draft.head, draft.record_change, draft.process.records
    changes: dict[str, int] = {COMING: -1} if draft.created and is_linked(head.parent, head.parent_n) else {}
    if record_change is not None and rules is not None:
        old, new = record_change.loaded.record, record_change.record
        if old is None or new is None or not same_attributes(record_change.loaded.rules, rules, old.body, new.body):
            before = dict.fromkeys(record_change.loaded.rules.attributes(old.body)) if old is not None else {}
            if new is not None:
                after = dict.fromkeys(rules.attributes(new.body))
            else:
                after = {each: None for each in before if each[0] in rules.lasting}
            record_change.attributes = [(*each, False) for each in before if each not in after]
            record_change.attributes += [(*each, True) for each in after if each not in before]
        if rules.announced is not None and new is not None:
            for kind, data in rules.announced(old.body if old is not None else None, new.body):
                draft.announce(kind, 0, data)
        if head.parent and rules.counted is not None:
            was = rules.counted(old.body) if old is not None else ""
            now = rules.counted(new.body) if new is not None else ""
            if was != now:
                changes |= ({was: -1} if was else {}) | ({now: 1} if now else {})
    if changes:
        draft.effects.append(SignalRun(head.parent, Count(changes=changes, strict=False)))


def never_started() -> Count:
    """To the parent of a linked child whose start was refused."""
    return Count(changes={COMING: -1}, strict=False)
