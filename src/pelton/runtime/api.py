"""The runtime's API for the rooms above it, and the protocols between its own parts.

Languages, the server and the native API call `Engine`; nothing above the runtime accesses store or kernel rows in any other way.
Every call that changes something returns after the commit that contains the change.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol

from msgspec import UNSET, Struct

from pelton.errors import Code, PeltonError
from pelton.kernel.expressions.base import JSON
from pelton.kernel.machine.scene import mix
from pelton.kernel.matching.filters import Trace
from pelton.kernel.matching.handlers import View
from pelton.kernel.model.process import Process
from pelton.kernel.model.reads import Codec, Held
from pelton.kernel.model.signals import PutCheckpoint, Report, Signal, Trigger
from pelton.kernel.model.state import OpenStep, Record, Run, StartMeta, Step, StepAttempt, StepCheckpoint, StepStatus
from pelton.runtime.caller import Caller
from pelton.runtime.ids import IdCodec
from pelton.runtime.language import Language
from pelton.store.retention import Keep, Kind
from pelton.store.rows import (
    CopyRow,
    DeadLetter,
    DefinitionRow,
    Delivery,
    EventRow,
    HeldRow,
    KeptRow,
    LogRow,
    PauseRow,
    ResultRow,
    SecretRow,
    StickyRow,
    TimerRow,
)
from pelton.store.run_query import RunQuery

# ---- commands: what an action of a handler, or a caller, wants done. Neutral words only.


class StartCommand(Struct, kw_only=True, gc=False):
    """Starts a run. `version` 0 = latest. `definition`: a bound row, instead of a name (see Engine.bind_inline)."""

    process: str = ""
    version: int = 0
    definition: int = 0
    input: JSON = None
    meta: StartMeta = StartMeta()
    key: str = ""  # idempotency key: at most one run of the process has it
    on_same_key: Literal["fail", "return", "fail if live"] = "fail"
    keys: list[tuple[str, str]] = []  # further names: (kind, text), not unique (correlation ids)
    hops: int = 0
    trigger: Trigger | None = None  # fired as the run begins; when it is refused, nothing is started


class SignalCommand(Struct, kw_only=True, gc=False):
    """A signal to a run, by key."""

    run: int
    signal: Signal


class MatchCommand(Struct, kw_only=True):
    """A signal to every open run of a process whose record matches, in the order in which the runs were started.

    `conjuncts`: tests implied by `where`, for the store's index: see `runtime.commit.search`. The runs are those that exist when
    the event acts, which is after the events before it; each receives the signal in a separate transition. `condition`: the test
    with its values, for people; `trace`: the parts of it that decided about a record.
    """

    process: str
    where: Callable[[Record], bool]
    conjuncts: Sequence[Sequence[tuple[str, str, bool]]] = ()
    signal: Signal
    condition: str = ""
    trace: Callable[[Record], Sequence[Trace]] | None = None


class CorrelateCommand(Struct, kw_only=True):
    """An event by key, for the steps that wait for (name, key) in the namespace.

    mode "one": for the oldest wait; "all": for every current wait. `thread`, `position` (step number): only for a wait there,
    -1 = any. If no wait takes it, it is held for `hold` milliseconds and given to the first matching wait that opens.

    "sticky": for every current wait, and it stays for later ones, of which each gets a copy: until it is removed, or with `ttl`
    for so many milliseconds; with `once` only until the first waits have got it. While it stays, another one is refused
    ("exists").
    """

    name: str
    key: str
    body: JSON = None
    thread: int = -1
    position: int = -1
    hold: int = 0
    mode: Literal["one", "all", "sticky"] = "one"
    hops: int = 0
    ttl: int = 0
    once: bool = False


class Correlated(Struct):
    """The outcome of a keyed event. `taken`: the steps that took it, as (run, n). `later`: how many more receive it in separate
    commits, through a job if there are very many. `held`: number of the held row, 0 = not held. `sticky`: the id of an event that
    stays, or would have; `copies`: those of `taken`, with their ids."""

    taken: list[tuple[int, int]]
    later: int = 0
    held: int = 0
    job: int = 0
    sticky: int = 0
    exists: int = 0  # the id of the sticky event that is there already: nothing was done
    copies: list[CopyRow] = []


class PlanProblem(Struct, kw_only=True):
    """An action could not be planned; the decision is "failed", with this text."""

    detail: str
    field: str = ""


Command = StartCommand | SignalCommand | MatchCommand | CorrelateCommand | PlanProblem


class ActionContext(NamedTuple):
    """The context of an action's expressions. `evaluated` as in expressions.base.Context."""

    ns: str
    event: EventRow
    language: str  # the handler's
    view: View | None
    now: int
    handler: int  # its id
    codec: Codec
    evaluated: Callable[[Any], Any]

    @property
    def seed(self) -> int:
        return mix(self.event.key, self.handler & 0xFFFFFFFF, 0)

    @property
    def payload(self) -> JSON:
        """The event's body, or what handlers of the language see of the event."""
        return self.event.body if self.view is None else self.view(self.language)


class HandlerAction(Protocol):
    """One action of a handler; pure. May raise ExpressionError, Unanswered.

    `records`: the process whose records it begins or looks for, "" for none. Events that concern the records of one process
    act in their order of arrival.
    """

    @property
    def name(self) -> str: ...
    @property
    def records(self) -> str: ...
    def plan(self, context: ActionContext) -> Sequence[Command]: ...


# ---- events


USER_ID = "userid"  # attribute of an event: the user whose call caused it
SYSTEM_ID = "messageid"  # attribute of an event that we sent ourselves: the id that the queue gave to the message it came in


class EventIn(Struct, kw_only=True, gc=False):
    """An incoming event. `id` "" = one is generated, so it can never be recognised as a repeat. `door`: where it came in, for
    counting: "http", the scheme of a source, "run" for what runs emit, "server" for what the server itself announces."""

    source: str
    type: str
    ns: str = "default"
    id: str = ""
    subject: str = ""
    time: int = 0
    body: JSON = None
    attributes: dict[str, Any] = {}
    hops: int = 0
    ancestor: int = 0  # as in Run
    bookmark: tuple[str, bytes] | None = None  # of its source: name and state, written with it; b"" = the name is forgotten
    door: str = "http"
    trace: str = ""  # the context that it came with, as in telemetry.trace


class HandlerDecision(Struct, omit_defaults=True, gc=False):
    """One handler's decision on one event."""

    handler: str
    id: int  # row of its definition
    verdict: Literal["fired", "false", "inactive", "duplicate", "failed", "type differs"]
    detail: str = ""
    trace: list[Any] = []  # (sub-expression, value seen, result)


class EventEffect(Struct, omit_defaults=True, gc=False):
    """An effect of a handler that fired. outcome: started | signalled | held | unchanged | unmatched | failed."""

    handler: str
    action: str
    outcome: str
    run: int = 0
    n: int = 0
    detail: str = ""
    output: JSON = None


class Ingested(Struct, gc=False):
    """`duplicate`: the event was already recorded, and this is its original outcome. `conflict`: same id, different content."""

    key: int
    duplicate: bool
    conflict: bool
    state: str
    decisions: list[HandlerDecision]
    effects: list[EventEffect]


# ---- work


class WorkItem(Struct):
    """A work item for a worker: the leased row, and what its language needs to present it. `filled`: the input with the values of
    the secrets that it names, which are `withheld` from everybody else; UNSET if it names none. The row has none of them."""

    step: OpenStep
    run: Run
    process: Process
    start: Step  # step 0: the run's input and meta
    filled: JSON = UNSET
    withheld: tuple[str, ...] = ()
    trace: str = ""  # that of its step, as in telemetry.trace

    @property
    def input(self) -> JSON:
        """As the worker gets it."""
        return self.step.input if self.filled is UNSET else self.filled

    def __repr__(self) -> str:
        return f"WorkItem({self.step.run}, {self.step.n})"


class ClaimRequest(Struct, kw_only=True):
    """`queues`: the queues to claim from; if empty, in an exchange: those of the reported work."""

    queues: Sequence[str] = ()
    count: int = 1
    wait: int = 0  # milliseconds, at most 60,000; answered as soon as one is there
    worker: str = ""  # its name; with its version, see kernel.model.state.worker_text


class CheckpointPut(Struct):
    """The answer to a checkpoint. `accepted` False: the work is no longer the sender's, nothing was stored, and it has to stop.
    `number`: the one that the checkpoint has got; -1 = none."""

    accepted: bool
    number: int = -1
    reason: str = ""


def outcome_of(attempt: StepAttempt, now: int) -> str:
    """pending (it begins later), scheduled, running, done, failed, timed out, lost or cancelled."""
    if not attempt.ended:
        return "running" if attempt.started else "pending" if attempt.due > now else "scheduled"
    status = StepStatus(attempt.status)
    if status is StepStatus.COMPLETED_WITH_ERRORS or attempt.failure:  # whatever its definition made of that
        status = StepStatus.TIMED_OUT if attempt.kind == "timed out" else max(status, StepStatus.FAILED)
    if status is StepStatus.TIMED_OUT:
        return "lost" if attempt.lost else "timed out"
    if status is StepStatus.CANCELED:
        return "cancelled"
    return "done" if status.successful else "failed"


class ReportResult(Struct):
    """`error` set: refused. `run`: the head after the commit. `repeated`: answered before, with the same outcome."""

    error: PeltonError | None
    run: Run | None
    n: int = 0
    repeated: bool = False


# ---- views


class RunView(Struct):
    """A run's current state: head, start and end, variables. Steps are paged separately (`Engine.steps`)."""

    run: Run
    process: Process
    start: Step
    end: Step | None
    variables: dict[str, JSON]


class ProcessInfo(Struct):
    """A process and its live versions, ascending. `pause`: None = it is not paused."""

    name: str
    language: str
    versions: list[int]
    pause: PauseRow | None


class Applied(Struct):
    """`notes`: (code, detail) of each part of a tolerant signal that could not be carried out."""

    run: Run
    notes: list[tuple[Code, str]] = []


class HandlerInfo(NamedTuple):
    """A handler. `types`: the events it is for. `since`: microseconds, of this version. `problem`: why it does not compile, and
    so is ignored; "" = it does."""

    name: str
    language: str
    types: tuple[str, ...]
    active: bool
    since: int
    actor: str
    problem: str = ""


# ---- tasks for people


class TaskQuery(Struct, kw_only=True, gc=False):
    """Which tasks: all that is given must hold, "" = any. `user`: whose they are or may become, by name; `after`: only tasks
    opened later than this one (its run's key)."""

    state: str = ""
    user: str = ""
    group: str = ""
    process: str = ""
    run: int = 0  # the run that asks
    after: int = 0
    limit: int = 100


class TaskAct(Struct, kw_only=True, gc=False):
    """Something done with a task. `do`: claim, release, hand over, save, note, answer or cancel. `details`: what belongs to it:
    `to_user` or `to_groups` of a hand-over, `answer`, `text` of a note, `reason` of a cancellation. `user`, `groups`: for whom,
    where the caller has no name of its own."""

    do: str
    user: str = ""
    groups: Sequence[str] = ()
    details: Mapping[str, Any] = {}


# ---- what a language gives to the runtime


LocalSink = Callable[[Delivery], Awaitable[None]]
"""Handles a message that stays in this process. May be called more than once for the same one; raises to be called again
later."""

Operation = Callable[[WorkItem], Awaitable[Report]]
"""A built-in operation: performs the work of a step whose queue is "@name". Must be idempotent, or document that it is not."""


OperationBounds = tuple[int, int]
"""Of a built-in operation: how many items are worked on at once, and how many milliseconds one may take."""

USUAL: OperationBounds = (32, 300_000)


class Watch(Protocol):
    """Follows a run and all that it called. Use as a context manager: register, then look, then wait."""

    async def changed(self, timeout: float) -> bool:  # noqa: ASYNC109 - the wait is part of the contract: False is an answer
        """True as soon as a commit has touched the run or its children since the last call; False after `timeout` seconds."""
        ...

    def __enter__(self) -> Watch: ...
    def __exit__(self, *exc: object) -> None: ...


class Engine(Protocol):
    """The runtime's API."""

    codec: IdCodec

    def now(self) -> int: ...
    def namespaces(self) -> list[str]:
        """Namespaces that have handlers, and the default one. For use at a server's start."""
        ...

    # definitions
    def add_language(self, language: Language) -> None: ...
    def add_operation(self, name: str, operation: Operation, bounds: OperationBounds = ...) -> None: ...
    async def define(
        self,
        caller: Caller,
        kind: str,
        language: str,
        name: str,
        version: int,
        body: bytes,
        *,
        actor: str = "",
        must_be_new: bool = False,
        seen: int = 0,
    ) -> DefinitionRow:
        """Stores a version that the language has already validated. Storing the same content again changes nothing. Raises
        "exists".

        `seen`: the row that `body` was derived from; raises "conflict" if a different one, or none, is live by now."""
        ...

    async def undefine(self, caller: Caller, kind: str, name: str, version: int, *, actor: str = "") -> int:
        """Removes a definition; returns the instant, in microseconds, from which it is gone. Raises "not found"."""
        ...

    async def definition(self, caller: Caller, kind: str, name: str, version: int = 0, at: int = 0) -> DefinitionRow | None:
        """The definition; version 0 = the highest."""
        ...

    def each_definition(
        self, caller: Caller, kind: str, at: int = 0, after: str = "", name: str = ""
    ) -> AsyncIterator[DefinitionRow]:
        """Definitions by name and version, those with names after that one, or the versions of one, a few in memory at a time."""
        ...

    async def definition_row(self, definition: int) -> DefinitionRow | None:
        """A definition by its number, such as that of a run's bound definition."""
        ...

    async def bind(self, caller: Caller, name: str, version: int = 0) -> Process:
        """The process that a run started now would follow. Raises "unknown process"."""
        ...

    async def process(self, definition: int) -> Process:
        """A compiled version, by its bound row. Raises "unknown process"."""
        ...

    async def bind_inline(self, caller: Caller, language: str, name: str, version: int, body: bytes) -> Process: ...

    async def handlers(self, caller: Caller, *, after: str = "", limit: int = 100) -> list[HandlerInfo]:
        """Handlers of all languages by name. `after`: only names after this one."""
        ...

    def handler_info(self, row: DefinitionRow) -> HandlerInfo: ...
    async def retention_due(self, keep: Mapping[Kind, Keep], most: int) -> list[tuple[Kind, Keep, int]]:
        """What would be removed now, by kind: how it is kept, as `keep` has it or else the settings, and how many rows, of which
        at most `most` are counted."""
        ...

    # processes as a whole
    async def processes(self, caller: Caller, *, after: str = "", limit: int = 100) -> list[ProcessInfo]:
        """Processes by name, at most `limit`. `after`: only names after this one. Fewer if some have many versions; none only
        when there are no more."""
        ...

    async def process_info(self, caller: Caller, process: str) -> ProcessInfo:
        """Also of a process that is no longer defined, while it is paused or has live runs. Raises "unknown process"."""
        ...

    async def count_live(self, caller: Caller, process: str, most: int) -> int:
        """Number of its runs that have not ended; no more than `most` are counted."""
        ...

    async def pause_process(self, caller: Caller, process: str, *, why: str = "", refuse_new: bool = False) -> PauseRow:
        """From now on no run of the process moves: new ones start and stand before their first step, or with `refuse_new` are
        refused with "paused"; live ones are halted by a durable job, soon. What is paused already stays as it is, unless it says
        otherwise about new runs. Raises "unknown process"."""
        ...

    async def resume_process(self, caller: Caller, process: str, *, why: str = "") -> PauseRow:
        """Its runs go on, by a durable job; those that an operator has paused do not. Raises "not paused", "unknown process"."""
        ...

    async def pause_of(self, caller: Caller, process: str) -> PauseRow | None:
        """None: the process is not paused."""
        ...

    async def why_paused(self, caller: Caller, run: Run) -> str:
        """Why a run is paused, for people; "" if it is not."""
        ...

    async def at_node(
        self, caller: Caller, process: str, node: str, after: tuple[int, int] = (0, 0), limit: int = 100
    ) -> list[OpenStep]:
        """What stands at a node, over all runs of the process: open steps, and tokens that a halt keeps there (State.PARKED). By
        (run, n) after that position, so the oldest run first."""
        ...

    async def count_at_node(self, caller: Caller, process: str, node: str, most: int) -> int:
        """Their number; no more than `most` are counted."""
        ...

    # runs
    async def start(self, caller: Caller, command: StartCommand) -> Run: ...
    async def signal(self, caller: Caller, run: int, signal: Signal) -> Applied:
        """Sends a signal to a run. Raises PeltonError with the code of the refusal, or "unknown run"."""
        ...

    async def signal_named(
        self, caller: Caller, process: str, text: str, signal: Signal, *, hold: int = 0, kind: str = "key", hops: int = 0
    ) -> Applied:
        """A signal to the live run of `process` with that unique key. If there is none, the signal is held for `hold`
        milliseconds for a run to be started with that key (0: raises "unknown run"). Only an event, or a report that sets a hold,
        can be held."""
        ...

    async def signal_many(self, caller: Caller, runs: Sequence[int], signal: Signal, *, hops: int = 0) -> int:
        """A signal to many runs, each in a separate transition, through a durable job; returns its number. See `results`."""
        ...

    async def results(self, caller: Caller, job: int, after: tuple[int, int] = (-1, 0), limit: int = 1000) -> list[ResultRow]:
        """The outcomes of a job's signals so far, by (run, n); kept for a week. The row with run 0 has the total number of runs
        as `n`."""
        ...

    async def correlate(self, caller: Caller, command: CorrelateCommand) -> Correlated:
        """Raises PeltonError "busy", naming the limit, if too much is already held."""
        ...

    async def head(self, caller: Caller, run: int) -> Run | None:
        """The head as of the last commit; None if the namespace has no such run."""
        ...

    async def runs(
        self,
        caller: Caller,
        *,
        process: str = "",
        live: bool | None = None,
        before: int = 0,
        since: int = 0,
        until: int = 0,
        limit: int = 100,
        status: int = -1,
        variables: Sequence[tuple[str, JSON]] = (),
    ) -> list[Run]:
        """Runs, newest first; with keys below `before` if given; created from `since` on and before `until`, in milliseconds; in
        that status (a RunStatus; -1 = any). `variables`: only runs of which some thread has each of these values, among the
        variables that their process makes searchable. Placeholder runs are left out. Raises PeltonError "too large" if more
        than 10,000 runs have the rarest of the values."""
        ...

    async def find_runs(self, caller: Caller, query: RunQuery, offset: int, limit: int) -> tuple[int, list[Run]]:
        """How many runs there are in the caller's namespace, and those at the positions from `offset` on."""
        ...

    async def run_processes(self, caller: Caller) -> list[str]: ...
    async def runs_named(self, caller: Caller, kind: str, process: str, text: str, *, live: bool = False) -> list[int]:
        """Keys of the runs with that name (an idempotency key, a correlation id), newest first, at most 1000. process "" = any.
        `live`: only those that currently hold the name."""
        ...

    async def view(self, caller: Caller, run: int) -> RunView | None: ...
    async def steps(self, caller: Caller, run: int, after: int = -1, limit: int = 1000) -> list[OpenStep | Step]:
        """Steps by number, ascending, open and ended; includes step 0 and the last, internal one (slot END)."""
        ...

    async def open_steps(self, run: Run) -> list[OpenStep]:
        """Open steps by number, including internal ones."""
        ...

    async def step(self, caller: Caller, run: int, n: int) -> OpenStep | Step | None: ...
    async def newest(self, caller: Caller, run: int, slot: str, it: int = 0) -> OpenStep | Step | None: ...
    async def at_place(self, caller: Caller, run: int, thread: int, position: int) -> OpenStep | Step | None:
        """The step at a position of a thread, of several attempts the last. None where the process counts no positions."""
        ...

    async def derived(self, caller: Caller, run: int, step: OpenStep | Step) -> JSON:
        """The assembled output of a join or scope."""
        ...

    async def remove(self, caller: Caller, run: int) -> None: ...

    # records
    def instant(self) -> int:
        """An instant in microseconds; what the store says about it and earlier ones will no longer change."""
        ...

    async def reached(self) -> int:
        """Such an instant, not before anything that a caller may have read by now; may wait for a commit."""
        ...

    async def record(self, caller: Caller, run: int, at: int = 0) -> Record | None:
        """A run's record at that microsecond; 0 = now."""
        ...

    async def past(self, caller: Caller, run: int, after: int = 0, limit: int = 1000) -> list[tuple[Record, int]]:
        """Superseded values of the record, oldest first, and until when each was valid."""
        ...

    async def records(
        self, caller: Caller, *, process: str = "", at: int = 0, live: bool | None = None, after: int = 0, limit: int = 500
    ) -> list[Record]:
        """Records by run key, for keys above `after`."""
        ...

    async def candidates(
        self, caller: Caller, process: str, conjuncts: Sequence[Sequence[tuple[str, str, bool]]], most: int
    ) -> list[int] | None:
        """Runs by the most selective of these tests; None if none of them narrows it down to `most`."""
        ...

    async def linked(self, caller: Caller, name: str, text: str) -> list[Record]:
        """Records of the runs that have an attribute, oldest first, at most 2,000."""
        ...

    # tasks for people
    async def tasks(self, caller: Caller, query: TaskQuery) -> list[Record]:
        """Tasks, oldest first; their documents are those of `runtime.people.record`."""
        ...

    async def task(self, caller: Caller, run: int) -> Record:
        """Raises "not found" for a run that is no task."""
        ...

    async def act_on_task(self, caller: Caller, run: int, act: TaskAct) -> Record:
        """Does it on behalf of the caller's user, and returns the task as it is then. Raises "not found"; "forbidden" when it is
        for others; "conflict" when it is over; "invalid" and "too large", with the field, for what is wrong with an answer."""
        ...

    # secrets
    async def set_secret(self, caller: Caller, name: str, *, value: str = "", source: str = "") -> SecretRow:
        """Sets a secret of the namespace, from now on, to a value or to what a source has (`env:NAME`, `file:PATH`). Raises
        PeltonError "invalid" and "too large"."""
        ...

    async def remove_secret(self, caller: Caller, name: str) -> SecretRow:
        """Returns what was there. Raises PeltonError "not found"."""
        ...

    async def secrets(self, caller: Caller, *, after: str = "", limit: int = 100) -> list[SecretRow]:
        """By name, after that one. Values are sealed: nobody reads them through the engine."""
        ...

    def watch(self, caller: Caller, run: int) -> Watch:
        """A watch on a tree of runs, given any run in it."""
        ...

    # work
    async def claim(self, caller: Caller, request: ClaimRequest) -> list[WorkItem]: ...
    async def report(self, caller: Caller, reports: Sequence[tuple[int, Report]]) -> list[ReportResult]:
        """Many reports, in one commit if they arrive together. A report that repeats one from an exchange frees the items that
        were handed out in response to it, since the caller cannot have seen them."""
        ...

    async def exchange(
        self, caller: Caller, reports: Sequence[tuple[int, Report]], request: ClaimRequest | None
    ) -> tuple[list[ReportResult], list[WorkItem]]:
        """Reports, and a request for more work, in one commit.

        A report that is repeated because its response was lost has the same outcome, and gets the items of that response again,
        if they are still leased to this worker and no heartbeat came for them; it gets new ones only if there are none.
        """
        ...

    def release(self, items: Sequence[WorkItem]) -> None:
        """Frees items that did not reach the worker; they are available again after the next commit."""
        ...

    async def extend(self, caller: Caller, run: int, n: int) -> None:
        """Renews a lease (a heartbeat); changes no revision."""
        ...

    async def attempts(self, caller: Caller, run: int, n: int) -> list[StepAttempt]:
        """The attempts of a step of work, oldest first: the newest 100, the present one among them. An attempt that is a step of
        its own follows those of the step before it; each says which step it is of. Empty for what is no work."""
        ...

    async def put_checkpoint(self, caller: Caller, run: int, signal: PutCheckpoint) -> CheckpointPut:
        """Stores what the current attempt of a step has done, and begins its lease and its limit anew. One with a number may be
        repeated by the same attempt with the same value. Raises PeltonError: "conflict", "too large", "invalid"."""
        ...

    async def checkpoint(self, caller: Caller, run: int, n: int, number: int) -> StepCheckpoint | None:
        """Of a step, and of attempts before it that are steps of their own."""
        ...

    async def log(self, caller: Caller, run: int, n: int, texts: Sequence[tuple[int, str]]) -> None: ...
    async def logs(self, caller: Caller, run: int, n: int) -> list[LogRow]: ...
    def polled(self, caller: Caller) -> list[tuple[str, str, int]]:
        """(queue, worker, time of its last poll), bounded in number."""
        ...

    async def queue_sizes(self, caller: Caller, *, handed_out: bool = True) -> dict[str, int]:
        """Unfinished work items by queue, without the server's own queues; `handed_out`: include those that workers currently
        hold."""
        ...

    # events
    async def ingest(self, caller: Caller, events: Sequence[EventIn]) -> list[Ingested]:
        """Records events in the caller's namespace; returns their outcomes in order, after the commit."""
        ...

    async def event(self, caller: Caller, key: int) -> EventRow | None: ...
    async def event_by_id(self, caller: Caller, source: str, event_id: str) -> EventRow | None: ...
    async def events(
        self, caller: Caller, *, type: str = "", state: str = "", after: int = 0, before: int = 0, limit: int = 100
    ) -> list[EventRow]:
        """Events, newest first; with `after`, oldest first from there, up to the first that is still being recorded."""
        ...

    async def explain(self, caller: Caller, key: int, handler: str) -> HandlerDecision:
        """The handler's decision on a stored event, whether or not the index selected it. Raises "not found"."""
        ...

    # events of runs that stay when they are taken: see kernel.model.signals.EventArrived.keeps
    async def kept_of(self, caller: Caller, run: int, after: int = 0, limit: int = 100) -> list[KeptRow]:
        """Those of a run, taken or not, in the order in which they came; `after`: the id of the last one of the page before."""
        ...

    async def kept_named(
        self, caller: Caller, name: str, taken: bool | None = None, after: int = 0, limit: int = 100
    ) -> list[KeptRow]: ...
    async def kept(self, caller: Caller, run: int, name: str, ident: str) -> KeptRow | None: ...
    async def remove_kept(self, caller: Caller, run: int, event: int) -> None:
        """Raises PeltonError: "not_found", and "conflict" when it has been taken."""
        ...

    async def sticky(self, caller: Caller, name: str, key: str) -> StickyRow | None: ...
    async def sticky_named(
        self, caller: Caller, name: str, got: bool | None = None, after: str = "", limit: int = 100
    ) -> list[StickyRow]:
        """The sticky events of a name with keys after that one, by key. `got` None: whether or not anybody has got a copy."""
        ...

    async def copies(self, caller: Caller, name: str, key: str, after: int = 0, limit: int = 100) -> list[CopyRow]:
        """Who has got copies of a sticky event, by the copies' ids."""
        ...

    async def remove_sticky(self, caller: Caller, name: str, key: str) -> bool:
        """False if there was none."""
        ...

    async def held(self, caller: Caller, limit: int = 100, after: tuple[int, int] = (-1, -1)) -> list[HeldRow]: ...
    async def held_of(self, caller: Caller, run: int) -> list[Held]:
        """The events that are held for a run until a step is ready for them, the first page of them."""
        ...

    def new_key(self) -> int:
        """A number that nothing else has: for an event to one run, which is in no event log."""
        ...

    # outside
    def check_sink(self, address: str) -> str | None:
        """Why nothing can be sent to this address; None if it is valid."""
        ...

    async def dead(self, caller: Caller, limit: int = 100, after: int = 0) -> list[DeadLetter]: ...
    async def redeliver(self, caller: Caller, number: int) -> None: ...
    async def health(self) -> Mapping[str, Any]: ...


# ---- what the runtime's parts expect of one another: the committer calls these, on the loop, without awaiting


class WorkHooks(Protocol):
    def last_polled(self, queue: str) -> int:
        """When a worker last polled that queue; now, if one is polling; 0 = no known poll."""
        ...

    def born(self, row: OpenStep) -> OpenStep:
        """While a group is built: if a poller waits for the row's queue and the row is due, returns the row with its lease
        set."""
        ...

    def offered(self, row: OpenStep) -> None:
        """After the commit that creates the row. If it was leased at birth, hand it out; otherwise it is ready, or ready at
        `due`."""
        ...

    def unborn(self, row: OpenStep) -> None:
        """The group was lost; the poller keeps waiting."""
        ...

    def gone(self, run: int, n: int) -> None:
        """After the commit in which the row ended or was withdrawn."""
        ...


class TimerHooks(Protocol):
    def set(self, row: TimerRow) -> None: ...
    def clear(self, run: int, n: int, arm: str) -> None: ...


class OutboxHooks(Protocol):
    def committed(self, deliveries: Sequence[Delivery]) -> None: ...


class WatchHooks(Protocol):
    def touched(self, root: Hashable) -> None: ...
