"""What one signal may cost as a whole, through the server: paths and scripts of a long chain of steps; and a handler whose script
does not end is set aside, and says so."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from click.testing import CliRunner
from tests.patience import happens

from pelton.cli.main import main
from pelton.kernel.expressions.base import MAX_LOOKS_TOGETHER, TOGETHER, Evaluation, LookedEnough, Looks, Outcome
from pelton.runtime.commit.loader import SCRIPT_MS
from pelton.runtime.scripting.pool import ScriptPool
from pelton.testing.server import RunningServer, running_server

STEPS = 200
ROWS = 2_000
NAMES = ",".join(f"'q{number}'" for number in range(20))  # none of which is there


async def run_of(server: RunningServer, tasks: list[dict[str, Any]], given: Any) -> Any:
    """The workflow as it ended."""
    body = {"name": "chain", "version": 1, "schemaVersion": 2, "ownerEmail": "a@b.c", "timeoutSeconds": 0, "tasks": tasks}
    await server.client.request("POST", "/api/metadata/workflow", body)
    run = await server.client.request("POST", "/api/workflow/chain", given)

    async def ended() -> Any:
        found = await server.client.request("GET", f"/api/workflow/{run}")
        return found if found["status"] != "RUNNING" else None

    return await happens(ended, "it ends")


def task(number: int, kind: str, **given: Any) -> dict[str, Any]:
    return {"name": f"t{number}", "taskReferenceName": f"t{number}", "type": kind, "inputParameters": given}


async def test_many_paths_over_a_large_value_are_bounded_as_a_whole() -> None:
    """Each of them alone may: so the step fails at which they are too many together, and says so."""
    tasks = [task(number, "SET_VARIABLE", **{f"v{number}": f"${{workflow.input.l[*][{NAMES}]}}"}) for number in range(STEPS)]
    async with running_server() as server:
        ended = await run_of(server, tasks, {"l": [{"a": 1}] * ROWS})
    assert ended["status"] == "FAILED"
    done = [each for each in ended["tasks"] if each["status"] == "COMPLETED"]
    each = ROWS * 21  # the rows, and the names in each
    assert MAX_LOOKS_TOGETHER // each - 1 <= len(done) <= MAX_LOOKS_TOGETHER // each + 1
    assert f"all expressions of one signal may together ({MAX_LOOKS_TOGETHER})" in ended["tasks"][-1]["reasonForIncompletion"]
    assert len(ended["tasks"]) == len(done) + 1


async def test_many_paths_over_small_values_go_through() -> None:
    tasks = [task(number, "SET_VARIABLE", **{f"v{number}": "${workflow.input.l[*]['a','b']}"}) for number in range(STEPS)]
    async with running_server() as server:
        ended = await run_of(server, tasks, {"l": [{"a": 1}] * 20})
    assert ended["status"] == "COMPLETED"
    assert len(ended["tasks"]) == STEPS


def test_the_bound_is_of_transitions_only() -> None:
    looks = Looks()
    for _ in range(MAX_LOOKS_TOGETHER // 100_000 + 1):
        looks.begin()
        looks.spend(100_000)
    TOGETHER.begin()
    for _ in range(MAX_LOOKS_TOGETHER // 100_000):
        looks.begin()
        looks.spend(100_000)
    with pytest.raises(LookedEnough, match="together"):
        looks.spend(1)
    TOGETHER.end()


async def test_many_scripts_are_bounded_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    async def answer(pool: ScriptPool, questions: Sequence[Evaluation]) -> list[Outcome]:
        asked.extend(question.source for question in questions)
        return [Outcome(1, took=3_900) for _ in questions]

    monkeypatch.setattr(ScriptPool, "answer", answer)
    script = "(function(){{ for (var i = 0; i < 1e9; i++) {{}} return {0}; }})()"
    tasks = [task(number, "INLINE", evaluatorType="javascript", expression=script.format(number)) for number in range(STEPS)]
    async with running_server() as server:
        ended = await run_of(server, tasks, {})
    assert ended["status"] == "FAILED"
    assert len(asked) == SCRIPT_MS // 3_900 + 1
    assert f"may take {SCRIPT_MS}" in ended["tasks"][-1]["reasonForIncompletion"]
    assert [each["status"] for each in ended["tasks"][:-1]] == ["COMPLETED"] * len(asked)


async def test_a_handler_whose_script_never_ends_is_set_aside_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []

    async def run(pool: ScriptPool, question: Evaluation) -> Outcome:
        ran.append(question.source)
        return Outcome(None, f"the script was stopped after {question.limit} ms", failed=True, timed_out=True)

    monkeypatch.setattr(ScriptPool, "_run", run)
    action = {"action": "start_workflow", "start_workflow": {"name": "chain", "version": 1, "input": {}}}
    handler = {"name": "endless", "event": "tick", "condition": "while($.a){}", "active": True, "actions": [action]}
    async with running_server() as server:
        await server.client.request("POST", "/api/event", handler)
        details: list[str] = []
        posted: dict[str, Any] = {}
        for number in range(5):
            event = {"specversion": "1.0", "id": str(number), "source": "/t", "type": "tick", "data": {"a": True}}
            posted = await server.client.request("POST", "/v1/events", event)
            [decision] = posted["decisions"]
            details.append(decision["detail"])
            assert decision["verdict"] == "failed"
        assert ["the script was not run" in detail for detail in details] == [False, False, False, True, True]
        tries = len(ran)
        arguments = ["explain", posted["key"], "--server", server.url]
        done = await asyncio.to_thread(CliRunner().invoke, main, arguments)
        assert done.exit_code == 0, done.output
        assert len(ran) == tries
    shown = " ".join(done.output.split())
    assert "endless" in shown
    assert "the script was not run: it did not end within 4000 ms 3 times in a row, and is not run again" in shown
