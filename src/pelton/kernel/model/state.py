"""The rows of a run: what the store keeps and `advance` reads and writes.

A run is never one document. It is a head of constant size (`Run`) and rows: open steps, ended steps, threads, variables.

* Step 0 is the start: its `output` is the run's input, its `input` is what the caller said about the run (see `StartMeta`).
* A token is an open step. The work item that a worker polls is the open row itself.
* A parked token (its step has ended, the way on is closed) is an open row with a negative number and no work.
* Ended rows do not change within an era. A rewind opens a new era and may void ranges of numbers.
* When a run ends, one last step named `END` is written: its `output` is the run's output, its `reason` says why.

All times are epoch milliseconds by the store's clock; 0 means "not yet" or "none". Slots are names: a step's slot is the name
of the node it activates, the same in every version of a process, so that a newer version can read what an older one wrote.
Rows are plain data: fields may only be appended, since they are stored by position. They form no cycles, so the garbage
collector need not track them (`gc=False`).

Short names, since these rows are at the heart of every hot path: `n` is a step's number, `it` an iteration, `no` a thread's
number, `k` a counter whose meaning depends on the row (see the fields), `rev` the revision of a run.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any

from msgspec import Struct

from pelton.kernel.expressions.base import JSON

START = "$start"
END = "$end"


class RunStatus(IntEnum):
    EXPECTED = 0  # a placeholder: something arrived for a run that has not been started
    RUNNING = 1
    PAUSED = 2  # running, with a halt reason on its root thread: of an operator, or since its process is paused
    COMPLETED = 3
    FAILED = 4
    TIMED_OUT = 5
    TERMINATED = 6

    @property
    def ended(self) -> bool:
        return self >= RunStatus.COMPLETED


class StepStatus(IntEnum):
    COMPLETED = 1
    COMPLETED_WITH_ERRORS = 2  # failed, and its definition says to go on
    SKIPPED = 3
    FAILED = 4
    FAILED_FOR_GOOD = 5  # failed, and must not be tried again
    TIMED_OUT = 6
    CANCELED = 7

    @property
    def successful(self) -> bool:
        return self <= StepStatus.SKIPPED


class State(IntEnum):
    """What an open row is waiting for."""

    WORK = 1  # a worker, or a built-in operation: the row is a work item
    WAIT = 2  # one of its arms
    JOIN = 3  # `left` ends
    SCOPE = 4  # the last of `left` tokens inside
    CALL = 5  # a child run, or a thread
    EMIT = 6  # an outside completion of what it published
    PARKED = 7  # the halt reasons of its thread, or fuel


class Bit:
    """Properties of an open row, so that closing it knows what to remove and how it ended. Plain numbers: testing an IntFlag
    takes twenty times as long, and every step of every run is tested several times."""

    TIMED = 1  # has rows in `timer`
    KEYED = 2  # has rows in `wait_key`
    OPTIONAL_FAILED = 4  # join: an awaited step failed and was forgiven
    DEFERRED_FAILED = 8  # join, scope: an awaited or inner step failed, the failure counts at the end
    RETRIED = 16  # ended step: another attempt followed
    BUILT_IN = 64  # work: done by the server itself
    AWAITS_THREADS = 128  # wait: an `end` that waits for child threads
    SKIPS_ASSIGNS = 256  # parked: follow the edge without its assignments
    VIA_LEAVE = 512  # parked: `slot` is the node that was left, not the one to enter
    THREAD = 2048  # call: `child` is a thread of this run, not a run
    COPIED = 524288  # wait: events that came for it while it was halted are held for it
    AGAIN = 1048576  # wait: its next attempt has yet to begin: after a delay, or when its thread is no longer halted
    STRANDED = 16777216  # parked: for fuel, not for a halt; a Continue moves it on
    HANDLED = 4096  # ended step: it failed, and its token took the path that its definition has for that
    PUT_OFF = 16384  # ended step: it failed, its token moved on, and the failure counts at the end of its owner
    GONE_ON = 32768  # row, and its step: the token of an earlier attempt has moved on, so this one ends with it
    DROPPED = 65536  # ended step: a join had no more use for it
    DYNAMIC = 131072  # join: it awaits what a dynamic fork made
    COUNTED = 2097152  # row: it is one of the tokens at its node that are counted
    HANDLERS = 8192  # join: handlers of threads that failed were started for it


FRAGMENTED = 1 << 10  # bit of Run.flags: dynamic forks have made nodes for it, and its rows say which are theirs


THREADED = 1  # bit of Run.flags: the run has rows in `thread`


class Run(Struct, array_like=True, gc=False):
    """The head: of constant size whatever the run's history."""

    key: int
    ns: str
    definition: int  # row of `definition`: the exact version this run follows
    status: int = RunStatus.RUNNING
    rev: int = 0
    era: int = 0
    next_n: int = 1
    open: int = 0  # open rows, parked ones included
    created: int = 0
    updated: int = 0
    ended: int = 0
    parent: int = 0  # run key of the caller, 0 for a root
    parent_n: int = 0  # the caller's step
    root: int = 0  # key of the outermost run
    parks: int = 0  # parked tokens so far: they take negative numbers
    held: int = 0  # events held for this run: non-zero makes an opening wait look for them
    threads: int = 1  # threads so far; thread 0 has a row only when it has state of its own
    retried: int = 0  # time of the last rewind
    voids: tuple[tuple[int, int], ...] = ()  # [low, high) ranges of numbers that a rewind took back; at most 8
    hops: int = 0  # how many runs and events led here, to cut endless cascades
    deferred: int = 0  # number of the step whose deferred failure fails the run at its end
    flags: int = 0  # what the run has, so that nothing that it lacks is looked for: see the bits in machine/draft.py
    threaded: int = 0  # the next number when it got its first row in `thread`: steps below are the root thread's
    ancestor: int = 0  # among whose descendants it counts: the key of an event, or minus that of a run; 0 = nobody's
    trace: str = ""  # the trace that it was started in, opaque to the kernel; "" = none

    @property
    def passes_on(self) -> int:
        """The ancestor of what it causes. A run that was started from outside may go on for ever, so it is nobody's: each event
        that it causes, and each run, is the ancestor of what follows from that."""
        return self.ancestor or (-self.key if self.hops else 0)


class DueTime(Struct, array_like=True, frozen=True, gc=False):
    """When a time arm or a limit wakes an open step. `at` 0: it has fired, or there is nothing to wait for.

    `epoch`: that of its timer. It rises with every time that is set and with every firing, so that a firing counts once however
    often it is delivered. `after`: of a limit, the milliseconds that it allows. `fixed`: a date, which no halt moves."""

    at: int = 0
    epoch: int = 0
    after: int = 0
    fixed: bool = False


TRIED = 1 << 11  # bit of Run.flags: its steps have rows in `attempt` or `checkpoint`


class Tries(Struct, array_like=True, frozen=True, gc=False):
    """What a step remembers once it was tried again in place, or has checkpoints or a log; most have none of that, and no value.

    `since`: when its present attempt was made; 0 = when the step opened. `checkpoints`: how many it has, under the number of the
    step `base` (0 = its own): an attempt that is a step of its own goes on with those of the one before. `limit`: the limit of an
    attempt as it was decided; the row's own grows with checkpoints. `log`: what the present attempt logged. `lost`: nobody has
    heard of its worker."""

    since: int = 0
    checkpoints: int = 0
    base: int = 0
    limit: int = 0
    log: str = ""
    lost: bool = False


NO_TRIES = Tries()


class StepAttempt(Struct, array_like=True, gc=False):
    """One attempt of a step of work. Only one that another attempt in the same step has followed is stored: the last one is
    derived from the row of the step itself. `status` 0: it has not ended."""

    run: int
    n: int
    number: int
    scheduled: int = 0  # when it was made
    due: int = 0  # not to be handed out before
    started: int = 0
    ended: int = 0
    status: int = 0  # StepStatus
    lost: bool = False  # it timed out, since nobody has heard of its worker
    worker: str = ""  # as in OpenStep
    polls: int = 0
    failure: str = ""  # name
    kind: str = ""
    message: str = ""
    content: JSON = None
    log: str = ""


class StepCheckpoint(Struct, array_like=True, gc=False):
    """What an attempt had done when it put this, and need not do again. Numbers of a step count from 0 over all its attempts."""

    run: int
    n: int
    number: int
    attempt: int
    at: int
    value: JSON
    log: str = ""


class OpenStep(Struct, array_like=True, gc=False):
    """One token. `n` > 0 is a step; `n` < 0 is a parked token. `flow.fresh` and `Draft.park` make it, by position for speed."""

    run: int
    n: int
    slot: str  # the node's name; of a parked token the node to enter (or to leave, VIA_LEAVE)
    state: int
    scope: int = 0  # number of the scope step that owns this token, 0 when the thread owns it
    it: int = 0  # iteration of that scope, 0 when none
    thread: int = 0
    attempt: int = 0
    previous: int = 0  # number of the failed attempt that this one follows
    opened: int = 0
    updated: int = 0
    first: int = 0  # when the first attempt was opened
    input: JSON = None
    output: JSON = None  # what was reported while still open
    reason: str = ""
    left: int = 0  # join: ends still awaited; scope: tokens inside
    # call: the first era of its child whose end counts
    k: int = 0  # scope: current iteration; fork: next branch; wait, work: arm epoch; join: the fork that opened it (see `flow`)
    bits: int = 0
    # call: key of the child run, or number of the child thread; join: an older one in the same place that is open still;
    # parked: the step that was left (VIA_LEAVE), else the fork whose branch it is about to open
    child: int = 0
    # the work item; lease columns change without a revision of the run
    queue: str = ""
    priority: int = 0
    due: int = 0  # not to be handed out before
    idle: int = 0  # milliseconds without a sign of life after which the lease is lost; 0 = never
    limit: int = 0  # milliseconds from the hand-out after which the attempt is timed out; 0 = never
    lease: int = 0  # 0 = not handed out; else when the lease is lost (max int when never)
    worker: str = ""  # its name; if it has said its version, that on a second line (see `worker_of`)
    polls: int = 0
    started: int = 0  # first hand-out of this attempt, or opening of what starts at once
    waits: JSON = None  # wait: state of the arms; scope: items count; anything the node kind needs to remember
    fork: int = (
        0  # number of the innermost fork with a join that this is in a branch of, in its own scope and iteration; 0 = none
    )
    fragment: int = 0  # step of the dynamic fork that made its node; 0 = the process
    cause: int = 0  # scope: the step whose deferred failure it ends with; join on threads: the thread that failed last
    pending: int = 0  # join on threads: threads whose outcome is still open
    times: dict[str, DueTime] | None = None  # by arm, as in TimerFired; the idle time and the limit of a lease are columns
    position: int = -1  # its place in its thread, where the process counts them: an attempt that follows has the same
    tries: Tries | None = None


class Step(Struct, array_like=True, gc=False):
    """One ended step. `Draft.end` makes it, by position: by keyword it would cost ten times as much, for every step."""

    run: int
    n: int
    slot: str
    status: int
    scope: int = 0
    it: int = 0
    thread: int = 0
    attempt: int = 0
    previous: int = 0
    opened: int = 0
    started: int = 0
    ended: int = 0
    first: int = 0
    input: JSON = None
    output: JSON = None
    reason: str = ""
    k: int = 0  # scope: iterations done; join: as in OpenStep; wait: -1 minus the index of the arm by which it left
    bits: int = 0
    child: int = 0
    worker: str = ""
    polls: int = 0
    state: int = 0  # what it was waiting for while open: lets a rewind reopen it
    failure: str = ""  # name of the failure, when it failed, forgiven or not (COMPLETED_WITH_ERRORS)
    fork: int = 0  # as in OpenStep
    fragment: int = 0
    kind: str = ""  # and its kind; "" in rows from before it was kept
    content: JSON = None  # and its content
    position: int = -1  # as in OpenStep
    tries: Tries | None = None


class Halt(IntEnum):
    """Why a thread is halted. A set of pairs (reason, number of the thread that causes it, 0 if that comes from outside)."""

    OPERATOR = 1
    INTERRUPTED = 2  # by the thread whose number stands beside it
    HANDLING = 3  # a failure, in the thread whose number stands beside it
    PARENT = 4  # the parent thread is halted
    NOT_YET = 6  # a handler's thread that waits until the thread it works for is at rest
    PROCESS = 7  # the process is paused; of the root thread only


class ThreadStatus(IntEnum):
    RUNNING = 1
    HALTING = 2  # halted, but an open step is let finish first
    HALTED = 3
    COMPLETED = 4
    FAILED = 5
    CANCELED = 6

    @property
    def ended(self) -> bool:
        return self >= ThreadStatus.COMPLETED


class Thread(Struct, array_like=True, gc=False):
    """A scope with variables of its own and a set of reasons why it is halted. Thread 0 is the run itself."""

    run: int
    no: int
    status: int = ThreadStatus.RUNNING
    parent: int = -1  # number of the parent thread; -1 for thread 0
    owner: int = 0  # the step that it ends with: a scope, call or join; of a failure handler: the scope of the failed step
    body: str = ""  # name of its entry node
    open: int = 0  # open rows in it (thread 0: not kept, the head's count minus the others')
    reasons: tuple[tuple[int, int], ...] = ()
    handles: str = ""  # "": an ordinary thread; "failure", "interrupt": of its parent; "child": of the thread `handled`
    handled: int = 0  # failure handler: number of the step that failed; "child": of the thread that failed
    children: int = 0  # threads that have this one as parent and have not ended
    position: int = 0  # of its next step, when the process counts them
    output: JSON = None
    reason: str = ""
    failure: str = ""  # name of the failure that failed it, or of a deferred one that will
    opened: int = 0
    ended: int = 0
    halted: int = 0  # when it was last halted: since then the clocks of its steps stand that stop on a halt
    born: int = 0  # number of the step that came next when it was started: a rewind to an earlier one takes it back
    starter: int = 0  # the step that started it and does not wait for it, 0 for none
    busy: int = -1  # halting: open steps that are let finish, and children that do not stand still; -1 = not counted
    still: bool = False  # halted, and so is everything below it: its parent need not wait for it
    joins: tuple[int, ...] = ()  # steps of joins that wait for it
    ends: tuple[int, ...] = ()  # its own `end` steps that wait for its children
    failed: int = 0  # children that failed, with nothing that has dealt with their failure so far
    named: tuple[int, ...] = ()  # numbers of the first few of those
    dealt: bool = False  # its failure was handled, forgiven, or became that of a join
    kind: str = ""  # of its failure
    content: JSON = None  # of its failure
    sees: int = -1  # the thread whose variables it sees, when that is not its parent; -1 = its parent
    resting: Resting | None = None  # how it ends once an operator resumes it

    @property
    def live(self) -> bool:
        """Whether it has not ended."""
        return self.status < ThreadStatus.COMPLETED


class Record(Struct, array_like=True, gc=False):
    """A run's document as it was from `since` on: a run has one current value, or none, and those that were before.

    `since` is in microseconds, unlike all other times here, and rises strictly within a run.
    """

    run: int
    since: int
    number: int  # 1 = the run's first
    live: bool  # False = settled: the document is final
    body: JSON


class Failure(Struct, array_like=True, frozen=True, gc=False):
    """What went wrong, as a value that rules match and handlers receive."""

    name: str = "failed"
    kind: str = "technical"  # technical | business | cancelled | timed out
    message: str = ""
    content: JSON = None
    retriable: bool = True


class Resting(Struct, array_like=True, frozen=True, gc=False):
    """An end that has come while the run or thread was paused: it rests, and is carried out on resume."""

    failure: Failure | None
    n: int = 0  # the step that failed, or that ended the run
    status: int = 0  # of the run; 0 = what the failure makes of it
    reason: str = ""
    output: JSON = None
    decided: bool = False  # by a node that ends the run: status, reason and output are as it says


class StartMeta(Struct, frozen=True, omit_defaults=True, gc=False):
    """What a caller says about a run when starting it; kept as the input of step 0. All but `extra` is Pelton's own."""

    correlation: str | None = None
    priority: int = 0
    actor: str | None = None  # who started it
    event: str | None = None  # the event (type) whose handler started it
    routes: dict[str, str] = {}  # queue name → route (a list of domains): where work of this run is offered
    parent: str | None = None
    extra: dict[str, Any] = {}  # the language's own


def worker_text(name: str, version: str) -> str:
    """A worker as rows have it."""
    return f"{name}\n{version}" if version else name


def worker_of(text: str) -> tuple[str, str]:
    """A worker's name, and its version; "" = it has said none."""
    name, _, version = text.partition("\n")
    return name, version
