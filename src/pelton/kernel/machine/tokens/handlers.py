"""Handlers: threads that run while the thread that they work for stands still."""

from __future__ import annotations

from typing import Any

from pelton.kernel.machine.draft import Draft, FailureEscaped, StepFailure
from pelton.kernel.machine.tokens.flow import wait_to_leave
from pelton.kernel.machine.tokens.halts import halt
from pelton.kernel.machine.tokens.threads import start_thread, subtree
from pelton.kernel.model.process import Node
from pelton.kernel.model.state import Failure, Halt, Step, StepStatus, ThreadStatus


def handler_input(failure: Failure) -> dict[str, Any]:
    """What the handler of a failure is given."""
    return {"INPUT": failure.content if failure.content is not None else failure.message}


def start_handler(draft: Draft, node: Node, step: Step, entry: str, failure: Failure) -> None:
    """A handler thread for a failed step, whose thread is halted; when it completes, the token moves on without assignments.

    It belongs to the scope of the failed step, goes with that, and fails that when it fails.
    """
    scope = max(step.scope, 0)
    thread = start_thread(
        draft,
        entry,
        step.thread,
        scope,
        handles="failure",
        handled=step.n,
        variables=handler_input(failure),
        fragment=step.fragment,
    )
    wait_to_leave(draft, node, step, skip_assigns=True)
    halt(draft, step.thread, (int(Halt.HANDLING), thread.no))


def interrupt(draft: Draft, event: str, only: int, body: Any) -> bool:
    """Interrupts each live thread (or the one numbered `only`, -1 = any) that this event interrupts. False when none is."""
    found: list[tuple[int, str, str]] = []
    for no, entry in candidates(draft, event, only):
        arm = next(arm for arm in draft.process.bodies[entry].interrupts if arm.event == event)
        found.append((no, arm.body, arm.input))
    for no, start, variable in found:
        try:
            thread = start_thread(draft, start, no, 0, handles="interrupt", variables={variable: body})
        except StepFailure as error:
            draft.worklist.append(FailureEscaped(-no, no, error.failure, 0, int(StepStatus.FAILED_FOR_GOOD)))
        else:
            halt(draft, no, (int(Halt.INTERRUPTED), thread.no))
    return bool(found)


def candidates(draft: Draft, event: str, only: int) -> list[tuple[int, str]]:
    """Live threads that an event may interrupt, with their bodies, by number. Reads threads only where bodies below the root have
    such an interrupt; then the live ones, level by level."""
    bodies = {entry for entry, body in draft.process.bodies.items() if any(arm.event == event for arm in body.interrupts)}
    root = [(0, draft.process.entry)] if draft.process.entry in bodies and only <= 0 else []
    if not bodies or only == 0:
        return root
    if only > 0:
        thread = draft.thread(only)
        live = thread is not None and thread.status < ThreadStatus.COMPLETED
        return [(only, thread.body)] if thread is not None and live and thread.body in bodies else []
    top = draft.thread(0)
    if top is None:
        return root
    threads = sorted(subtree(draft, [top]), key=lambda thread: thread.no)
    return root + [(thread.no, thread.body) for thread in threads if thread.no and thread.body in bodies]
