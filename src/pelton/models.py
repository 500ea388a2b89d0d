"""The types of the /v1 API's requests and responses.

The server validates requests against them, the clients decode responses into them, and the OpenAPI document is generated from
them. Keys and ids are strings, so that no client rounds them. Times are epoch milliseconds; 0 means "not yet" or "never".
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct

Name = Annotated[str, Meta(max_length=512)]


class DecisionView(Struct, omit_defaults=True, gc=False):
    """One handler's decision on an event. `verdict`: fired, false, inactive, duplicate, failed, or "type differs".

    `trace`: the parts of the condition that were evaluated, each as (expression, value seen, result).
    """

    handler: str
    verdict: str
    detail: str = ""
    trace: list[Any] = []


class EffectView(Struct, omit_defaults=True, gc=False):
    """An effect of a handler that fired. `outcome`: started, signalled, held, unchanged, unmatched or failed."""

    handler: str
    action: str
    outcome: str
    run: str = ""
    step: str = ""
    detail: str = ""
    output: Any = None


class EventView(Struct, omit_defaults=True):
    """A stored event, with its handlers' decisions and effects. `state`: matched, unmatched, held or failed."""

    key: str
    id: str
    source: str
    type: str
    state: str
    received: int
    subject: str = ""
    time: int = 0
    data: Any = None
    attributes: dict[str, Any] = {}
    decisions: list[DecisionView] = []
    effects: list[EffectView] = []


class EventPage(Struct):
    """A page of events. `after`: pass it as the parameter `after` to continue from here, with newer ones. `before`: pass it as
    the parameter `before` for older ones; "" = there are none, or the page was asked for with `after`. A page ends at some 4 MB:
    it may be short, and there are more all the same."""

    events: list[EventView]
    after: str
    before: str = ""


class Accepted(Struct, omit_defaults=True, gc=False):
    """The response to a posted event. `outcome`: accepted; duplicate (the event was already recorded: this is its original
    outcome); or conflict (an event with this source and id but different content is recorded)."""

    key: str
    id: str
    source: str
    outcome: str
    state: str = ""
    decisions: list[DecisionView] = []
    effects: list[EffectView] = []


class AcceptedBatch(Struct):
    """One result for each event, in the order sent."""

    events: list[Accepted]


class HeldView(Struct, omit_defaults=True):
    """An event that arrived before a step was ready for it. It is consumed when a matching step opens, or it expires."""

    id: str
    name: str
    posted: int
    expires: int = 0
    run: str = ""
    key: str = ""
    source: str = ""
    data: Any = None


class HeldPage(Struct):
    """A page of the events that are currently held, oldest first. `after`: pass it as the parameter `after` for the next page; ""
    = this is the last page."""

    held: list[HeldView]
    after: str = ""


class DeadLetterView(Struct, omit_defaults=True):
    """A delivery that was given up (direction "out"), or a message that could not be received ("in")."""

    number: int
    direction: str
    address: str
    id: str
    reason: str
    tries: int
    at: int
    body: Any = None
    headers: dict[str, str] = {}


class DeadLetterPage(Struct):
    """A page of dead letters. `after`: pass it as the parameter `after` for the next page; 0 = this is the last page."""

    dead_letters: list[DeadLetterView]
    after: int


class Redelivered(Struct):
    """The response to a redelivery request."""

    number: int
    redelivered: bool


class RunHead(Struct, omit_defaults=True):
    """The state of a run. `status`: EXPECTED, RUNNING, PAUSED, COMPLETED, FAILED, TIMED_OUT or TERMINATED. `era`: how often it
    was rewound by a retry or restart."""

    id: str
    status: str
    process: str
    version: int
    created: int
    updated: int
    ended: int = 0
    parent: str = ""
    era: int = 0


class RunPage(Struct):
    """A page of runs. `before`: pass it as the parameter `before` for the next page; "" = this is the last page."""

    runs: list[RunHead]
    before: str


class FailureView(Struct, omit_defaults=True):
    """How a step or a run failed: its name, and its kind (technical, business, cancelled or "timed out"), as rules match them;
    `content`: what came with it. `handled`: the step's definition says what follows, and that was done; false if the failure was
    passed on."""

    name: str
    kind: str
    content: Any = None
    handled: bool = False


class RunDetail(Struct, omit_defaults=True):
    """A run with its data. `reason`: why it failed, `failure`: with what. `event`: the type of the event that started it.
    `why_paused`: who or what has paused it, for people; "" if it is not paused."""

    run: RunHead
    input: Any = None
    output: Any = None
    reason: str = ""
    variables: dict[str, Any] = {}
    correlation: str = ""
    priority: int = 0
    event: str = ""
    failure: FailureView | None = None
    why_paused: str = ""


class StepView(Struct, omit_defaults=True):
    """A step. `status`: OPEN (`waits_for` says what it is waiting for), or how it ended. `version`: of the worker, as it said
    itself. `checkpoints`: how many its attempts have put."""

    id: str
    n: int
    slot: str
    status: str
    opened: int
    waits_for: str = ""
    started: int = 0
    ended: int = 0
    attempt: int = 0
    iteration: int = 0
    queue: str = ""
    worker: str = ""
    input: Any = None
    output: Any = None
    reason: str = ""
    child: str = ""
    failure: FailureView | None = None
    version: str = ""
    checkpoints: int = 0


class AttemptView(Struct, omit_defaults=True):
    """An attempt of a step. `step`: the number of the step that it is an attempt of; where a definition makes each attempt a step
    of its own, those before it are other steps. `outcome`: pending (it begins at `due`), scheduled, running, done, failed, timed
    out, lost (no sign of life from its worker in time) or cancelled. `scheduled`: when it was made. `version`: of the worker,
    as it said itself. Content of a failure of more than 4,096 bytes is left out. Times are epoch milliseconds."""

    step: int
    number: int
    outcome: str
    scheduled: int
    due: int = 0
    started: int = 0
    ended: int = 0
    worker: str = ""
    version: str = ""
    polls: int = 0
    reason: str = ""
    failure: FailureView | None = None
    log: str = ""


class AttemptPage(Struct):
    """The newest 100 attempts of a step, oldest first; the last one is the present one. `left_out`: how many older ones of these
    are not there, since all together have more than some 4 MB."""

    attempts: list[AttemptView]
    left_out: int = 0


class StepPage(Struct):
    """A page of steps. `after`: pass it as the parameter `after` for the next page; -1 = this is the last page."""

    steps: list[StepView]
    after: int


class RunFilterIn(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """Which runs: all that is given must hold. `live`: only those that have not ended, or that have. `key`: an idempotency key or
    a correlation id. `since`, `until`: started from then on, and before then, in epoch milliseconds. `variables`: values of
    searchable variables. `text`: found in the input, the output, a variable or the reason. `before`: only older ones than this
    run."""

    process: Name = ""
    live: bool | None = None
    status: Name = ""
    key: Name = ""
    since: Annotated[int, Meta(ge=0, le=2**62)] = 0
    until: Annotated[int, Meta(ge=0, le=2**62)] = 0
    variables: dict[str, Any] = {}
    text: Name = ""
    before: Name = ""


class RunStartIn(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """A request to start a run. `version` 0: the latest. `key`: at most one run of the process has it, so a repeated request
    starts no second one and gets the first."""

    process: Name
    version: Annotated[int, Meta(ge=0, le=2**31 - 1)] = 0
    input: Any = None
    key: Name = ""
    correlation: Name = ""
    priority: Annotated[int, Meta(ge=0, le=99)] = 0


class RunSignalIn(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """Something that a run waits for. `name`: of a trigger or an event that it waits for, or of the waiting step itself. `data`:
    what comes with it. `hold`: when nothing waits for it yet, it is kept for a step to come, as an event."""

    name: Name
    data: Any = None
    hold: bool = False


class RunSignalOut(Struct, omit_defaults=True):
    """`as_what`: it was taken as a trigger, an event or a report of a step. `held`: nothing waits for it yet."""

    run: RunHead
    as_what: Literal["trigger", "event", "report"]
    held: bool = False


class RunActIn(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """How a run is acted on. `reason`: of a termination. `step`: the number of the step from which it is run again; 0 = from its
    start. `input`: a new input for a rerun."""

    reason: Annotated[str, Meta(max_length=1_000)] = ""
    step: Annotated[int, Meta(ge=0, le=2**62)] = 0
    input: Any = None


RunAct = Literal["retry", "pause", "resume", "terminate", "rerun"]


class RunJobIn(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """The same done to many runs, at most 10,000: to `runs`, or to those that `where` describes and whose status allows it.
    `preview`: only look which. `newest`: no later run than this one, as a preview has it."""

    act: RunAct
    runs: Annotated[list[Name], Meta(max_length=10_000)] = []
    where: RunFilterIn | None = None
    reason: Annotated[str, Meta(max_length=1_000)] = ""
    preview: bool = False
    newest: Name = ""


class RunJobOut(Struct, omit_defaults=True):
    """`count`: how many runs. `runs`: the first 100 of them, newest first. `newest`: the newest. `before`: there may be more,
    older than this run: pass it in `where`. `job`: its number, under which /v1/jobs has the results; absent for a preview, and
    when there is nothing to be done."""

    act: RunAct
    count: int
    runs: list[RunHead]
    newest: str = ""
    before: str = ""
    job: str = ""


class RunWaitView(Struct, omit_defaults=True):
    """What an open step waits for. `what`: work, event, trigger, time, report, condition, data, run, place (in a queue), steps,
    or resume. `name`: of the queue, the event or the trigger; `key`: of an event; `at`: the time, or when work is due. `worker`:
    who holds the work, since `since` and until `lease` without a sign of life (0 = for good). `polled`: when anybody last asked
    for work of this queue; 0 = nobody has since the server started."""

    n: int
    slot: str
    what: str
    name: str = ""
    key: str = ""
    at: int = 0
    worker: str = ""
    since: int = 0
    lease: int = 0
    polled: int = 0
    run: str = ""
    status: str = ""


class RunEventView(Struct, omit_defaults=True):
    """An event that a run has got, or sent. `n`: the step that took or sent it, 0 = none. `state`: started, taken, kept, held or
    sent."""

    name: str
    state: str
    at: int
    n: int = 0
    slot: str = ""
    data: Any = None


class RunExplanation(Struct):
    """Why a run stands where it stands. `why`: for people. `waits`: of at most 100 open steps. `events_in`, `events_out`: those
    of its first 1,000 steps, at most 100 each. `more`: something was left out."""

    run: RunHead
    why: str
    waits: list[RunWaitView]
    events_in: list[RunEventView]
    events_out: list[RunEventView]
    more: bool = False


class PauseIn(Struct, omit_defaults=True):
    """A request to pause a process. `why`: for people. `new_runs`: whether runs that are started meanwhile are accepted and stand
    before their first step ("stand"), or are refused ("refuse")."""

    why: str = ""
    new_runs: Literal["stand", "refuse"] = "stand"


class ResumeIn(Struct, omit_defaults=True):
    """A request to resume a process. `why`: for people."""

    why: str = ""


class PauseView(Struct, omit_defaults=True):
    """The pause of a process. `since`: epoch milliseconds. `by`: the user who paused it, "" if that is not known."""

    since: int
    by: str = ""
    why: str = ""
    new_runs: Literal["stand", "refuse"] = "stand"


class SecretIn(Struct, omit_defaults=True):
    """What a secret is set to: a `value`, which is encrypted, or a `source` from which the server reads it whenever it is needed:
    env:NAME (the variable PELTON_SECRET_NAME of its environment) or file:PATH (below its directory of secrets)."""

    value: str = ""
    source: str = ""

    def __repr__(self) -> str:
        return f"SecretIn(source={self.source!r})"


class SecretView(Struct, omit_defaults=True):
    """A secret, without its value. `set_at`: epoch milliseconds. `set_by`: the user who set it, "" if that is not known. `key`:
    which encryption key sealed it, by a name that says nothing of the key; "" if it has a `source`."""

    name: str
    set_at: int
    set_by: str = ""
    source: str = ""
    key: str = ""


class SecretPage(Struct):
    """A page of secrets. `after`: pass it as the parameter `after` for the next page; "" = there are no more."""

    secrets: list[SecretView]
    after: str


class ProcessView(Struct, omit_defaults=True):
    """A process. `live_runs`: runs that have not ended; with `more_live_runs` there may be more than were counted. `pause`:
    absent if the process is not paused."""

    name: str
    language: str
    versions: list[int]
    live_runs: int = 0
    more_live_runs: bool = False
    pause: PauseView | None = None


class ProcessPage(Struct):
    """A page of processes. `after`: pass it as the parameter `after` for the next page; "" = there are no more."""

    processes: list[ProcessView]
    after: str


class HandlerView(Struct, omit_defaults=True):
    """A handler, of any language. `types`: the events it is for. `since`, `by`: when this version was made, and by whom.
    `problem`: why it cannot be used. `fired`, `other`, `failed`: its decisions on the page's newest `events`: those that fired,
    that did not, and that failed. `last`: the newest of them, on the event `last_event` at `last_at`."""

    name: str
    language: str
    types: list[str]
    active: bool
    since: int
    by: str = ""
    problem: str = ""
    fired: int = 0
    other: int = 0
    failed: int = 0
    last: str = ""
    last_event: str = ""
    last_at: int = 0


class HandlerPage(Struct):
    """A page of handlers by name. `events`: how many of the newest events the decisions are counted of. `after`: pass it as the
    parameter `after` for the next page; "" = there are no more."""

    handlers: list[HandlerView]
    events: int
    after: str


class PollerView(Struct):
    """A worker that asks for work. `at`: when it last did."""

    worker: str
    at: int


class QueueView(Struct):
    """A queue of work. `ready`: work that nobody has, some of which may be due later; `held`: work that workers have. `pollers`:
    the latest first, at most 100; known since the server started."""

    queue: str
    ready: int
    held: int
    pollers: list[PollerView]


class QueuePage(Struct):
    """Queues that have work, or that workers ask for work, by name. `more`: there are more than 1,000, or than some 4 MB of them;
    `after`: pass it as the parameter `after` for the next page."""

    queues: list[QueueView]
    more: bool = False
    after: str = ""


class KeptView(Struct):
    """How long one kind of finished data is kept, as in the settings. `due`: what is to be removed now; with `more` there may be
    more than were counted."""

    kind: str
    keep: str
    due: int
    more: bool


class RetentionView(Struct):
    """What would be removed now, by kind. Nothing is."""

    kinds: list[KeptView]


class AppliedDocument(Struct, frozen=True):
    """A document that was applied: its language, its kind, and what tells it from others of its kind."""

    language: Name
    kind: Name
    identity: Annotated[str, Meta(max_length=1_100)]


class AppliedSetIn(Struct, forbid_unknown_fields=True):
    """What is applied under a name."""

    documents: Annotated[list[AppliedDocument], Meta(max_length=10_000)]


class AppliedSet(Struct, omit_defaults=True):
    """What was applied under a name; nothing if it is not known. `since`, `by`: when it was noted, and by whom."""

    name: str
    documents: list[AppliedDocument]
    since: int = 0
    by: str = ""


class NodeStepView(Struct):
    """What stands at a node. `step.waits_for` PARKED: a token that a pause keeps there, and no step yet, or no longer."""

    run: str
    step: StepView


class NodeStepPage(Struct):
    """A page of what stands at a node. `count`: all of it; with `more` there may be more than were counted. `after`: pass it as
    the parameter `after` for the next page; "" = this is the last page."""

    steps: list[NodeStepView]
    count: int
    more: bool
    after: str


class NoteView(Struct, gc=False):
    """A note on a task. `at`: epoch milliseconds."""

    by: str
    at: int
    text: str


class UserTaskView(Struct, omit_defaults=True):
    """A task for a person. `state`: open, claimed, answered, canceled or expired.

    `process`, `run`, `slot`: who asks. `users`, `groups`: who may answer; with neither, anybody. `form`: JSON Schema of the
    answer. `data`: what the person needs to see. `saved`: an answer that is not finished. `reminded`: reminders so far.
    `late`: its due time has passed. `number`, `since`: which value of the task this is, and since when (microseconds);
    `did`, `by`: what made it, and who did that; `until`: of a past value."""

    id: str
    state: str
    title: str
    process: str
    run: str
    slot: str
    opened: int
    number: int
    since: int
    users: list[str] = []
    groups: list[str] = []
    claimed_by: str = ""
    priority: int = 0
    due: int = 0
    late: bool = False
    reminded: int = 0
    form: Any = None
    data: Any = None
    saved: Any = None
    answer: Any = None
    answered_by: str = ""
    reason: str = ""
    notes: list[NoteView] = []
    did: str = ""
    by: str = ""
    until: int = 0


class UserTaskPage(Struct):
    """A page of tasks, oldest first. `after`: pass it as the parameter `after` for the next page; "" = this is the last page."""

    tasks: list[UserTaskView]
    after: str


class UserTaskPast(Struct):
    """The values that a task has had, oldest first. `after`: pass it as the parameter `after` for the next page; 0 = this is the
    last page."""

    values: list[UserTaskView]
    after: int


class UserTaskActIn(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """What is done with a task: to claim, to release. `user`, `groups`, here and in what else is done with one: for whom, and the
    groups that they are in; only from callers with an access key, who vouch for them. Callers with a user's token act for that
    user."""

    user: Name = ""
    groups: Annotated[list[Name], Meta(max_length=100)] = []


class HandOverIn(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """A task handed over: to a user, who has then claimed it, or to groups."""

    to_user: Name = ""
    to_groups: Annotated[list[Name], Meta(max_length=100)] = []
    user: Name = ""
    groups: Annotated[list[Name], Meta(max_length=100)] = []


class AnswerIn(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """An answer, or a part of it to be saved. Without `answer`: what was saved is the answer."""

    answer: Any = UNSET
    user: Name = ""
    groups: Annotated[list[Name], Meta(max_length=100)] = []


class NoteIn(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """A note on a task."""

    text: Annotated[str, Meta(max_length=10_000)] = ""
    user: Name = ""
    groups: Annotated[list[Name], Meta(max_length=100)] = []


class CancelIn(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """Why a task is canceled."""

    reason: Annotated[str, Meta(max_length=10_000)] = ""
    user: Name = ""
    groups: Annotated[list[Name], Meta(max_length=100)] = []


class FailureIn(Struct, forbid_unknown_fields=True):
    """How a work item failed. `kind`: technical, business, cancelled or "timed out". `retriable` False: no further attempt."""

    name: Name = "failed"
    kind: str = "technical"
    message: Annotated[str, Meta(max_length=10_000)] = ""
    content: Any = None
    retriable: bool = True


class ReportIn(Struct, forbid_unknown_fields=True, gc=False):
    """The outcome of a work item. `status`: COMPLETED, FAILED, FAILED_FOR_GOOD, or WORKING (a heartbeat; with `again_after`
    the item is returned, and offered again after that many milliseconds). `log`: what the worker logged in this attempt, which
    keeps the last 10,000 characters; a heartbeat has none.

    Repeating a report whose response was lost changes nothing, and returns the same response, with the items that were in it.
    """

    id: Name
    status: str = "COMPLETED"
    attempt: int = -1
    output: Any = None
    reason: Annotated[str, Meta(max_length=10_000)] = ""
    failure: FailureIn | None = None
    again_after: Annotated[int, Meta(ge=0, le=31_536_000_000)] = 0
    log: Annotated[str, Meta(max_length=10_000)] = ""


class ClaimIn(Struct, forbid_unknown_fields=True):
    """A request for work. `wait`: how long the server may wait for some to become available, in milliseconds."""

    queues: Annotated[list[Name], Meta(min_length=1, max_length=100)]
    count: Annotated[int, Meta(ge=1, le=1_000)] = 1
    wait: Annotated[int, Meta(ge=0, le=60_000)] = 0


class WorkIn(Struct, forbid_unknown_fields=True):
    """Reports of finished work and a request for more, in one commit. `version`: of the worker; attempts show it."""

    worker: Name = ""
    reports: Annotated[list[ReportIn], Meta(max_length=1_000)] = []
    claim: ClaimIn | None = None
    version: Annotated[str, Meta(max_length=200)] = ""


class ReportOut(Struct, omit_defaults=True, gc=False):
    """The result of a report. `code`: why it was refused; "step ended" and "no step" mean that nothing is left to be done."""

    ok: bool
    code: str = ""
    detail: str = ""


class ItemOut(Struct, omit_defaults=True, gc=False):
    """A work item. `lease`: milliseconds without a heartbeat (a WORKING report) after which the item is offered to others; 0 =
    never. `previous`: the output last reported for this attempt. `checkpoints`: how many earlier attempts, or earlier hand-outs,
    have put. `traceparent`, `tracestate`: the trace that the work belongs to, as W3C has it; a worker passes it on."""

    id: str
    queue: str
    run: str
    process: str
    slot: str
    attempt: int
    input: Any = None
    previous: Any = None
    polls: int = 0
    lease: int = 0
    checkpoints: int = 0
    traceparent: str = ""
    tracestate: str = ""


class CheckpointIn(Struct, forbid_unknown_fields=True):
    """What the attempt `attempt` of an item has done, so that no later one need do it again. `worker`: if given, it must be who
    has the item. `log`: at most 10,000 characters."""

    attempt: Annotated[int, Meta(ge=0)]
    value: Any = None
    log: Annotated[str, Meta(max_length=10_000)] = ""
    worker: Name = ""


class CheckpointOut(Struct, omit_defaults=True):
    """`accepted` false: the item is no longer this attempt's, or this worker's; nothing was stored, and the worker has to stop.
    `reason` says why."""

    accepted: bool
    number: int = -1
    reason: str = ""


class CheckpointView(Struct, omit_defaults=True):
    """A checkpoint. `attempt`: which one put it; `at`: epoch milliseconds."""

    number: int
    attempt: int
    at: int
    value: Any = None
    log: str = ""


class WorkOut(Struct):
    """The response to an exchange. `results`: in the order of the reports."""

    results: list[ReportOut]
    items: list[ItemOut]


class JobResultView(Struct, omit_defaults=True, gc=False):
    """The outcome of a signal to one run. `outcome`: signalled, held, unchanged or failed. `at`: epoch milliseconds."""

    run: str
    outcome: str
    at: int
    step: str = ""
    detail: str = ""


class JobResultPage(Struct, omit_defaults=True):
    """A job's results by run. `runs`: number of runs in the job; it is done when each has a result. `last`: where the next page
    starts; absent on the last page."""

    job: str
    runs: int
    results: list[JobResultView]
    last: str = ""


class HealthOut(Struct):
    """Whether the server is healthy; `details` has a member for each of its parts."""

    healthy: bool
    details: dict[str, Any]
