"""Searches through the official client."""

from __future__ import annotations

from tests.acceptance.official import Official, simple, unique, wait


def test_workflows_and_tasks_are_found(official: Official) -> None:
    name = official.register(unique("found"), [wait("w"), simple("never")])
    runs = [official.start(name, {"customer": f"customer {number}"}, correlation_id=f"{name}-{number}") for number in range(3)]
    official.workflows.terminate_workflow(runs[0], "enough")
    found = official.workflows.search(size=2, query=f"workflowType='{name}' AND status IN (RUNNING)")
    assert [each.workflow_id for each in found.results] == runs[:0:-1]
    assert [each.correlation_id for each in found.results] == [f"{name}-2", f"{name}-1"]
    [one] = official.workflows.search(free_text=f"{name}-0", query=f"workflowType={name}").results
    assert (one.workflow_id, one.status, one.reason_for_incompletion) == (runs[0], "TERMINATED", "enough")
    [by_id] = official.workflows.search(query=f"workflowId={runs[2]}").results
    assert by_id.workflow_id == runs[2]
    assert official.workflows.search(query=f"workflowType={name} AND status=COMPLETED").results == []
