"""What can happen to a run. A signal is plain data: it can be stored, sent to another node, and applied again without harm.

`strict` signals come from callers who want an error when nothing could be done; tolerant ones come from inside (handlers,
timers, other runs): what can no longer be applied is recorded as a note and changes nothing.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct, field

from pelton.kernel.expressions.base import JSON
from pelton.kernel.model.state import Failure, StartMeta, StepStatus


class Signal(Struct, tag=True, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    strict: bool = True


class Trigger(Signal, frozen=True, kw_only=True):
    """A named trigger, tried on the trigger arms of the open wait, with changes: of the record where the process keeps one, else
    of variables. `actor`: who fires it; `request`: on whose behalf, for the record. `origin`: the run and the step that sent it,
    in whose log a refusal is recorded. `reply`: the event that reports the outcome to the origin, with a body
    `{"applied": bool, "reason": text}`; "" = none."""

    name: str
    changes: dict[str, Any] = {}
    actor: str = ""
    request: str = ""
    origin: tuple[int, int] = (0, 0)
    reply: str = ""


class Start(Signal, frozen=True, kw_only=True):
    """Starts a run. The head must not exist, or be EXPECTED. `key`: the new run's key, chosen by the runtime before the first
    try. `definition`: row of the exact version. `trigger`: fired on what has opened; when it is refused, so is the start.
    `origin`: the run and the step that asked for it, in whose log a refusal is recorded. `trace`: kept with the run."""

    key: int
    ns: str
    definition: int
    input: JSON = None
    meta: StartMeta = StartMeta()
    parent: int = 0
    parent_n: int = 0
    root: int = 0  # 0: itself
    hops: int = 0
    trigger: Trigger | None = None
    origin: tuple[int, int] = (0, 0)
    ancestor: int = 0
    trace: str = ""


class Report(Signal, frozen=True, kw_only=True):
    """A worker, a built-in operation or an outside caller reports on a step.

    The step is named by number, or by slot (its open row; `it` = iteration, 0 = the newest). `status` None reports progress.
    With `hold`, a report for a slot that is not open yet is held for that many milliseconds and claimed when it opens.
    `attempt` is checked when not -1: a late report of an earlier attempt changes nothing.
    """

    n: int = 0
    slot: str = ""
    it: int = 0
    attempt: int = -1
    status: int | None = StepStatus.COMPLETED
    output: JSON = None
    keep_output: bool = False  # leave the output reported before as it is
    reason: str = ""
    failure: Failure | None = None
    worker: str = ""
    again_after: int = 0  # with status None: offer the work again after so many milliseconds
    hold: int = 0
    source: str = ""  # id of the event that caused this, for the record
    log: str = ""  # what the worker logged in this attempt; with progress it is added to what it reported before


class PutCheckpoint(Signal, frozen=True, kw_only=True):
    """The worker of a step puts a checkpoint, which stays when its attempt fails; its lease and the limit of its attempt begin
    anew. Refused as "step ended" unless the attempt is the current one, and handed out (to `worker`, where that is given): the
    sender has to stop.

    `number`: the one that it must get, -1 = the next. One that there is already is refused as "exists"."""

    n: int
    attempt: int
    value: JSON = None
    number: int = -1
    log: str = ""
    worker: str = ""


class EventArrived(Signal, frozen=True, kw_only=True):
    """An event for the event arms of a run's waits and threads; it is held when nothing can take it yet.

    With a `key` it is for those who wait for the key now: refused when nobody does. `keep`: for a wait whose thread is halted it
    is held until that resumes; else such a one counts as not waiting.

    `keeps`: it stays when it has been taken, and says by what; without a key only. Such a one is unique in its run by name and
    `ident` ("" = it is one of any number)."""

    id: int
    name: str
    body: JSON = None
    key: str = ""
    thread: int = -1  # only for this thread
    position: int = -1  # only for the wait at this position of its thread (with a key: of this number)
    posted: int = 0
    keep: bool = False
    n: int = 0  # the step that waits for the key, where that is known
    ident: str = ""
    keeps: bool = False
    expires: int = 0  # gone from then on when nothing has taken it; 0 = with the run
    sticky: int = 0  # with a key: the id of the sticky event that this is a copy of; a wait gets it once


class Offered(Signal, frozen=True, kw_only=True):
    """Somebody has come into the queue (`name`, `key`) that step `n` waits to take from. If that has changed its mind, the next
    one is told."""

    n: int
    name: str
    key: str
    strict: bool = False


class Merge(Signal, frozen=True, kw_only=True):
    """Data merged into the variables wherever the run is; a wait with a merge arm may leave because of it. `must_leave`: it is
    refused, and nothing merged, when none does."""

    changes: dict[str, Any] = {}
    must_leave: bool = False


class Amend(Signal, frozen=True, kw_only=True):
    """Changes of the record without a trigger; those of a finished run included."""

    changes: dict[str, Any] = {}
    actor: str = ""
    request: str = ""


class Retire(Signal, frozen=True, kw_only=True):
    """The run ends if it has not, and its record is deleted; past values can still be read."""

    actor: str = ""
    request: str = ""
    reason: str = ""


class Count(Signal, frozen=True, kw_only=True):
    """A child changes what its parent counts it as: names, and by how much."""

    changes: dict[str, int] = {}


class TimerFired(Signal, frozen=True, kw_only=True):
    """`arm`: queue | idle | limit | total | an index of a wait's arms as text | run (n = 0). A stale `epoch` changes nothing."""

    n: int
    arm: str
    epoch: int = 0
    strict: bool = False


class ChildEnded(Signal, frozen=True, kw_only=True):
    n: int
    child: int
    era: int
    status: int  # RunStatus
    output: JSON = None
    reason: str = ""
    failure: Failure | None = None
    strict: bool = False


class ChildReopened(Signal, frozen=True, kw_only=True):
    """A child that had ended was reopened: the step that called it opens again, and so does the run."""

    n: int
    child: int
    era: int
    strict: bool = False


class ChildReplied(Signal, frozen=True, kw_only=True):
    """A child answered before its end, to a call that awaits the reply only. With `failure` the call fails."""

    n: int
    child: int
    output: JSON = None
    failure: Failure | None = None
    strict: bool = False


class Continue(Signal, frozen=True, kw_only=True):
    """Continues a run whose fuel ran out."""

    strict: bool = False


# ---- by operators


class Pause(Signal, frozen=True, kw_only=True):
    thread: int = 0


class Resume(Signal, frozen=True, kw_only=True):
    thread: int = 0


class FollowProcess(Signal, frozen=True, kw_only=True):
    """The run looks whether its process is paused, and stands or goes on accordingly."""

    strict: bool = False


BY_PARENT = "terminated by parent"  # name of the failure of a run that was ended since its caller was


class Terminate(Signal, frozen=True, kw_only=True):
    reason: str = ""
    follow_up: bool = field(default=False, name="sequel")  # start the process's follow-up of this end; the name is that stored
    by_parent: bool = False


class Rewind(Signal, frozen=True, kw_only=True):
    """Takes a finished run back. to = "failed": new attempts of what failed; "start": from the start; "step": from step `n`.

    `definition`: continue with this version (0 = as before). `input`, `step_input`: replace what was stored (None = keep).
    `children`: with "failed", rewind the failed child of a failed call instead of starting it anew.
    """

    to: str
    n: int = 0
    definition: int = 0
    input: JSON = None
    step_input: JSON = None
    meta: StartMeta | None = None
    children: bool = False


class Rescue(Signal, frozen=True, kw_only=True):
    """A failed thread runs again from the step that failed, or with `skip` goes on behind it; so does what failed because of it.
    In a run that has ended the rest of what failed or was cut off is retried too. Refused where the failure has been handled."""

    thread: int
    skip: bool = False


class Skip(Signal, frozen=True, kw_only=True):
    """The step of this slot, not activated yet, ends as skipped when a token arrives."""

    slot: str
    input: JSON = None
    output: JSON = None


class SetVars(Signal, frozen=True, kw_only=True):
    changes: dict[str, Any] = {}
    thread: int = 0
    append: bool = False  # lists: append instead of replace


class Upgrade(Signal, frozen=True, kw_only=True):
    """Moves the run to another version of the same process."""

    definition: int


class RunNow(Signal, tag="HurryUp", frozen=True, kw_only=True):
    """Work that was due later is due now."""


AnySignal = (
    Start
    | Report
    | PutCheckpoint
    | EventArrived
    | Offered
    | Trigger
    | Merge
    | Amend
    | Retire
    | Count
    | TimerFired
    | ChildEnded
    | ChildReopened
    | ChildReplied
    | Continue
    | Pause
    | Resume
    | FollowProcess
    | Terminate
    | Rewind
    | Rescue
    | Skip
    | SetVars
    | Upgrade
    | RunNow
)
