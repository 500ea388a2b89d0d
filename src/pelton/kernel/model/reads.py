"""What `advance` may read, and how: a read-only view of what the runtime has loaded.

What is not there raises `Missing` inside the kernel and surfaces as `Need`; the runtime fetches the keys and calls again
from the start. Keys are content-addressed: asking again is asking the same, so a repeated call can only get further. They are
equal only to keys of their own type (tuples would not be: the step 3 and the thread 3 would be one key).
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

from msgspec import Struct

from pelton.kernel.expressions.base import JSON, Evaluation, Outcome
from pelton.kernel.model.state import OpenStep, Run, RunStatus, Step, Thread


class NewestKey(Struct, frozen=True, gc=False):
    """The newest step of a slot, open or ended, that no rewind took back. Answer: OpenStep | Step | None."""

    slot: str


class SlotKey(Struct, frozen=True, gc=False):
    """The newest step of a slot in one iteration of one scope (number of the scope's step). Answer: OpenStep | Step | None."""

    slot: str
    scope: int
    it: int


class IterationsKey(Struct, frozen=True, gc=False):
    """The newest step of each of these slots in the iterations [low, high) of one scope. Answer: Iterations.

    Whole iterations, the newest first, until what they hold in the store exceeds `size` bytes: the first of them is always there.
    """

    slots: tuple[str, ...]
    scope: int
    low: int
    high: int
    size: int


class IterationKey(Struct, frozen=True, gc=False):
    """The newest step of a slot in iteration `it`, whatever the scope. Answer: OpenStep | Step | None."""

    slot: str
    it: int


class NewestBelowKey(Struct, frozen=True, gc=False):
    """Like NewestKey, among numbers below `n` only: what a rewind that takes back all from `n` on will leave. Same answer."""

    slot: str
    n: int


class PlaceBelowKey(Struct, frozen=True, gc=False):
    """Like SlotKey, among numbers below `n` only: what a rewind that takes back all from `n` on will leave there. Same answer."""

    slot: str
    scope: int
    it: int
    n: int


class PlaceKey(Struct, frozen=True, gc=False):
    """The newest step at a position of a thread that no rewind took back: of several attempts the last. Steps of a process that
    counts no positions are at none. Answer: OpenStep | Step | None."""

    thread: int
    position: int


class LastPlaceKey(Struct, frozen=True, gc=False):
    """The highest position in a thread among steps with numbers below `n` that no rewind took back. Answer: int, -1 = none."""

    thread: int
    n: int


class StrandedKey(Struct, frozen=True, gc=False):
    """Tokens that parked because fuel ran out, in the order in which they did, at most `limit`. Answer: list[OpenStep]."""

    limit: int


class KeptKey(Struct, frozen=True, gc=False):
    """An event of the run that stays, by name and ident. Answer: its id (int), 0 when there is none."""

    name: str
    ident: str


class StepKey(Struct, frozen=True, gc=False):
    """The step of a number, open or ended. Answer: OpenStep | Step | None."""

    n: int


class OpenKey(Struct, frozen=True, gc=False):
    """Every open row of the run. Answer: list[OpenStep], by number."""


class ThreadRowsKey(Struct, frozen=True, gc=False):
    """The open rows of one thread, parked ones included. Answer: list[OpenStep], by number."""

    no: int


class WaitsKey(Struct, frozen=True, gc=False):
    """Open steps of a slot by (thread, number), those after the place `after`, parked ones left out, at most `limit`; the first
    place is after (0, 0). Answer: list[OpenStep]; shorter than `limit` when there are no more."""

    slot: str
    after: tuple[int, int]
    limit: int


class EndedKey(Struct, frozen=True, gc=False):
    """Ended steps with numbers in [low, high), at most `limit`, newest first. Answer: list[Step]."""

    low: int
    high: int
    limit: int


class VarKey(Struct, frozen=True, gc=False):
    """A variable. Answer: a one-element list with its value, or None when it is not set."""

    thread: int
    name: str


class VarsKey(Struct, frozen=True, gc=False):
    """All variables of a thread. Answer: dict[str, JSON]."""

    thread: int


class ThreadKey(Struct, frozen=True, gc=False):
    """Answer: Thread | None."""

    no: int


class ThreadsKey(Struct, frozen=True, gc=False):
    """All threads of the run that have rows. Answer: list[Thread], by number."""


class ChildrenKey(Struct, frozen=True, gc=False):
    """Threads with this parent that have not ended. Answer: list[Thread], by number."""

    no: int


class RecordKey(Struct, frozen=True, gc=False):
    """The run's document as it is. Answer: Record | None."""


class EvaluationKey(Struct, frozen=True, gc=False):
    """Answer: Outcome."""

    question: Evaluation


class FragmentKey(Struct, frozen=True, gc=False):
    """The nodes that step `n`, a dynamic fork, made. Answer: Acquired | None; a store answers with what they are compiled from:
    node, value, the fragment that the fork's own node is part of (0 = the process). None for what FragmentsKey is for."""

    n: int


class FragmentsKey(Struct, frozen=True, gc=False):
    """What dynamic forks made before rows said which fragment their node is part of. Answer: list[tuple[int, str, Fragment]], by
    number of the fork's step, with its node; a store answers with what they are compiled from: number, node, value."""


class CompiledKey(Struct, frozen=True, gc=False):
    """The nodes that a dynamic fork makes of a value (JSON text). Answer: Fragment, or why there is none (str)."""

    definition: int
    node: str
    value: str


class DefinitionKey(Struct, frozen=True, gc=False):
    """A definition by name; version 0 = the latest. `at`: as it was at that instant (microseconds), 0 = now. Answer: number of
    the row (int), 0 when there is none."""

    kind: str
    name: str
    version: int
    at: int = 0


class InlineKey(Struct, frozen=True, gc=False):
    """A definition given in full, as JSON text; it is compiled and kept. Answer: number of the row, or why it was refused."""

    kind: str
    body: str


class ProcessKey(Struct, frozen=True, gc=False):
    """A compiled process. Answer: Process | None."""

    definition: int


class PausedKey(Struct, frozen=True, gc=False):
    """Whether a process is paused. The commit checks that it still is as was answered. Answer: ProcessPause | None."""

    ns: str
    process: str


class ProcessPause(NamedTuple):
    """`since`: milliseconds. `refuses`: new runs are refused; else they start and stand before their first step."""

    since: int
    by: str
    why: str
    refuses: bool


class ServedKey(Struct, frozen=True, gc=False):
    """Which of these queues work is best offered in: the first that a worker has asked for in the last `within` milliseconds,
    else the last of them. Answer: str."""

    queues: tuple[str, ...]
    within: int


class NewRunKey(Struct, frozen=True, gc=False):
    """A fresh key for the child that attempt `attempt` of step n starts. Answer: int."""

    n: int
    attempt: int


class RunKey(Struct, frozen=True, gc=False):
    """Another run's head. It joins the read set: the commit checks that it has not moved. Answer: Run | None."""

    key: int


class FoundKey(Struct, frozen=True, gc=False):
    """Records of runs that have an attribute, oldest run first, at most 2,000. Answer: list[Record]."""

    name: str
    text: str


class WaiterKey(Struct, frozen=True, gc=False):
    """The place in the queue (name, key) that is to be taken next: of the wait that has lasted longest, or with `last` shortest.
    `but`: (run, step) of those that are taken already. Halted ones are passed over, up to a limit. Answer: Waiter | None."""

    name: str
    key: str
    last: bool = False
    but: tuple[tuple[int, int], ...] = ()


class TakerKey(Struct, frozen=True, gc=False):
    """The step that has waited longest for somebody to come into the queue (name, key), (run, step) `but` apart. Answer: its run
    and number, or None."""

    name: str
    key: str
    but: tuple[int, int] = (0, 0)


class RoomKey(Struct, frozen=True, gc=False):
    """Whether the commit has room for one more run that is taken from a queue, after `taken` in this transition. Answer: bool."""

    taken: int


class NamedKey(Struct, frozen=True, gc=False):
    """The run of a process that has a name in the namespace, as its key or idempotency key. `data`: with its variables, and its
    record. Both that there is one, as it is, and that there is none join the read set. Answer: NamedRun | None."""

    process: str
    text: str
    data: bool = False


class RefusalKey(Struct, frozen=True, gc=False):
    """What the run `run` has said to the signal, or the start, that step `n` has decided on for it in this commit. A decision is
    made as if there were no refusal, and once more with it. Answer: (code, why), or None."""

    run: int
    n: int


class NamedRun(NamedTuple):
    """`busy`: somebody has decided on something for it in this commit that has not reached it yet."""

    run: int
    status: RunStatus
    busy: bool = False
    variables: dict[str, JSON] | None = None
    record: JSON = None


class Waiter(NamedTuple):
    """A place in a queue. `data`: what it offers to who takes it."""

    run: int
    n: int
    data: JSON


PLACE_BITS = 31  # of a position; the thread is above them


def place_number(thread: int, position: int) -> int:
    """A place as one number, as stores index it: those of one thread are in order, and next to each other."""
    return thread << PLACE_BITS | position


HELD_PAGE = 100


class HeldKey(Struct, frozen=True, gc=False):
    """What is held for this run under a name (key ""; name "" = any), or for a rendezvous (name, key). With `thread` and
    `position`: what may go to that step, since it is addressed to no other; -1 = all. `after`: (posted, id) of the last row of
    the page before. Answer: list[Held], by (posted, id), at most HELD_PAGE; shorter only when there is no more."""

    name: str
    key: str
    thread: int = -1
    position: int = -1
    after: tuple[int, int] | None = None

    def admits(self, held: Held) -> bool:
        """Whether a row under the name and key belongs to the answer, its length apart."""
        return (
            (self.thread < 0 or held.thread in (-1, self.thread))
            and (self.position < 0 or held.position in (-1, self.position))
            and (self.after is None or (held.posted, held.id) > self.after)
        )


class Held(NamedTuple):
    id: int
    name: str
    key: str
    body: JSON
    thread: int
    position: int
    posted: int
    report: JSON  # a held Report, as builtins; None for an event
    keeps: bool = False  # an event that stays when it is taken
    sticky: bool = False  # each wait gets a copy of it
    once: bool = False  # but only the first that gets one


class Iterations(NamedTuple):
    """The answer to an IterationsKey. What is older than `first` did not fit."""

    first: int
    steps: list[OpenStep | Step]
    size: int  # bytes in the store, roughly


class Spent(NamedTuple):
    """No more may be read for this signal but what the decision itself needs. `what`: the limit, for people. `last`: not even
    that is within bounds, so that the run ends."""

    what: str
    last: bool = False


class Missing(Exception):
    """Something was read that has not been loaded: these keys."""

    def __init__(self, *keys: Any) -> None:
        super().__init__(keys)
        self.keys = keys


class Codec(Protocol):
    """Turns keys into public ids and back. Pure: the secret is part of it."""

    def run_id(self, key: int) -> str: ...
    def step_id(self, key: int, n: int) -> str: ...


class RunReads(Protocol):
    """Each method returns the answer or raises Missing."""

    @property
    def codec(self) -> Codec: ...
    @property
    def stamp(self) -> int:
        """The instant of this transition in microseconds, later than that of any before it."""
        ...

    @property
    def spent(self) -> Spent | None:
        """Set once the reads of this signal have exceeded a limit."""
        ...

    def head(self) -> Run | None: ...
    def open(self, n: int) -> OpenStep | None:
        """The open row of a number; None when it is not open."""
        ...

    def newest(self, slot: str) -> OpenStep | Step | None: ...
    def at(self, slot: str, scope: int, it: int) -> OpenStep | Step | None: ...
    def step(self, n: int) -> OpenStep | Step | None: ...
    def var(self, thread: int, name: str) -> list[JSON] | None: ...
    def thread(self, no: int) -> Thread | None: ...
    def answer(self, key: Any) -> Any:
        """Any other key of this module."""
        ...

    def evaluated(self, question: Evaluation) -> Outcome | None:
        """None when it has not been asked yet."""
        ...
