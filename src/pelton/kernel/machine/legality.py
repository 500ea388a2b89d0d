"""What is legal: which signal may be applied to a run in which status, and which status may follow which.

The machine decides by these tables: `advance` checks every signal with `check`, and the status of a run or a thread changes
through `change_run` and `change_thread` only. The diagrams in docs/states.md are drawn from the same tables.

A signal that is legal may still be refused for what it finds: a step that has ended, a guard that is false, a deleted record.
Cost: one look-up a signal. Steps end far more often than runs, so their statuses are listed here and not checked one by one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from pelton.errors import Code
from pelton.kernel.machine.draft import Refusal
from pelton.kernel.model.signals import (
    Amend,
    ChildEnded,
    ChildReopened,
    ChildReplied,
    Continue,
    Count,
    EventArrived,
    FollowProcess,
    Merge,
    Offered,
    Pause,
    PutCheckpoint,
    Report,
    Rescue,
    Resume,
    Retire,
    Rewind,
    RunNow,
    SetVars,
    Signal,
    Skip,
    Start,
    Terminate,
    TimerFired,
    Trigger,
    Upgrade,
)
from pelton.kernel.model.state import Run, RunStatus, State, StepStatus, Thread, ThreadStatus

# ---- signals


class Legality(NamedTuple):
    """The code with which a signal is refused in a run that is expected, going on (running or paused), or ended; None: legal."""

    expected: Code | None
    going_on: Code | None
    ended: Code | None


WHILE_IT_GOES_ON = Legality(Code.NOT_FOUND, None, Code.ENDED)
ONCE_IT_HAS_ENDED = Legality(Code.NOT_ENDED, Code.NOT_ENDED, None)
ONCE_IT_HAS_STARTED = Legality(Code.NOT_FOUND, None, None)

SIGNALS: Mapping[type[Signal], Legality] = {
    Start: Legality(None, Code.EXISTS, Code.EXISTS),
    Report: Legality(Code.NO_STEP, None, Code.ENDED),
    PutCheckpoint: WHILE_IT_GOES_ON,
    EventArrived: Legality(None, None, Code.ENDED),
    Offered: ONCE_IT_HAS_STARTED,
    Trigger: WHILE_IT_GOES_ON,
    Merge: WHILE_IT_GOES_ON,
    TimerFired: WHILE_IT_GOES_ON,
    ChildEnded: WHILE_IT_GOES_ON,
    ChildReplied: WHILE_IT_GOES_ON,
    ChildReopened: ONCE_IT_HAS_ENDED,
    Continue: WHILE_IT_GOES_ON,
    Count: Legality(None, None, None),
    Pause: WHILE_IT_GOES_ON,
    Resume: WHILE_IT_GOES_ON,
    FollowProcess: WHILE_IT_GOES_ON,
    Terminate: WHILE_IT_GOES_ON,
    Rewind: ONCE_IT_HAS_ENDED,
    Rescue: ONCE_IT_HAS_STARTED,
    Skip: WHILE_IT_GOES_ON,
    SetVars: WHILE_IT_GOES_ON,
    Upgrade: WHILE_IT_GOES_ON,
    RunNow: WHILE_IT_GOES_ON,
    Amend: ONCE_IT_HAS_STARTED,
    Retire: ONCE_IT_HAS_STARTED,
}


def code_for(legality: Legality, status: RunStatus) -> Code | None:
    if status is RunStatus.EXPECTED:
        return legality.expected
    return legality.ended if status.ended else legality.going_on


# The same by the number of the status, as `check` needs it.
CODES: Mapping[type[Signal], tuple[Code | None, ...]] = {
    signal: tuple(code_for(legality, status) for status in RunStatus) for signal, legality in SIGNALS.items()
}


def check(signal: Signal, status: int) -> None:
    """Raises Refusal for a signal that is not legal in this status of the run."""
    code = CODES[type(signal)][status]
    if code is not None:
        raise Refusal(code, reason(code, RunStatus(status)))


def reason(code: Code, status: RunStatus) -> str:
    if code is Code.EXISTS:
        return "a run with this key has already been started"
    if code is Code.NOT_ENDED and status is not RunStatus.EXPECTED:
        return f"the run is still {status.name.lower()}"
    return f"the run has ended ({status.name.lower()})" if status.ended else "the run has not been started"


# ---- statuses of a run

OUTCOMES: Mapping[RunStatus, str] = {
    RunStatus.COMPLETED: "the last token is gone and no thread lives, or a node ends the run",
    RunStatus.FAILED: "a failure reaches the run",
    RunStatus.TIMED_OUT: "a time limit is exceeded",
    RunStatus.TERMINATED: "Terminate, Retire, or a cancelled step reaches the run",
}
REOPENED: Mapping[RunStatus, str] = {RunStatus.RUNNING: "Rewind, Rescue or ChildReopened"}

# Which status may follow which, and why it does. A run that is started directly is running at once.
RUN_CHANGES: Mapping[RunStatus, Mapping[RunStatus, str]] = {
    RunStatus.EXPECTED: {RunStatus.RUNNING: "Start"},
    RunStatus.RUNNING: {RunStatus.PAUSED: "Pause, or its process is paused", **OUTCOMES},
    RunStatus.PAUSED: {
        RunStatus.RUNNING: "Resume, or its process is resumed",
        RunStatus.TIMED_OUT: "the run's own time limit is exceeded",
        RunStatus.TERMINATED: "Terminate or Retire",
    },
    RunStatus.COMPLETED: REOPENED,
    RunStatus.FAILED: REOPENED,
    RunStatus.TIMED_OUT: REOPENED,
    RunStatus.TERMINATED: REOPENED,
}


def change_run(head: Run, status: RunStatus) -> None:
    """Raises IllegalChange."""
    if status not in RUN_CHANGES[RunStatus(head.status)]:
        raise IllegalChange(f"a run that is {RunStatus(head.status).name} may not become {status.name}")
    head.status = int(status)


# ---- statuses of a thread

STOPPED: Mapping[ThreadStatus, str] = {
    ThreadStatus.COMPLETED: "its last token is gone",
    ThreadStatus.FAILED: "a failure reaches the thread",
    ThreadStatus.CANCELED: "what owns it ends, or it lost a race",
}
THREAD_CHANGES: Mapping[ThreadStatus, Mapping[ThreadStatus, str]] = {
    ThreadStatus.RUNNING: {ThreadStatus.HALTING: "its first halt reason", **STOPPED},
    ThreadStatus.HALTING: {
        ThreadStatus.HALTED: "no open step, and no child, has to finish first",
        ThreadStatus.RUNNING: "its last halt reason is gone",
        **STOPPED,
    },
    ThreadStatus.HALTED: {ThreadStatus.RUNNING: "its last halt reason is gone", **STOPPED},
    ThreadStatus.COMPLETED: {ThreadStatus.RUNNING: "Rewind, to a step inside it"},
    ThreadStatus.FAILED: {ThreadStatus.RUNNING: "Rewind or Rescue", ThreadStatus.CANCELED: "Rewind, to before it was started"},
    ThreadStatus.CANCELED: {ThreadStatus.RUNNING: "Rewind"},
}


def change_thread(thread: Thread, status: ThreadStatus) -> None:
    """Raises IllegalChange."""
    if status not in THREAD_CHANGES[ThreadStatus(thread.status)]:
        raise IllegalChange(f"a thread that is {ThreadStatus(thread.status).name} may not become {status.name}")
    thread.status = int(status)


class IllegalChange(Exception):
    """A defect of the machine or of a process: nothing that a caller sends may lead here. The signal is dropped."""


# ---- statuses of a step

STEP_ENDS: Mapping[StepStatus, str] = {
    StepStatus.COMPLETED: "it has done its part",
    StepStatus.COMPLETED_WITH_ERRORS: "it failed, and its definition says to go on",
    StepStatus.SKIPPED: "Skip was applied before it opened",
    StepStatus.FAILED: "it failed",
    StepStatus.FAILED_FOR_GOOD: "it failed, and must not be tried again",
    StepStatus.TIMED_OUT: "a limit was exceeded",
    StepStatus.CANCELED: "it is no longer wanted",
}
# Open steps that a report may be about; the others wait for steps, not for callers.
REPORTABLE = (State.WORK, State.WAIT, State.EMIT, State.CALL)
# Failures that a retry policy does not apply to.
FINAL = (StepStatus.FAILED_FOR_GOOD, StepStatus.CANCELED)
# Ended steps that a rewind opens again, or starts a new attempt of.
UNSUCCESSFUL = (StepStatus.FAILED, StepStatus.FAILED_FOR_GOOD, StepStatus.TIMED_OUT, StepStatus.CANCELED)
