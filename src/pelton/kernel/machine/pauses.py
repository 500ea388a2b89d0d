"""Pauses: of a run or a thread, by an operator; and of a process, which all its runs follow.

Both are reasons for which a thread is halted, side by side: a run goes on when neither is left. Signals do not say whether a
process is paused: a run looks at its process whenever it starts, goes on after its end, or is told to look. So it does not matter
in which order they come, or how often; after each of them the run is as its process is.
"""

from __future__ import annotations

from datetime import UTC, datetime

from pelton.errors import Code
from pelton.kernel.machine.draft import RESTING, Draft, Refusal
from pelton.kernel.machine.legality import change_run
from pelton.kernel.machine.tokens.halts import halt, lift_halt
from pelton.kernel.machine.tokens.lifecycle import end_rested
from pelton.kernel.machine.tokens.thread_ends import break_thread
from pelton.kernel.machine.tokens.threads import OPERATOR, PROCESS
from pelton.kernel.model.reads import PausedKey, ProcessPause
from pelton.kernel.model.signals import FollowProcess, Pause, Resume, Start
from pelton.kernel.model.state import RunStatus, Thread, ThreadStatus

PAUSES = (OPERATOR, PROCESS)


def check_thread(draft: Draft, no: int) -> None:
    """Raises Refusal for a thread that does not exist, or has ended. The root thread need not have a row."""
    thread = draft.thread(no) if no >= 0 else None
    if no and thread is None:
        raise Refusal(Code.NOT_FOUND, f"the run has no thread {no}")
    if no and thread is not None and thread.status >= ThreadStatus.COMPLETED:
        raise Refusal(Code.ENDED, f"thread {no} has ended ({ThreadStatus(thread.status).name.lower()})")


# ---- by an operator


def pause(draft: Draft, signal: Pause) -> None:
    check_thread(draft, signal.thread)
    stand(draft, signal.thread, OPERATOR)


def resume_run(draft: Draft, signal: Resume) -> None:
    """A run does not go on while its process is paused; resuming it then changes nothing."""
    check_thread(draft, signal.thread)
    thread = draft.thread(signal.thread)
    if thread is not None and PROCESS in thread.reasons:
        found = pause_of(draft)
        if found is not None:
            raise Refusal(Code.PAUSED, f"the run's {describe(draft.process.name, found)}; resume the process instead")
        lift_pause(draft, thread, PROCESS)
        if OPERATOR not in thread.reasons:
            return
        thread = draft.edit_thread(signal.thread)
    if thread is None or OPERATOR not in thread.reasons:
        raise Refusal(Code.NOT_PAUSED, f"thread {signal.thread} is not paused" if signal.thread else "the run is not paused")
    lift_pause(draft, thread, OPERATOR)


# ---- by its process


def pause_of(draft: Draft) -> ProcessPause | None:
    found: ProcessPause | None = draft.reads.answer(PausedKey(draft.head.ns, draft.process.name))
    return found


def describe(process: str, found: ProcessPause) -> str:
    since = datetime.fromtimestamp(found.since / 1000, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    by = f" by {found.by}" if found.by else ""
    return f"process {process!r} is paused since {since}{by}" + (f" ({found.why})" if found.why else "")


def start_under(draft: Draft, signal: Start) -> None:
    """A run that starts while its process is paused stands before its first step, unless new runs are refused."""
    found = pause_of(draft)
    if found is None:
        return
    if found.refuses:
        raise Refusal(Code.PAUSED, f"{describe(draft.process.name, found)}, and takes no new runs")
    if signal.trigger is not None:
        what = f"trigger {signal.trigger.name!r} cannot be fired at the start"
        raise Refusal(Code.PAUSED, f"{describe(draft.process.name, found)}, so {what}")
    stand(draft, 0, PROCESS)


def follow_process(draft: Draft, signal: FollowProcess | None = None) -> None:
    """The run stands if its process is paused, and goes on if it is not; no operator's pause is touched."""
    paused = pause_of(draft) is not None
    thread = draft.thread(0)
    stands = thread is not None and PROCESS in thread.reasons
    if paused and not stands:
        stand(draft, 0, PROCESS)
    elif stands and not paused and thread is not None:
        lift_pause(draft, thread, PROCESS)


def refuse_while_process_stands(draft: Draft) -> None:
    """Raises Refusal, with the reason, for what only a run that moves can take."""
    thread = draft.thread(0) if draft.head.status == RunStatus.PAUSED else None
    if thread is None or PROCESS not in thread.reasons:
        return
    found = pause_of(draft)
    was = f"process {draft.process.name!r} was paused, and the run is about to go on; try again"
    raise Refusal(Code.PAUSED, was if found is None else f"the run's {describe(draft.process.name, found)}")


# ---- both


def stand(draft: Draft, no: int, reason: tuple[int, int]) -> None:
    halt(draft, no, reason)
    if no == 0 and draft.head.status == RunStatus.RUNNING:
        change_run(draft.head, RunStatus.PAUSED)


def lift_pause(draft: Draft, thread: Thread, reason: tuple[int, int]) -> None:
    """One pause of a run or thread is over. When no other is left, an end that has come meanwhile is carried out."""
    over = not any(other in thread.reasons for other in PAUSES if other != reason)
    if over and thread.no == 0:
        change_run(draft.head, RunStatus.RUNNING)
    end = thread.resting
    if end is None or not over:
        lift_halt(draft, thread.no, reason)
        return
    thread = draft.edit_thread(thread.no)
    thread.resting = None
    thread.reasons = tuple(other for other in thread.reasons if other != reason)
    if thread.no == 0:
        draft.head.flags &= ~RESTING
        end_rested(draft, end)
    elif end.failure is not None:
        break_thread(draft, thread.no, end.failure, end.n)
