"""What the runtime offers to the rooms above it, and what its own parts expect of one another.

Languages, the server and the native API call `Engine`; nothing above the runtime touches store or kernel rows in any other way.
Every call that changes something returns after the commit that contains it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol

from msgspec import Struct

from pelton.errors import Code, PeltonError
from pelton.kernel.expressions.base import JSON
from pelton.kernel.matching.handlers import Handler
from pelton.kernel.model.process import Process
from pelton.kernel.model.reads import Codec
from pelton.kernel.model.signals import Report, Signal, Trigger
from pelton.kernel.model.state import OpenStep, Record, Run, StartMeta, Step
from pelton.runtime.caller import Caller
from pelton.runtime.ids import IdCodec
from pelton.store.rows import DeadLetter, DefinitionRow, Delivery, EventRow, HeldRow, LogRow, ResultRow, TimerRow

# ---- commands: what an action of a handler, or a caller, wants done. Neutral words only.


class StartCommand(Struct, kw_only=True, gc=False):
    """Starts a run. `version` 0 = latest. `definition`: a bound row instead of a name (see Engine.bind_inline)."""

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
    """A signal to every open run of a process whose record passes, in the order in which they were started.

    `conjuncts`: tests of which each must hold wherever `where` does, for the store's index: see `runtime.commit.search`. The runs
    are those that exist when the event comes; each takes the signal in a transition of its own.
    """

    process: str
    where: Callable[[Record], bool]
    conjuncts: Sequence[Sequence[tuple[str, str, bool]]] = ()
    signal: Signal


class CorrelateCommand(Struct, kw_only=True):
    """An event by key: for whoever waits for (name, key) in the namespace.

    mode "one": for the wait that is the oldest; "all": for every wait there is now. `thread`, `position` (number of the step):
    only for such a wait, -1 = any. When nobody takes it, it is held for `hold` milliseconds and given to the first wait that
    opens.
    """

    name: str
    key: str
    body: JSON = None
    thread: int = -1
    position: int = -1
    hold: int = 0
    mode: Literal["one", "all"] = "one"
    hops: int = 0


class Correlated(Struct):
    """What became of a keyed event. `taken`: by whom, (run, n). `later`: how many more get it in commits of their own; by a job
    when there are very many. `held`: number of the held row, 0 = it is not held."""

    taken: list[tuple[int, int]]
    later: int = 0
    held: int = 0
    job: int = 0


class PlanProblem(Struct, kw_only=True):
    """An action could not be planned: the decision is "failed" with this text."""

    detail: str
    field: str = ""


Command = StartCommand | SignalCommand | MatchCommand | CorrelateCommand | PlanProblem


class ActionContext(NamedTuple):
    """What an action's expressions see. `evaluated` as in expressions.base.Context."""

    ns: str
    event: EventRow
    payload: JSON  # the event's body, or what the handler made of it
    now: int
    seed: int
    codec: Codec
    evaluated: Callable[[Any], Any]


class HandlerAction(Protocol):
    """One action of a handler; pure. May raise ExpressionError, Unanswered."""

    @property
    def name(self) -> str: ...
    def plan(self, context: ActionContext) -> Sequence[Command]: ...


# ---- events


SYSTEM_ID = "messageid"  # attribute of an event that we sent ourselves: the id that the queue gave to the message it came in


class EventIn(Struct, kw_only=True, gc=False):
    """An event as it comes in. `id` "" = made up (then it can never be a repeat)."""

    source: str
    type: str
    ns: str = "default"
    id: str = ""
    subject: str = ""
    time: int = 0
    body: JSON = None
    attributes: dict[str, Any] = {}
    hops: int = 0
    bookmark: tuple[str, bytes] | None = None  # of its source: name and state, written with it; b"" = the name is forgotten


class HandlerDecision(Struct, omit_defaults=True, gc=False):
    """What one handler made of one event."""

    handler: str
    id: int  # row of its definition
    verdict: Literal["fired", "false", "inactive", "duplicate", "failed", "type differs"]
    detail: str = ""
    trace: list[Any] = []  # (sub-expression, value seen, result)


class EventEffect(Struct, omit_defaults=True, gc=False):
    """What a fired handler caused. outcome: started | signalled | held | unchanged | failed."""

    handler: str
    action: str
    outcome: str
    run: int = 0
    n: int = 0
    detail: str = ""
    output: JSON = None


class Ingested(Struct, gc=False):
    """`duplicate`: the same event was there already, and this is its outcome. `conflict`: same id, other content."""

    key: int
    duplicate: bool
    conflict: bool
    state: str
    decisions: list[HandlerDecision]
    effects: list[EventEffect]


# ---- work


class WorkItem(Struct):
    """What a worker gets: the leased row, and what its language needs to show it."""

    step: OpenStep
    run: Run
    process: Process
    start: Step  # step 0: the run's input and meta


class ClaimRequest(Struct, kw_only=True):
    """`queues`: those asked for; none, in an exchange: those of the work that is reported on."""

    queues: Sequence[str] = ()
    count: int = 1
    wait: int = 0  # milliseconds, at most 60,000; answered as soon as one is there
    worker: str = ""


class ReportResult(Struct):
    """`error` set: refused. `run` is the head after the commit. `repeated`: answered before, with this same outcome."""

    error: PeltonError | None
    run: Run | None
    n: int = 0
    repeated: bool = False


# ---- views


class RunView(Struct):
    """A run as it is: head, start and end, variables. Steps are paged apart (`Engine.steps`)."""

    run: Run
    process: Process
    start: Step
    end: Step | None
    variables: dict[str, JSON]


class Applied(Struct):
    """`notes`: (code, detail) of what could not be done for a tolerant signal."""

    run: Run
    notes: list[tuple[Code, str]] = []


# ---- what a language gives to the runtime


class Language(Protocol):
    """A language's compiler, as the runtime knows it. All methods are pure; they raise expressions.base.Invalid."""

    @property
    def name(self) -> str: ...
    def bind(self, row: DefinitionRow, refer: Callable[[str, str, int], DefinitionRow | None]) -> bytes:
        """The body of the bound definition: the process with all that it refers to (policies). `refer(kind, name, version)`."""
        ...

    def compile(self, name: str, version: int, body: bytes, definition: int) -> Process:
        """Compiles a bound body."""
        ...

    def payload(self, event: EventRow) -> JSON:
        """An event's body as this language's handlers see it."""
        ...

    def handler(self, row: DefinitionRow) -> Handler:
        """Compiles a handler; its actions are `HandlerAction`s."""
        ...


LocalSink = Callable[[Delivery], Awaitable[None]]
"""Takes a message that stays in this process. It may be called again for the same one, and raises to be called again later."""

Operation = Callable[[WorkItem], Awaitable[Report]]
"""A built-in operation: does the work of a step whose queue is "@name". Must be harmless when repeated, or say so in its docs."""


class Watch(Protocol):
    """Follows a run and all that it called. Use as a context manager; register, then look, then wait."""

    async def changed(self, timeout: float) -> bool:  # noqa: ASYNC109 - the wait is part of the contract: False is an answer
        """True as soon as a commit has touched the run or its children since the last call; False after `timeout` seconds."""
        ...

    def __enter__(self) -> Watch: ...
    def __exit__(self, *exc: object) -> None: ...


class Engine(Protocol):
    """The runtime's face."""

    codec: IdCodec

    def now(self) -> int: ...
    def namespaces(self) -> list[str]:
        """Those that have handlers, the default one included. For what a server does at its start."""
        ...

    # definitions
    def add_language(self, language: Language) -> None: ...
    def add_operation(self, name: str, operation: Operation) -> None: ...
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
        """Stores a version that the language has checked already. Same content again changes nothing. Raises "exists".

        `seen`: the row that `body` was made from; when another one is live by now, or none, it raises "conflict"."""
        ...

    async def undefine(self, caller: Caller, kind: str, name: str, version: int, *, actor: str = "") -> int:
        """The moment, in microseconds, from which it is gone. Raises "not found"."""
        ...

    async def definition(self, caller: Caller, kind: str, name: str, version: int = 0, at: int = 0) -> DefinitionRow | None:
        """version 0 = the highest."""
        ...

    async def definitions(
        self, caller: Caller, kind: str, at: int = 0, *, after: str = "", limit: int = 0
    ) -> list[DefinitionRow]:
        """By name. `after`: only names behind this one. limit 0 = all."""
        ...

    async def definition_row(self, definition: int) -> DefinitionRow | None:
        """By its number, such as that of the bound definition that a run follows."""
        ...

    async def bind(self, caller: Caller, name: str, version: int = 0) -> Process:
        """The process that a run started now would follow. Raises "unknown process"."""
        ...

    async def process(self, definition: int) -> Process:
        """A compiled version, by its bound row. Raises "unknown process"."""
        ...

    async def bind_inline(self, caller: Caller, language: str, name: str, version: int, body: bytes) -> Process: ...

    # runs
    async def start(self, caller: Caller, command: StartCommand) -> Run: ...
    async def signal(self, caller: Caller, run: int, signal: Signal) -> Applied:
        """Raises PeltonError with the code of the refusal, "unknown run" included."""
        ...

    async def signal_named(
        self, caller: Caller, process: str, text: str, signal: Signal, *, hold: int = 0, kind: str = "key", hops: int = 0
    ) -> Applied:
        """A signal to the live run of `process` with that unique key. When there is none, it is held for a run that will be
        started with the key, for `hold` milliseconds (0: "unknown run"). Only an event, or a report with a hold of its own, can
        be held."""
        ...

    async def signal_many(self, caller: Caller, runs: Sequence[int], signal: Signal, *, hops: int = 0) -> int:
        """A signal to many runs, each in a transition of its own, by a durable job: its number. See `results`."""
        ...

    async def results(self, caller: Caller, job: int, after: tuple[int, int] = (-1, 0), limit: int = 1000) -> list[ResultRow]:
        """What became of a job's signals so far, by (run, n); kept for a week. The row with run 0 says, as `n`, how many runs
        there are in all."""
        ...

    async def correlate(self, caller: Caller, command: CorrelateCommand) -> Correlated:
        """Raises PeltonError "busy" when too much is held already, naming the bound."""
        ...

    async def head(self, caller: Caller, run: int) -> Run | None:
        """As of the last commit; None when the namespace has no such run."""
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
    ) -> list[Run]:
        """Newest first, keys below `before` when given; created from `since` on, before `until`, in milliseconds. Runs that are
        only expected are left out."""
        ...

    async def runs_named(self, caller: Caller, kind: str, process: str, text: str, *, live: bool = False) -> list[int]:
        """Keys of the runs with that name (an idempotency key, a correlation id), newest first, at most 1000. process "" = any.
        `live`: only those that hold the name now."""
        ...

    async def view(self, caller: Caller, run: int) -> RunView | None: ...
    async def steps(self, caller: Caller, run: int, after: int = -1, limit: int = 1000) -> list[OpenStep | Step]:
        """By number, ascending; step 0 and the last, internal one (slot END) included; open and ended together."""
        ...

    async def open_steps(self, run: Run) -> list[OpenStep]:
        """Steps that have not ended, by number, internal ones included."""
        ...

    async def step(self, caller: Caller, run: int, n: int) -> OpenStep | Step | None: ...
    async def newest(self, caller: Caller, run: int, slot: str, it: int = 0) -> OpenStep | Step | None: ...
    async def derived(self, caller: Caller, run: int, step: OpenStep | Step) -> JSON:
        """The output of a join or scope, assembled."""
        ...

    async def remove(self, caller: Caller, run: int) -> None: ...

    # records
    def instant(self) -> int:
        """Microseconds: what the store says of this instant and those before will not change any more."""
        ...

    async def reached(self) -> int:
        """Such an instant, not before anything that somebody may have read by now; it may wait for a commit."""
        ...

    async def record(self, caller: Caller, run: int, at: int = 0) -> Record | None:
        """At that microsecond; 0 = now."""
        ...

    async def past(self, caller: Caller, run: int, after: int = 0, limit: int = 1000) -> list[tuple[Record, int]]:
        """Superseded values, oldest first, and until when each held."""
        ...

    async def records(
        self, caller: Caller, *, process: str = "", at: int = 0, live: bool | None = None, after: int = 0, limit: int = 500
    ) -> list[Record]:
        """By run key, those above `after`."""
        ...

    async def candidates(
        self, caller: Caller, process: str, conjuncts: Sequence[Sequence[tuple[str, str, bool]]], most: int
    ) -> list[int] | None:
        """Runs by the best of these tests; None when none of them narrows it down to `most`."""
        ...

    async def linked(self, caller: Caller, name: str, text: str) -> list[Record]:
        """Records of the runs that have an attribute, oldest first, at most 2,000."""
        ...

    def watch(self, caller: Caller, run: int) -> Watch:
        """By any run of a tree."""
        ...

    # work
    async def claim(self, caller: Caller, request: ClaimRequest) -> list[WorkItem]: ...
    async def report(self, caller: Caller, reports: Sequence[tuple[int, Report]]) -> list[ReportResult]:
        """Many reports, one commit if they come together. One that repeats a report of an exchange frees the items that were
        handed out in answer to it: whoever reports in this way has not seen them."""
        ...

    async def exchange(
        self, caller: Caller, reports: Sequence[tuple[int, Report]], request: ClaimRequest | None
    ) -> tuple[list[ReportResult], list[WorkItem]]:
        """Reports and the request for more in one commit.

        A report that is repeated because its answer was lost has the outcome that it had, and gets the items that were in that
        answer, as far as they are still leased to this worker and nothing has been heard of them; only when there are none does
        it get new ones.
        """
        ...

    def release(self, items: Sequence[WorkItem]) -> None:
        """Items that did not reach whoever asked for them: they are free again after the next commit."""
        ...

    async def extend(self, caller: Caller, run: int, n: int) -> None:
        """Sign of life for a lease; touches no revision."""
        ...

    async def log(self, caller: Caller, run: int, n: int, texts: Sequence[tuple[int, str]]) -> None: ...
    async def logs(self, caller: Caller, run: int, n: int) -> list[LogRow]: ...
    def polled(self, caller: Caller) -> list[tuple[str, str, int]]:
        """(queue, worker, time of its last poll), bounded."""
        ...

    async def queue_sizes(self, caller: Caller, *, handed_out: bool = True) -> dict[str, int]:
        """Work items not ended by queue, without the server's own; those that workers have at the moment only with
        `handed_out`."""
        ...

    # events
    async def ingest(self, caller: Caller, events: Sequence[EventIn]) -> list[Ingested]:
        """Records events in the caller's namespace, and answers after the commit, in their order."""
        ...

    async def event(self, caller: Caller, key: int) -> EventRow | None: ...
    async def event_by_id(self, caller: Caller, source: str, event_id: str) -> EventRow | None: ...
    async def events(
        self, caller: Caller, *, type: str = "", after: int = 0, before: int = 0, limit: int = 100
    ) -> list[EventRow]:
        """Newest first; with `after`, oldest first from there."""
        ...

    async def explain(self, caller: Caller, key: int, handler: str) -> HandlerDecision:
        """What that handler makes (made) of a stored event, whether or not the index selected it. Raises "not found"."""
        ...

    async def held(self, caller: Caller, limit: int = 100) -> list[HeldRow]: ...

    # outside
    def check_sink(self, address: str) -> str | None:
        """Why nothing can be sent to this address, or None."""
        ...

    async def dead(self, caller: Caller, limit: int = 100, after: int = 0) -> list[DeadLetter]: ...
    async def redeliver(self, caller: Caller, number: int) -> None: ...
    async def health(self) -> Mapping[str, Any]: ...


# ---- what the runtime's parts expect of one another: the committer calls these, on the loop, without awaiting


class WorkHooks(Protocol):
    def last_polled(self, queue: str) -> int:
        """When a worker last asked for that queue, now if one is asking; 0 = not known to have been polled."""
        ...

    def born(self, row: OpenStep) -> OpenStep:
        """While a group is built: when a poller waits for the row's queue and the row is due, the row with lease columns set."""
        ...

    def offered(self, row: OpenStep) -> None:
        """After the commit: the row is there. Leased at birth: hand it out; else it is ready, or ready at `due`."""
        ...

    def unborn(self, row: OpenStep) -> None:
        """The group was lost: the poller goes on waiting."""
        ...

    def gone(self, run: int, n: int) -> None:
        """After the commit: the row has ended, or was withdrawn."""
        ...


class TimerHooks(Protocol):
    def set(self, row: TimerRow) -> None: ...
    def clear(self, run: int, n: int, arm: str) -> None: ...


class OutboxHooks(Protocol):
    def committed(self, deliveries: Sequence[Delivery]) -> None: ...


class WatchHooks(Protocol):
    def touched(self, root: int) -> None: ...
