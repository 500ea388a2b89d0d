"""The budget of descendants: how many events and runs may go back to one event or run within a day.

The number of hops ends a chain, but a circle with two arms doubles with each round, and would go through 2^32 events before that.
So what has an ancestor (see `Run.passes_on`) is counted where more can follow from it: events that handlers act on, runs that are
started by runs, and signals that runs send to one another. Runs that the handlers of an event start are in the count of the
event. What nobody has caused, or what was caused directly from outside, is not counted and costs nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from pelton.kernel.model.signals import EventArrived, Merge, Report, Signal, Start, Trigger
from pelton.kernel.model.state import Run
from pelton.kernel.model.transition import StartRun
from pelton.runtime.commit.suspend import Suspend
from pelton.runtime.commit.workspace import Workspace
from pelton.runtime.ids import IdCodec
from pelton.store.rows import DescendantsRow
from pelton.telemetry.spans import Spans

SENT = (EventArrived, Merge, Report, Trigger)  # signals that a definition sends; others say what has become of a run


class Descent(NamedTuple):
    """A descendant that a unit of work has counted. `number`: how many of that ancestor, with this one."""

    ns: str
    ancestor: int
    number: int


class Counting(Protocol):
    """The part of a unit of work that is used here."""

    @property
    def workspace(self) -> Workspace: ...
    @property
    def now(self) -> int: ...
    @property
    def begins(self) -> int:
        """The event that is recorded with it."""
        ...

    @property
    def made(self) -> Mapping[int, object]:
        """The runs that begin with it."""
        ...

    @property
    def descended(self) -> list[Descent]: ...


def count(unit: Counting, ns: str, ancestor: int) -> str:
    """Counts one more descendant; returns why it is one too many, "" if it is not. Raises Suspend if the count must be read."""
    if not ancestor:
        return ""
    descendants, place = unit.workspace.descendants, (ns, ancestor)
    known = descendants.count(place, unit.now)
    if known is None and (ancestor == unit.begins or -ancestor in unit.made):
        known = descendants.begin(place)
    if known is None:
        raise Suspend(fetch=lambda: descendants.read(place))
    here = next((each.number for each in reversed(unit.descended) if each[:2] == place), 0)  # mostly the last one
    if known + here >= descendants.limit:
        return (
            f"{named(unit.workspace.codec, ancestor)} has led to {known + here} events and runs within a day; the limit is "
            f"{descendants.limit}. Check the handlers and definitions for a loop, or raise --most-descendants"
        )
    unit.descended.append(Descent(ns, ancestor, here + 1))
    return ""


def sent(unit: Counting, ns: str, ancestor: int, signal: Signal) -> str:
    """Counts a signal that one run sends to another, in a commit of its own."""
    return count(unit, ns, ancestor) if isinstance(signal, SENT) else ""


def rows(unit: Counting) -> list[DescendantsRow]:
    net = {each[:2]: each.number for each in unit.descended}
    return [DescendantsRow(ns, ancestor, number, unit.now) for (ns, ancestor), number in net.items()]


def named(codec: IdCodec, ancestor: int) -> str:
    """An ancestor, for people."""
    return f"{'event' if ancestor > 0 else 'run'} {codec.ancestor_id(ancestor)}"


def start_of(sender: Run, effect: StartRun, ancestor: int, spans: Spans) -> Start:
    """The start of a run that another one causes. `ancestor`: of what is done in this unit, 0 = that of the sender."""
    return Start(
        strict=False,
        key=effect.key,
        ns=sender.ns,
        definition=effect.definition,
        input=effect.input,
        meta=effect.meta,
        parent=sender.key if effect.n or effect.linked else 0,
        parent_n=effect.n,
        root=sender.root if effect.n or effect.linked else 0,
        hops=sender.hops + 1,
        trigger=effect.trigger,
        origin=(sender.key, effect.origin) if effect.origin else (0, 0),
        ancestor=ancestor or sender.passes_on,
        trace=spans.of_run(sender.trace, sender.key),
    )
