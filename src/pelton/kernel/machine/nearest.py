"""Which of several steps of one name an expression means: the one that is nearest to where it is evaluated.

Threads, and loops inside them, have steps of the same names. Nearest is what stands in the own iteration; then in the one before;
then, outward, what stands in the loops and threads that own it, loops within them included; and only then the newest of the run.
In a run without threads the newest of the run is taken for the nearest, and nothing else is looked at. Among nodes that dynamic
forks made, those of the own fork come first.

Cost: a few reads for each loop and thread around the place, whatever the width of the run. Where several are missing they are
asked for at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from pelton.kernel.machine.draft import Draft, Token
from pelton.kernel.model.process import Scope
from pelton.kernel.model.reads import IterationKey, Missing
from pelton.kernel.model.state import THREADED, OpenStep, State, Step, Thread


class Surrounding(NamedTuple):
    """An iteration of a loop, or (`scope` <= 0, as in Token) a thread. `owner`: the loop's step; the one that started it."""

    scope: int
    it: int
    owner: OpenStep | Step | None


def surroundings(draft: Draft, row: OpenStep | Step | Token, inside: int = 0) -> Iterator[Surrounding]:
    """What is around a row, outward. `inside`: the row is a loop, and this the iteration of it to begin with."""
    if inside and not isinstance(row, Token):
        yield Surrounding(row.n, inside, row)
    scope, it = row.scope, row.it
    while scope:
        if scope > 0:
            owner = draft.step(scope)
        else:
            thread = draft.thread(-scope)
            by = started_by(thread) if thread is not None else 0
            owner = draft.step(by) if by else None
            if owner is None:
                yield Surrounding(scope, 0, None)
                scope, it = -max(thread.parent, 0) if thread is not None else 0, 0
                continue
        yield Surrounding(scope, it, owner)
        scope, it = (owner.scope, owner.it) if owner is not None else (0, 0)
    yield Surrounding(0, 0, None)


def started_by(thread: Thread) -> int:
    """The step at which a thread began, whether or not it waits for it; 0 = none."""
    return thread.owner or thread.handled or thread.starter


def nearest(draft: Draft, slot: str, row: OpenStep | Step | Token | None, inside: int = 0) -> OpenStep | Step | None:
    """The step of a slot that is meant at a row."""
    newest = draft.newest(slot)
    if newest is None or row is None:
        return newest
    if row.fragment and (mine := of_fragment(draft, slot, row, inside)) is not None:
        return mine
    if not draft.head.flags & THREADED:
        return newest
    if not inside and (newest.scope, newest.it) == (row.scope, row.it):
        return newest
    return first_of(draft, slot, row, inside, 0) or newest


def of_fragment(draft: Draft, slot: str, row: OpenStep | Step | Token, inside: int) -> OpenStep | Step | None:
    """The nearest step of a slot among those that the own fork made: others may have made steps of that name in its place."""
    fragment = row.fragment
    while (acquired := draft.fragment(fragment) if fragment else None) is not None and slot not in acquired.fragment.nodes:
        fragment = acquired.parent
    if acquired is None:
        return None
    for place in surroundings(draft, row, inside):
        found = draft.at(slot, place.scope, place.it)
        while found is not None and found.fragment != fragment:
            found = draft.below(slot, place.scope, place.it, found.n)
        if found is not None:
            return found
    return None


def nearest_of_iteration(
    draft: Draft, slot: str, it: int, row: OpenStep | Step | Token | None, inside: int = 0
) -> OpenStep | Step | None:
    """The step of a slot in iteration `it` of the loop that has it, of the nearest such loop."""
    if row is not None and draft.head.flags & THREADED:
        near = first_of(draft, slot, row, inside, it)
        if near is not None:
            return near
    mine = draft.of_iteration(slot, it)
    if mine is not None or draft.created:
        return mine
    found: OpenStep | Step | None = draft.reads.answer(IterationKey(slot, it))
    return found


def first_of(draft: Draft, slot: str, row: OpenStep | Step | Token, inside: int, it: int) -> OpenStep | Step | None:
    """The first that is found outward from a row. Where one place has not been read the next are looked up even so: all that may
    be needed is asked for together."""
    holders = holders_of(draft, slot, row)
    missing: list[Any] = []
    for place in surroundings(draft, row, inside):
        try:
            found = at_place(draft, slot, place, holders, it)
        except Missing as more:
            missing += more.keys
            continue
        if found is not None and not missing:
            return found
    if missing:
        raise Missing(*dict.fromkeys(missing))
    return None


def at_place(draft: Draft, slot: str, place: Surrounding, holders: list[str], it: int) -> OpenStep | Step | None:
    """The newest step of a slot in a place, or in the loops inside it. `holders`: the loops around the slot, innermost first."""
    loop = place.owner.slot if place.scope > 0 and place.owner is not None else ""
    if loop and loop not in holders:
        return None
    if (holders[0] if holders else "") == loop:
        if loop:
            return in_iteration(draft, slot, place.scope, it or place.it, bool(it))
        return draft.at(slot, place.scope, 0) if not it else None
    held = at_place(draft, holders[0], place, holders[1:], 0)
    if held is None or held.state != State.SCOPE:
        return None
    return in_iteration(draft, slot, held.n, it or held.k, bool(it))


def in_iteration(draft: Draft, slot: str, scope: int, it: int, exactly: bool) -> OpenStep | Step | None:
    """Of an iteration; or of the one before, for what has not run again yet."""
    found = draft.at(slot, scope, it)
    if found is not None or exactly or it < 2:
        return found
    return draft.at(slot, scope, it - 1)


def holders_of(draft: Draft, slot: str, row: OpenStep | Step | Token) -> list[str]:
    """The loops around a slot, innermost first, up to the thread's body."""
    acquired = draft.fragment(row.fragment) if row.fragment else None
    known = draft.process.holders
    if acquired is not None and slot in acquired.fragment.nodes:
        known = {**known, **acquired.fragment.holders}
    found: list[str] = []
    while (slot := known.get(slot, "")) and slot not in found:
        found.append(slot)
    return found


def loop_around(
    draft: Draft, slot: str, row: OpenStep | Step | Token | None, inside: int = 0
) -> tuple[OpenStep | Step | None, int]:
    """The nearest step of a loop, and its iteration: where the row is inside it, the one that the row belongs to."""
    if row is None or not draft.head.flags & THREADED:
        newest = draft.newest(slot)
        return newest, newest.k if newest is not None else 0
    if not isinstance(row, Token) and row.slot == slot:
        return row, inside or row.k
    for place in surroundings(draft, row, inside):
        owner = place.owner
        if owner is None or owner.slot != slot or owner.state != State.SCOPE:
            continue
        if place.scope > 0:
            return owner, place.it
        node = draft.node_of(owner)
        index = draft.var(-place.scope, "INDEX") if isinstance(node, Scope) and node.parallel else None
        return owner, index[0] + 1 if index and isinstance(index[0], int) else owner.k
    found = nearest(draft, slot, row, inside)
    return found, found.k if found is not None else 0
