"""The rows that the store holds in addition to runs, steps and records, as they are written and read. Their shape is stored data:
fields are only added at the end, each with a default.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from msgspec import Struct

from pelton.kernel.expressions.base import JSON
from pelton.kernel.model.reads import Held


class TimerRow(Struct, array_like=True, gc=False):
    run: int
    n: int
    arm: str
    epoch: int
    due: int


class HeldRow(Struct, array_like=True):
    """An event that arrived before a step was ready for it. `run` 0: held under the rendezvous (ns, name, key)."""

    id: int
    ns: str
    run: int
    name: str
    key: str
    body: JSON
    thread: int
    position: int
    posted: int
    expires: int
    report: JSON
    source: str
    keeps: bool = False

    def held(self) -> Held:
        """As the kernel reads it."""
        return Held(
            id=self.id,
            name=self.name,
            key=self.key,
            body=self.body,
            thread=self.thread,
            position=self.position,
            posted=self.posted,
            report=self.report,
            keeps=self.keeps,
        )


class KeptRow(Struct, array_like=True):
    """An event of a run that stays, whether taken or not. Unique by (run, name, ident) where it has an ident. Until it is taken
    there is a held row with its id; `taken`: when it was, by step `n` (0: by an interrupt)."""

    id: int
    ns: str
    run: int
    name: str
    ident: str
    body: JSON
    thread: int
    position: int
    posted: int
    expires: int
    source: str
    taken: int = 0
    n: int = 0


MOST_COPIES = 10_000  # listed of one sticky event


class StickyRow(Struct, array_like=True):
    """A keyed event that stays: each wait for (name, key), now or later, gets a copy, until it expires or is removed. There is
    one at a time. `once`: the first wait that gets it makes it go, with the others that wait at the moment of the post."""

    id: int
    ns: str
    name: str
    key: str
    body: JSON
    posted: int
    expires: int  # 0 = never
    source: str
    once: bool = False
    got: int = 0  # how many copies were given; as the store has it

    def held(self) -> Held:
        """As the kernel sees it."""
        return Held(self.id, self.name, self.key, self.body, -1, -1, self.posted, None, sticky=True, once=self.once)


class CopyRow(Struct, array_like=True, gc=False):
    """A copy of a sticky event, with an id of its own: which step has got it."""

    sticky: int
    id: int
    run: int
    n: int
    thread: int
    position: int  # -1 where positions are not counted
    at: int


class WaitKeyRow(Struct, array_like=True):
    ns: str
    name: str
    key: str
    run: int
    n: int
    opened: int = 0  # since when; who waits longest is served first


class QueueLimit(NamedTuple):
    """How much of a queue may be handed out: at most `most` at a time, and at most `rate` within `period` milliseconds; 0 =
    without that limit."""

    most: int = 0
    rate: int = 0
    period: int = 1_000


class RunKeyRow(Struct, array_like=True, gc=False):
    """Another name for a run. `unique`: the group is lost if another run has a live row of (ns, kind, process, text)."""

    ns: str
    kind: str
    process: str
    text: str
    run: int
    unique: bool


class Delivery(Struct, array_like=True, gc=False):
    """An outgoing message. `lane`: order is kept within a lane; `id`: lets the receiver recognise a repeat."""

    number: int  # assigned by the store in commit order; 0 when new
    ns: str
    lane: str
    id: str
    sink: str
    body: bytes
    content_type: str
    headers: dict[str, str]
    created: int
    tries: int = 0
    due: int = 0
    error: str = ""
    run: int = 0
    n: int = 0
    hops: int = 0
    ancestor: int = 0  # as in Run
    trace: str = ""  # what it belongs to, as in telemetry.trace; "" = nothing


class DeadLetter(Struct, array_like=True):
    """A delivery that was given up (direction "out"), or a message that could not be received ("in")."""

    number: int
    ns: str
    direction: str
    address: str
    id: str
    body: bytes
    headers: dict[str, str]
    reason: str
    tries: int
    at: int
    delivery: Delivery | None = None


EVENT_STATES = ("matched", "unmatched", "held", "failed")
"""What can have become of an event. The numbers by which stores list them are their places here: one can only be added last."""


def state_number(state: str) -> int:
    """One that this version does not know is listed with those that failed: somebody should look at it."""
    return EVENT_STATES.index(state) if state in EVENT_STATES else EVENT_STATES.index("failed")


class EventRow(Struct, array_like=True, gc=False):
    """An event with its handlers' decisions and effects. Unique by (ns, source, event_id)."""

    key: int
    ns: str
    source: str
    event_id: str
    type: str
    subject: str
    time: int  # when it happened, by its source; 0 = not said
    received: int
    body: JSON
    attributes: dict[str, Any]  # further CloudEvents attributes
    hash: bytes  # of type and body: the same id with another body is a conflict
    handlers: int  # number of the handler set that it was matched against
    decisions: list[Any]  # plain data, see runtime.api.HandlerDecision
    effects: list[Any]  # what it caused, see runtime.api.EventEffect
    state: str  # one of EVENT_STATES
    hops: int = 0
    ancestor: int = 0  # as in Run
    trace: str = ""  # the context that it came with, as in telemetry.trace


def forgotten_event(ns: str, source: str, event_id: str, key: int, hash: bytes, state: str) -> EventRow:
    """What is left of an event whose row has been removed and whose id is still known: enough to recognise a repeat. Its type is
    "", which no event has."""
    return EventRow(
        key=key,
        ns=ns,
        source=source,
        event_id=event_id,
        type="",
        subject="",
        time=0,
        received=0,
        body=None,
        attributes={},
        hash=hash,
        handlers=0,
        decisions=[],
        effects=[],
        state=state,
    )


class DefinitionRow(Struct, array_like=True):
    """One version, valid from `since` until `until` (0 = still). Only `until` of a row is ever changed.

    kind: process | policy | handler | bound (what runs follow: a process with all that it refers to) | ...
    """

    id: int
    ns: str
    kind: str
    language: str
    name: str
    version: int
    body: bytes  # JSON text as the language keeps it
    hash: bytes
    since: int  # microseconds, strictly rising within (ns, kind, name, version)
    until: int = 0
    actor: str = ""


class PendingSignalRow(Struct, array_like=True, gc=False):
    """A durable signal to a run, to be applied in a later commit; or a fan-out job with its cursor."""

    id: int
    run: int
    signal: bytes  # msgpack of kernel.signals.AnySignal, or of the job
    due: int
    tries: int = 0
    job: bool = False
    parked: str = ""  # why it was put aside, "" = live


class PauseRow(Struct, array_like=True, frozen=True):
    """Whether a process is paused. `epoch` rises with every change, and a process that was never paused has none (0), so what
    rests on the one or the other can say so: see `Group.pause_epochs`. `refuses`: new runs are refused while it is paused."""

    ns: str
    process: str
    epoch: int
    paused: bool
    since: int = 0
    by: str = ""
    why: str = ""
    refuses: bool = False


class SecretRow(Struct, array_like=True, frozen=True):
    """A secret of a namespace. `sealed`: its encrypted value, b"" with a `source`, which says where the server reads the value:
    env:NAME or file:PATH. `key`: which encryption key sealed it, by a name that says nothing of the key."""

    ns: str
    name: str
    sealed: bytes
    set_at: int
    set_by: str = ""
    key: str = ""
    source: str = ""


class ReplyRow(Struct, array_like=True, gc=False):
    """A caller waits for an answer, under a name that it has chosen. `body` b"": there is none yet; else msgpack."""

    ns: str
    request: str
    body: bytes
    expires: int


class DescendantsRow(Struct, array_like=True, gc=False):
    """How many events and runs go back to one event or run (`ancestor`, as in Run), counted from `since` on; those that are
    written within `DESCENDANTS_SPAN` of it are added up, then it begins anew."""

    ns: str
    ancestor: int
    count: int
    since: int


DESCENDANTS_SPAN = 86_400_000  # milliseconds


def net_descendants(rows: list[DescendantsRow]) -> list[DescendantsRow]:
    """One row for each ancestor in a group, in their order."""
    found: dict[tuple[str, int], DescendantsRow] = {}
    for row in rows:
        place = row.ns, row.ancestor
        net = found.get(place)
        found[place] = row if net is None else DescendantsRow(*place, net.count + row.count, max(net.since, row.since))
    return [found[place] for place in sorted(found)]


class TallyRow(Struct, array_like=True, gc=False):
    """A change of one of a node's numbers, over all runs of its process. Name: "standing", "passed", or "sum:" and a variable.

    `at`: a mark, 0 = none. If the group brings the number up to it or above, the store writes `reached` (where given) with it; if
    it brings it to less, `fallen`."""

    ns: str
    process: str
    node: str
    name: str
    by: int | float
    at: int = 0
    reached: PendingSignalRow | None = None
    fallen: PendingSignalRow | None = None


class TallyValue(Struct, array_like=True, gc=False):
    process: str
    node: str
    name: str
    value: int | float


def net_tallies(rows: list[TallyRow]) -> list[TallyRow]:
    """One row for each number that a group changes, in the order of the numbers' names; of marks and what follows from crossing
    them the last counts."""
    found: dict[tuple[str, str, str, str], TallyRow] = {}
    for row in rows:
        place = (row.ns, row.process, row.node, row.name)
        net = found.get(place)
        if net is None:
            found[place] = TallyRow(*place, row.by, row.at, row.reached, row.fallen)
            continue
        net.by += row.by
        net.at, net.reached, net.fallen = row.at or net.at, row.reached or net.reached, row.fallen or net.fallen
    return [found[place] for place in sorted(found)]


class LogRow(Struct, array_like=True):
    run: int
    n: int
    at: int
    text: str


class ResultRow(Struct, array_like=True, gc=False):
    """The outcome of a job's signal to one run; kept for a week. Unique by (job, run, n): a second one loses its group.

    The row with run 0 is the job's own: `n` is its number of runs, `detail` its namespace ("" in old rows: default).
    """

    job: int
    run: int
    n: int
    at: int
    outcome: str  # signalled | held | unchanged | failed
    detail: str = ""


class BookmarkRow(Struct, array_like=True, gc=False):
    """A source's position, under a name that it chooses: written together with the event that advanced it, so that nothing is
    emitted twice or left out. A row with the same name replaces the previous one; `state` b"" removes it."""

    ns: str
    source: str
    name: str
    state: bytes


class NodeRow(Struct, array_like=True):
    """A server that shares the store. `batch`: the last that it has written in this epoch."""

    number: int
    epoch: int
    seen: int
    settled: int
    batch: int


class ClaimRow(Struct, array_like=True):
    kind: str
    name: str
    node: int
    epoch: int
    at: int
