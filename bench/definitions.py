"""The workflows and handlers that are measured."""

from __future__ import annotations

from typing import Any

START = "bench:start"  # type of the events that start a run
WAITING = "bench:wait"  # ... that start a run which waits
PAID = "bench:paid"  # ... that complete its wait
TOPIC = "bench:topic"  # ... that many handlers look at


def task(name: str, reference: str, kind: str = "SIMPLE", **more: Any) -> dict[str, Any]:
    return {"name": name, "taskReferenceName": reference, "type": kind, **more}


def three_steps(name: str, queues: tuple[str, str, str]) -> dict[str, Any]:
    """W1. Each step gets something of the input and of the step before."""
    one, two, three = queues
    order = "${workflow.input.order}"
    return {
        "name": name, "version": 1, "schemaVersion": 2, "timeoutSeconds": 0,
        "tasks": [
            task(one, "one", inputParameters={"order": order, "amount": "${workflow.input.amount}"}),
            task(two, "two", inputParameters={"order": order, "reference": "${one.output.reference}"}),
            task(three, "three", inputParameters={"order": order, "reference": "${two.output.reference}"}),
        ],
        "outputParameters": {"reference": "${three.output.reference}"},
    }  # fmt: skip


def at_once() -> dict[str, Any]:
    """W3, W4. Ends in the commit that starts it."""
    kept = task("keep", "keep", "SET_VARIABLE", inputParameters={"n": "${workflow.input.n}"})
    return {"name": "bench_at_once", "version": 1, "schemaVersion": 2, "timeoutSeconds": 0, "tasks": [kept]}


def waiting() -> dict[str, Any]:
    """W2."""
    return {
        "name": "bench_waiting", "version": 1, "schemaVersion": 2, "timeoutSeconds": 0,
        "tasks": [task("wait", "wait", "WAIT")],
        "outputParameters": {"amount": "${wait.output.amount}"},
    }  # fmt: skip


def loop(rounds: int) -> dict[str, Any]:
    """W5. One step of work an iteration; the condition reads the loop's counter and the body's newest output."""
    body = task("bench_turn", "turn", inputParameters={"n": "${loop.output.iteration}"})
    condition = f"$.loop.iteration < {rounds} && $.turn.more"
    found = task("loop", "loop", "DO_WHILE", loopCondition=condition, loopOver=[body], inputParameters={})
    return {"name": "bench_loop", "version": 1, "schemaVersion": 2, "timeoutSeconds": 0, "tasks": [found]}


def starts(name: str, event: str, workflow: str, condition: str = "") -> dict[str, Any]:
    """A handler that starts a run with the event's `n`."""
    action = {"action": "start_workflow", "start_workflow": {"name": workflow, "version": 1, "input": {"n": "${n}"}}}
    found: dict[str, Any] = {"name": name, "event": event, "active": True, "actions": [action]}
    return {**found, "condition": condition} if condition else found


def completes() -> dict[str, Any]:
    """A handler that completes the wait of the run that the event names."""
    named = {"workflowId": "${run}", "taskRefName": "wait", "output": {"amount": "${amount}"}}
    action = {"action": "complete_task", "complete_task": named}
    return {"name": "bench-paid", "event": PAID, "active": True, "actions": [action]}
