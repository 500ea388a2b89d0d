"""What `advance` answers: a delta and effects, a refusal, or a request to read more. Plain data; nothing has happened yet."""

from __future__ import annotations

from typing import Any, NamedTuple

from msgspec import Struct

from pelton.errors import Code
from pelton.kernel.expressions.base import JSON
from pelton.kernel.model.process import Acquired
from pelton.kernel.model.signals import Signal, Start, Trigger
from pelton.kernel.model.state import OpenStep, Record, Run, StartMeta, Step, StepAttempt, StepCheckpoint, Thread

# ---- effects


class SetTimer(NamedTuple):
    """Fires as TimerFired(n, arm, epoch). One row a (run, n, arm): setting it again replaces it."""

    n: int
    arm: str
    epoch: int
    due: int


class ClearTimers(NamedTuple):
    """Every timer of step n (n = 0: the run's own); `arm` "" = all."""

    n: int
    arm: str = ""


class Publish(NamedTuple):
    """A message to a sink. Its id is that of (run, n, attempt): one message an attempt, whatever is repeated."""

    n: int
    attempt: int
    sink: str
    body: JSON


class GiveReply(NamedTuple):
    """Answers a caller who waits under the name `request`, in the namespace of the run. The first answer counts; where nobody
    waits it is dropped."""

    n: int
    request: str
    body: JSON


class StartRun(NamedTuple):
    """Starts another run in the same commit group (`later`: in a commit of its own)."""

    key: int
    definition: int
    input: JSON
    meta: StartMeta
    n: int  # the calling step; 0 for a follow-up, and for a child that no step waits for
    later: bool = False
    linked: bool = False  # with n 0: it is a child of this run even so
    trigger: Trigger | None = None  # fired at once
    origin: int = 0  # step of this run in whose log a refusal is recorded
    name: str = (
        ""  # of the run among those of its process: its key, until it ends. Such a one starts in the same group in any case
    )
    named_by: int = 0  # with a name: the step that has decided on it, and learns of a refusal


class SignalRun(NamedTuple):
    """A signal to another run: in the same group where that has room, or durable and in the next commit when `later`.
    `together`: in the same group in any case, since it is what the sender has decided on. `asked_by`: the step that has decided
    on it, and learns of a refusal in this commit (see RefusalKey); 0 = none does."""

    key: int
    signal: Signal
    later: bool = False
    together: bool = False
    asked_by: int = 0


class Hold(NamedTuple):
    """Holds an event or a report that nothing can take yet. `key` "" = for this run only, and so with `kept`: for its step at
    `position`, which waits for that key and is halted."""

    name: str
    key: str
    body: JSON
    thread: int
    position: int
    posted: int
    expires: int  # 0 = with the run
    report: JSON
    source: str
    kept: bool = False
    ident: str = ""
    keeps: bool = False  # its record stays when it is taken
    taken: int = -1  # by which step it is taken already, 0 = by an interrupt; -1 = by none


class Claim(NamedTuple):
    """A held row was taken by step n: it goes. `keeps`: its record stays, and says so."""

    id: int
    n: int
    keeps: bool = False


class TakeCopy(NamedTuple):
    """Step n has got its copy of a sticky event (`id`)."""

    id: int
    n: int
    thread: int
    position: int


class OpenCorrelation(NamedTuple):
    """Step n waits for (name, key) in the namespace. `since`: from when on it has its place in line, 0 = from now."""

    n: int
    name: str
    key: str
    since: int = 0


class CloseCorrelations(NamedTuple):
    n: int


class Note(NamedTuple):
    """Why a tolerant signal changed nothing, for the records of its sender."""

    code: Code
    detail: str


class Announcement(NamedTuple):
    """Something happened; published only if something listens. `type` is dotted: run.ended, step.failed."""

    type: str
    n: int
    data: JSON


class ContinueLater(NamedTuple):
    """Fuel ran out: a Continue has to follow, in the next commit."""


class Purge(NamedTuple):
    """Ended steps with numbers in [low, high) are deleted; with `scope` only those of its iterations below `it`."""

    low: int
    high: int
    scope: int = 0
    it: int = 0


class MakeFindable(NamedTuple):
    """The run is found by this attribute from now on, or no longer (`added` False)."""

    name: str
    text: str
    added: bool


class KeepAttempt(NamedTuple):
    """An attempt of a step has ended, and another one follows in the same step. `forget`: the number of an old one that goes, -1
    = none."""

    attempt: StepAttempt
    forget: int = -1


class KeepCheckpoint(NamedTuple):
    checkpoint: StepCheckpoint


class Tally(NamedTuple):
    """How the tokens that stand at a counted node of the process have changed: `by` (0: as many left as entered). `passed`: how
    many entered for the first time; `sums`: variable, and what they add to its sum. `at`: the mark, 0 = none. `reached` is sent
    by the store when the count comes up to it, `fallen` when it comes to less."""

    process: str
    node: str
    by: int
    passed: int = 0
    sums: tuple[tuple[str, int | float], ...] = ()
    at: int = 0
    reached: Start | None = None
    fallen: Start | None = None


Effect = (
    SetTimer
    | ClearTimers
    | Publish
    | GiveReply
    | StartRun
    | SignalRun
    | Hold
    | Claim
    | TakeCopy
    | OpenCorrelation
    | CloseCorrelations
    | Note
    | Announcement
    | ContinueLater
    | Purge
    | MakeFindable
    | KeepAttempt
    | KeepCheckpoint
    | Tally
)

# ---- answers


class RecordChange:
    """What a draft did to the run's record. `loaded`: the record before it, and its rules. `past`: values that were
    superseded, and until when they held. `gone`: there is no record now. `attributes`: (name, text, added), what has
    changed of them."""

    __slots__ = ("attributes", "gone", "loaded", "past", "record")

    def __init__(self, loaded: Any) -> None:
        self.loaded = loaded
        self.record: Record | None = None
        self.past: list[tuple[Record, int]] = []
        self.gone = False
        self.attributes: list[tuple[str, str, bool]] = []


class Transition(Struct, gc=False):
    """A delta. Rows in `opened` are new; in `changed` they replace a row of that number; `closed` are numbers of open rows
    that go. `ended` are new ended steps; `reopened` are numbers of ended steps that go (a rewind moved them back): where a number
    is in both, its ended step is replaced. A row of state WORK in `opened` or `changed` without a lease is offered (again)."""

    run: Run
    created: bool = False
    opened: list[OpenStep] = []
    changed: list[OpenStep] = []
    closed: list[int] = []
    ended: list[Step] = []
    reopened: list[int] = []
    threads: list[Thread] = []
    variables: list[tuple[int, str, Any]] = []  # (thread, name, value); UNSET removes
    fragments: list[tuple[int, str, Any, int]] = []  # (step of the fork, node, value, fragment that the fork is part of)
    effects: list[Effect] = []
    record_change: RecordChange | None = None  # None: the record is as it was
    acquired: dict[int, Acquired] = {}  # `fragments` as they were compiled, by step of the fork; not stored


class Refused(Struct, gc=False):
    """Nothing changed, and this is why. Languages map the code to their own errors."""

    code: Code
    detail: str
    trace: list[Any] = []


class Need(Struct):
    keys: tuple[Any, ...]


UNSET = type("Unset", (), {"__repr__": lambda self: "UNSET", "__slots__": ()})()
