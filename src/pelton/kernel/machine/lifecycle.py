"""The beginning and the end of a run."""

from __future__ import annotations

from typing import Any

from msgspec import convert, json, to_builtins

from pelton.errors import Code
from pelton.kernel.machine.draft import DEADLINE, PRIORITY, Refusal, StepFailure, Token, Turn
from pelton.kernel.machine.flow import cancel
from pelton.kernel.machine.outputs import output_of
from pelton.kernel.machine.records import begin_record
from pelton.kernel.machine.scene import End, Scene, evaluate
from pelton.kernel.machine.threads import all_threads
from pelton.kernel.model.process import Process, Sequel
from pelton.kernel.model.reads import DefinitionKey, EndedKey, Facts, InlineKey, NewRunKey
from pelton.kernel.model.signals import ChildEnded, Start
from pelton.kernel.model.state import END, START, Failure, OpenStep, Run, RunStatus, StartMeta, Step, StepStatus, ThreadStatus
from pelton.kernel.model.transition import ClearTimers, SetTimer, SignalRun, StartRun

MOST_HOPS = 64  # runs that start runs that start runs


def begin(process: Process, facts: Facts, signal: Start, now: int) -> Turn:
    """The turn of a start: step 0 is recorded, variables are set, the first token waits to enter."""
    existing = facts.head()
    if existing is not None and existing.status != RunStatus.EXPECTED:
        raise Refusal(Code.EXISTS, "a run of this key has been started already")
    if signal.hops > MOST_HOPS:
        raise Refusal(
            Code.INVALID, f"{signal.hops} runs have started one another in a row; at most {MOST_HOPS} may. Is it a circle?"
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
    )
    if existing is not None:
        head.rev, head.held, head.era = existing.rev, existing.held, existing.era
    turn = Turn(process, facts, head, now, existing is None)
    meta = to_builtins(signal.meta)
    turn.record(
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
    turn.last = None
    head.flags |= min(max(signal.meta.priority, 0), 99) << PRIORITY
    enter_root(turn)
    return turn


def enter_root(turn: Turn) -> None:
    """Sets the initial variables and the deadline, and sends the first token off."""
    process = turn.process
    if process.records is not None:
        begin_record(turn, Scene(turn))
    body = process.bodies.get(process.entry)
    if body is not None:
        scene = Scene(turn)
        for name, value in body.variables.items():
            turn.variables[0, name] = evaluate(value, scene)
    set_deadline(turn)
    turn.agenda.append(Token(process.entry, 0, 0, 0))
    turn.fact("run.started", 0)


def set_deadline(turn: Turn) -> None:
    deadline = turn.process.deadline
    if deadline is not None:
        turn.head.flags |= DEADLINE
        turn.effects.append(SetTimer(0, "run", turn.head.era, turn.now + deadline.after))


def complete(turn: Turn) -> None:
    """The last token is gone: the run ends well, unless a failure was put off until now."""
    head = turn.head
    if head.deferred:
        break_run(turn, failure_of(turn.step(head.deferred)), head.deferred)
        return
    try:
        output = run_output(turn, int(RunStatus.COMPLETED), "", None)
    except StepFailure as error:
        end_run(turn, RunStatus.FAILED, error.failure.message, error.failure, None, output=None)
        return
    close_run(turn, RunStatus.COMPLETED, output, "", None)


def run_output(turn: Turn, status: int, reason: str, failure: Failure | None) -> Any:
    """What the process says its output is; else the output of the step that ended last."""
    scene = Scene(turn, end=End(status, reason, failure))
    if turn.process.output is not None:
        return evaluate(turn.process.output, scene)
    last = turn.last
    if last is None:
        steps = turn.facts.answer(EndedKey(1, turn.head.next_n, 1))
        last = steps[0] if steps else None
    return output_of(turn, last) if last is not None and last.slot != END else None


def failure_of(step: OpenStep | Step | None) -> Failure:
    if isinstance(step, Step):
        kind = {StepStatus.TIMED_OUT: "timed out", StepStatus.CANCELED: "cancelled"}.get(StepStatus(step.status), "technical")
        return Failure(step.failure or "failed", kind, step.reason)
    return Failure()


def status_of(turn: Turn, failure: Failure, step: OpenStep | Step | None) -> RunStatus:
    """What a run ends as when this failure ends it."""
    if turn.process.failed_status is not None and isinstance(step, Step):
        return turn.process.failed_status(failure, StepStatus(step.status))
    if failure.kind == "cancelled":
        return RunStatus.TERMINATED
    return RunStatus.TIMED_OUT if failure.kind == "timed out" else RunStatus.FAILED


def break_run(turn: Turn, failure: Failure, n: int) -> None:
    """A failure that nothing caught has reached the run."""
    step = turn.step(n) if n else None
    status = status_of(turn, failure, step)
    reason = failure.message
    if turn.process.failed_reason is not None:
        reason = turn.process.failed_reason(Scene(turn, step), step, failure, int(status))
    end_run(turn, status, reason, failure, step)


_COMPUTE = object()


def end_run(
    turn: Turn,
    status: RunStatus,
    reason: str,
    failure: Failure | None,
    step: OpenStep | Step | None = None,
    *,
    output: Any = _COMPUTE,
    sequel: bool = True,
) -> None:
    """The run ends now, whatever is open: all of it is cancelled."""
    turn.agenda.clear()
    last = step if isinstance(step, Step) else turn.last
    if turn.head.open:
        for row in turn.all_open():
            cancel(turn, row, reason)
    turn.last = last
    if output is _COMPUTE:
        try:
            output = run_output(turn, int(status), reason, failure)
        except StepFailure as error:
            output = None
            reason = reason or error.failure.message
    for thread in all_threads(turn):
        if thread.status < ThreadStatus.COMPLETED and thread.no:
            mine = turn.edit_thread(thread.no)
            mine.status, mine.ended, mine.open, mine.reasons = ThreadStatus.CANCELED, turn.now, 0, ()
    close_run(turn, status, output, reason, failure, sequel=sequel)


def close_run(turn: Turn, status: RunStatus, output: Any, reason: str, failure: Failure | None, *, sequel: bool = True) -> None:
    head = turn.head
    now = turn.now
    head.status, head.ended = int(status), now
    if head.flags & DEADLINE:
        turn.effects.append(ClearTimers(0))
    if sequel:
        output = start_sequels(turn, status, output, reason, failure)
    n = turn.number()
    turn.record(
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
        )
    )
    if head.parent and head.parent_n:
        ended = ChildEnded(
            n=head.parent_n, child=head.key, era=head.era, status=int(status), output=output, reason=reason, failure=failure
        )
        turn.effects.append(SignalRun(head.parent, ended))
    turn.fact("run.ended", n, {"status": int(status), "reason": reason})


def start_sequels(turn: Turn, status: RunStatus, output: Any, reason: str, failure: Failure | None) -> Any:
    """Starts what is to follow this end. The output gains what the process's sequel says of it."""
    for index, sequel in enumerate(turn.process.sequels):
        if status not in sequel.statuses:
            continue
        scene = Scene(turn, end=End(int(status), reason, failure, output))
        try:
            note = start_sequel(turn, sequel, scene, index)
        except StepFailure as error:
            note = {"error": error.failure.message}
        if note and (output is None or isinstance(output, dict)) and sequel.note:
            key = note.get("error") or turn.facts.codec.run_id(note["run"])
            output = {**(output or {}), sequel.note: key}
    return output


def start_sequel(turn: Turn, sequel: Sequel, scene: Scene, index: int) -> dict[str, Any] | None:
    target = evaluate(sequel.target, scene)
    if target is None:
        return None
    definition = find_definition(turn, target)
    if isinstance(definition, str):
        excuse = sequel.excuse.replace("{name}", str(target.get("name", "")))
        return {"error": excuse.replace("{reason}", definition)}
    key: int = turn.facts.answer(NewRunKey(0, -1 - index - turn.head.era * 100))
    meta = evaluate(sequel.meta, scene) if sequel.meta is not None else None
    start = StartRun(key, definition, evaluate(sequel.input, scene), meta_from(meta), 0, later=True)
    turn.effects.append(start)
    return {"run": key}


def meta_from(value: Any) -> StartMeta:
    if isinstance(value, StartMeta):
        return value
    return convert(value, StartMeta) if value else StartMeta()


def find_definition(turn: Turn, target: Any) -> int | str:
    """The definition row that a target names; a text says why there is none."""
    if "definition" in target:
        found: int | str = turn.facts.answer(InlineKey("process", json.encode(target["definition"], order="sorted").decode()))
        return found
    name, version, at = target["name"], int(target.get("version") or 0), int(target.get("at") or 0)
    row: int = turn.facts.answer(DefinitionKey("process", name, version, at))
    then = " at that instant" if at else ""
    return row or f"there is no process named {name!r}" + (f" with version {version}" if version else "") + then
