"""The start and the end of a run."""

from __future__ import annotations

from typing import Any

from msgspec import ValidationError, convert, json, to_builtins

from pelton.errors import Code
from pelton.kernel.expressions.base import in_words
from pelton.kernel.machine.draft import DEADLINE, PRIORITY, RESTING, Draft, Refusal, StepFailure, Token
from pelton.kernel.machine.legality import change_run, change_thread, check
from pelton.kernel.machine.records import start_record
from pelton.kernel.machine.scene import RunEnd, Scene, evaluate, too_much
from pelton.kernel.machine.tokens.flow import cancel
from pelton.kernel.machine.tokens.outputs import output_of
from pelton.kernel.model.process import FollowUp, Process
from pelton.kernel.model.reads import DefinitionKey, EndedKey, InlineKey, Missing, NewRunKey, RunReads
from pelton.kernel.model.signals import ChildEnded, Start
from pelton.kernel.model.state import (
    END,
    START,
    Failure,
    OpenStep,
    Resting,
    Run,
    RunStatus,
    StartMeta,
    Step,
    StepStatus,
    ThreadStatus,
)
from pelton.kernel.model.transition import ClearTimers, SetTimer, SignalRun, StartRun

MOST_HOPS = 64  # runs that start runs that start runs


def start_run(process: Process, reads: RunReads, signal: Start, now: int) -> Draft:
    """The draft of a start: step 0 is recorded, variables are set, the first token is on the worklist."""
    existing = reads.head()
    if existing is not None:
        check(signal, existing.status)
    if signal.hops > MOST_HOPS:
        raise Refusal(
            Code.INVALID,
            f"{signal.hops} runs have started one another in a chain; the limit is {MOST_HOPS}. Check the definitions for a loop",
        )
    head = Run(
        signal.key,
        signal.ns,
        signal.definition,
        created=now,
        updated=now,
        parent=signal.parent,
        parent_n=signal.parent_n,
        root=signal.root or signal.key,
        hops=signal.hops,
        ancestor=signal.ancestor,
        trace=signal.trace,
    )
    if existing is not None:
        head.rev, head.held, head.era = existing.rev, existing.held, existing.era
    draft = Draft(process, reads, head, now, existing is None)
    meta = to_builtins(signal.meta)
    draft.record(
        Step(
            head.key,
            0,
            START,
            int(StepStatus.COMPLETED),
            opened=now,
            started=now,
            ended=now,
            first=now,
            input=meta or None,
            output=signal.input,
        )
    )
    draft.last = None
    head.flags |= min(max(signal.meta.priority, 0), 99) << PRIORITY
    enter_root(draft)
    return draft


def enter_root(draft: Draft) -> None:
    """Sets the initial variables and the deadline, and puts the first token on the worklist."""
    process = draft.process
    if process.records is not None:
        start_record(draft, Scene(draft))
    body = process.bodies.get(process.entry)
    if body is not None:
        scene = Scene(draft)
        for name, value in body.variables.items():
            draft.variables[0, name] = evaluate(value, scene)
    set_deadline(draft)
    draft.worklist.append(Token(process.entry, 0, 0, 0))
    draft.announce("run.started", 0)


def set_deadline(draft: Draft) -> None:
    deadline = draft.process.deadline
    if deadline is not None:
        draft.head.flags |= DEADLINE
        draft.effects.append(SetTimer(0, "run", draft.head.era, draft.now + deadline.stated))


def complete(draft: Draft) -> None:
    """The last token is gone: the run completes, unless a deferred failure is due."""
    head = draft.head
    if head.deferred:
        break_run(draft, failure_of(draft.step(head.deferred)), head.deferred)
        return
    try:
        output = run_output(draft, int(RunStatus.COMPLETED), "", None)
    except StepFailure as error:
        end_run(draft, RunStatus.FAILED, error.failure.message, error.failure, None, output=None)
        return
    close_run(draft, RunStatus.COMPLETED, output, "", None)


def run_output(draft: Draft, status: int, reason: str, failure: Failure | None) -> Any:
    """The output that the process defines; else the output of the step that ended last."""
    scene = Scene(draft, end=RunEnd(status, reason, failure))
    if draft.process.output is not None:
        return evaluate(draft.process.output, scene)
    last = draft.last
    if last is None:
        steps = draft.reads.answer(EndedKey(1, draft.head.next_n, 1))
        last = steps[0] if steps else None
    if last is None or last.slot == END:
        return None
    try:
        return output_of(draft, last)
    except Missing:
        if draft.thrifty:
            raise too_much(draft) from None
        raise


def failure_of(step: OpenStep | Step | None) -> Failure:
    if isinstance(step, Step):
        kind = {StepStatus.TIMED_OUT: "timed out", StepStatus.CANCELED: "cancelled"}.get(StepStatus(step.status), "technical")
        return Failure(step.failure or "failed", step.kind or kind, step.reason, step.content)
    return Failure()


def status_of(draft: Draft, failure: Failure, step: OpenStep | Step | None) -> RunStatus:
    """The status of a run that this failure ends."""
    if draft.process.failed_status is not None and isinstance(step, Step):
        return draft.process.failed_status(failure, StepStatus(step.status))
    if failure.kind == "cancelled":
        return RunStatus.TERMINATED
    return RunStatus.TIMED_OUT if failure.kind == "timed out" else RunStatus.FAILED


def break_run(draft: Draft, failure: Failure, n: int, status: RunStatus | None = None) -> None:
    """A failure that nothing caught has reached the run. `status`: of the run, where the failure does not decide it.

    While the run is paused the failure rests: work that is open may still be finished, and the run ends when it is resumed.
    """
    if draft.head.status == RunStatus.PAUSED:
        rest(draft, Resting(failure, n, int(status or 0)))
        return
    step = draft.step(n) if n else None
    reason = failure.message
    if status is None:
        status = status_of(draft, failure, step)
        if draft.process.failed_reason is not None:
            reason = draft.process.failed_reason(Scene(draft, step), step, failure, int(status))
    end_run(draft, status, reason, failure, step)


def break_run_by(draft: Draft, failure: Failure, step: Step, status: RunStatus | None = None) -> None:
    """A rule of a step, wherever that is, fails the run; its token is gone."""
    if draft.head.status == RunStatus.PAUSED:
        draft.grow(step.scope, -1)
    break_run(draft, failure, step.n, status)


def rest(draft: Draft, end: Resting) -> None:
    """A paused run keeps the first end that comes, until it is resumed."""
    root = draft.edit_thread(0)
    if root.resting is None:
        root.resting = end
        draft.head.flags |= RESTING


def end_rested(draft: Draft, end: Resting) -> None:
    """Ends a resumed run as it would have ended while it was paused."""
    status = RunStatus(end.status) if end.status else None
    if status is not None and end.decided:
        finish_run(draft, status, end.reason, end.failure, end.n, end.output)
    else:
        break_run(draft, end.failure or Failure(), end.n, status)


def finish_run(
    draft: Draft, status: RunStatus, reason: str, failure: Failure | None, n: int, output: Any, scope: int = 0
) -> None:
    """A node of the process (step n, 0 for a silent one) ends the run, at once or when it is resumed. `scope`: of its token."""
    if draft.head.status == RunStatus.PAUSED:
        draft.grow(scope, -1)
        rest(draft, Resting(failure, n, int(status), reason, output, True))
        return
    end_run(draft, status, reason, failure, draft.step(n) if n else None, output=output)


_COMPUTE = object()


def end_run(
    draft: Draft,
    status: RunStatus,
    reason: str,
    failure: Failure | None,
    step: OpenStep | Step | None = None,
    *,
    output: Any = _COMPUTE,
    follow_up: bool = True,
) -> None:
    """Ends the run now: everything that is still open is cancelled."""
    draft.worklist.clear()
    last = step if isinstance(step, Step) else draft.last
    if draft.head.open:
        for row in draft.all_open():
            cancel(draft, row, reason)
    draft.last = last
    if output is _COMPUTE:
        try:
            output = run_output(draft, int(status), reason, failure)
        except StepFailure as error:
            output = None
            reason = reason or error.failure.message
    for thread in draft.all_threads():
        if thread.status < ThreadStatus.COMPLETED and thread.no:
            mine = draft.edit_thread(thread.no)
            change_thread(mine, ThreadStatus.CANCELED)
            mine.ended, mine.open, mine.reasons, mine.resting = draft.now, 0, (), None
    close_run(draft, status, output, reason, failure, follow_up=follow_up)


def close_run(
    draft: Draft, status: RunStatus, output: Any, reason: str, failure: Failure | None, *, follow_up: bool = True
) -> None:
    head = draft.head
    now = draft.now
    change_run(head, status)
    head.ended = now
    draft.ask_for_nothing()
    if head.flags & DEADLINE:
        draft.effects.append(ClearTimers(0))
    if head.flags & RESTING:
        head.flags &= ~RESTING
        draft.edit_thread(0).resting = None
    if follow_up:
        output = start_follow_ups(draft, status, output, reason, failure)
    n = draft.number()
    draft.record(
        Step(
            head.key,
            n,
            END,
            int(StepStatus.COMPLETED if status == RunStatus.COMPLETED else StepStatus.FAILED),
            opened=now,
            started=now,
            ended=now,
            output=output,
            reason=reason,
            failure=failure.name if failure is not None else "",
            kind=failure.kind if failure is not None else "",
            content=failure.content if failure is not None else None,
        )
    )
    if head.parent and head.parent_n:
        ended = ChildEnded(
            n=head.parent_n, child=head.key, era=head.era, status=int(status), output=output, reason=reason, failure=failure
        )
        draft.effects.append(SignalRun(head.parent, ended))
    draft.announce("run.ended", n, {"status": int(status), "reason": reason})


def start_follow_ups(draft: Draft, status: RunStatus, output: Any, reason: str, failure: Failure | None) -> Any:
    """Starts the follow-ups of this end. Each may add a note about it to the output."""
    for index, follow_up in enumerate(draft.process.follow_ups):
        if status not in follow_up.statuses:
            continue
        scene = Scene(draft, end=RunEnd(int(status), reason, failure, output))
        try:
            note = start_follow_up(draft, follow_up, scene, index)
        except StepFailure as error:
            note = {"error": error.failure.message}
        if note and (output is None or isinstance(output, dict)) and follow_up.note:
            key = note.get("error") or draft.reads.codec.run_id(note["run"])
            output = {**(output or {}), follow_up.note: key}
    return output


def start_follow_up(draft: Draft, follow_up: FollowUp, scene: Scene, index: int) -> dict[str, Any] | None:
    target = evaluate(follow_up.target, scene)
    if target is None:
        return None
    definition = find_definition(draft, target)
    if isinstance(definition, str):
        excuse = follow_up.excuse.replace("{name}", str(target.get("name", "")))
        return {"error": excuse.replace("{reason}", definition)}
    key: int = draft.reads.answer(NewRunKey(0, -1 - index - draft.head.era * 100))
    meta = evaluate(follow_up.meta, scene) if follow_up.meta is not None else None
    start = StartRun(key, definition, evaluate(follow_up.input, scene), meta_from(meta), 0, later=True)
    draft.effects.append(start)
    return {"run": key}


def meta_from(value: Any) -> StartMeta:
    """Raises StepFailure when the value has parts that a start cannot have."""
    if isinstance(value, StartMeta):
        return value
    try:
        return convert(value, StartMeta) if value else StartMeta()
    except ValidationError as error:
        message = f"a run cannot be started with {in_words(value)}: {error}"
        raise StepFailure(Failure("expression", "technical", message, None, False)) from None


def find_definition(draft: Draft, target: Any) -> int | str:
    """The definition row that a target names; or a text, why there is none."""
    if "definition" in target:
        found: int | str = draft.reads.answer(InlineKey("process", json.encode(target["definition"], order="sorted").decode()))
        return found
    name, version, at = target["name"], int(target.get("version") or 0), int(target.get("at") or 0)
    row: int = draft.reads.answer(DefinitionKey("process", name, version, at))
    then = " at that instant" if at else ""
    return row or f"there is no process named {name!r}" + (f" with version {version}" if version else "") + then
