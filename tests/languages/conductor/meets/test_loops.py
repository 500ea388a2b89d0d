"""What people's loops do: conditions that read the loop's inputs, loops without a condition, loops read as a whole."""

from __future__ import annotations

from typing import Any

import pytest
from tests.languages.conductor.api import Api, simple, step, task


def script(reference: str, expression: str, **given: Any) -> dict[str, Any]:
    return step("INLINE", reference, inputParameters={"evaluatorType": "javascript", "expression": expression, **given})


def loop(condition: str, *body: Any, **more: Any) -> dict[str, Any]:
    return step("DO_WHILE", "l", loopCondition=condition, loopOver=list(body), **more)


async def test_a_condition_reads_a_variable_through_the_loops_inputs(api: Api) -> None:
    run = await api.run(
        [
            step("SET_VARIABLE", "zero", inputParameters={"n": 0}),
            loop(
                "$.n < 3",
                script("plus", "$.n + 1", n="${workflow.variables.n}"),
                step("SET_VARIABLE", "set", inputParameters={"n": "${plus.output.result}"}),
                inputParameters={"n": "${workflow.variables.n}"},
            ),
        ]
    )
    found = await api.ended(run)
    assert found["variables"] == {"n": 3}
    assert task(found, "l")["iteration"] == 3
    assert task(found, "l")["inputData"] == {"n": 3}  # as the last look at the condition had it


@pytest.mark.parametrize(
    ("given", "condition"),
    [
        ("${workflow.variables.s}", "$.given != 'done' && $.l.iteration < 5"),
        ("${set.input.s}", "$.given != 'done' && $.l.iteration < 5"),
        ("${out.output.result}", "$.given != 'done' && $.l.iteration < 5"),
        ("${l.output.iteration}", "$.given < 1"),
        ("${l.output.1.out.result}", "$.given != 'done' && $.l.iteration < 5"),
    ],
)
async def test_whatever_the_inputs_read_is_as_it_is_at_the_moment(api: Api, given: str, condition: str) -> None:
    body = [step("SET_VARIABLE", "set", inputParameters={"s": "done"}), script("out", "'done'")]
    found = await api.ended(await api.run([loop(condition, *body, inputParameters={"given": given})]))
    assert task(found, "l")["iteration"] == 1


async def test_the_inputs_are_resolved_anew_after_each_worker(api: Api) -> None:
    body = simple("t")
    run = await api.run(
        [loop("$.more", body, inputParameters={"more": "${t.output.more}", "fixed": "${workflow.input.x}"})], {"x": 7}
    )
    assert task(await api.get(run), "l")["inputData"] == {"more": None, "fixed": 7}
    for more in (True, True, False):
        await api.update(await api.one("t"), output={"more": more})
    found = await api.ended(run)
    assert task(found, "l")["iteration"] == 3
    assert task(found, "l")["inputData"] == {"more": False, "fixed": 7}


async def test_a_list_that_a_loop_goes_through_stays_as_it_was(api: Api) -> None:
    """Only what the condition reads is looked at again: the items are those with which the loop began."""
    body = step("SET_VARIABLE", "set", inputParameters={"xs": ["z"]})
    given = {"_items": "${workflow.variables.xs}", "go": "${workflow.variables.go}"}
    run = await api.run(
        [step("SET_VARIABLE", "first", inputParameters={"xs": [1, 2, 3], "go": True}), loop("$.go", body, inputParameters=given)]
    )
    found = await api.ended(run)
    assert task(found, "l")["outputData"]["iteration"] == 3


async def test_how_many_rounds_are_kept_is_resolved_anew(api: Api) -> None:
    given = {"keepLastN": "${workflow.variables.keep}", "n": "${workflow.variables.keep}"}
    body = step("SET_VARIABLE", "set", inputParameters={"keep": 2})
    found = await api.ended(await api.run([loop("$.l.iteration < 5", body, inputParameters=given)]))
    assert sorted(task(found, "l")["outputData"]) == ["4", "5", "iteration"]


async def test_an_input_that_cannot_be_resolved_any_more_fails_the_loop(api: Api) -> None:
    many = "${workflow.variables.big}" * 40
    body = step("SET_VARIABLE", "set", inputParameters={"big": "x" * 100_000})
    found = await api.ended(await api.run([loop("$.l.iteration < 3", body, inputParameters={"x": many})]), "FAILED")
    assert "the limit is" in found["reasonForIncompletion"]


# ---- loops without a condition


@pytest.mark.parametrize(
    ("more", "rounds"),
    [
        ({"inputParameters": {"items": ["a", "b"]}}, 2),
        ({"inputParameters": {"items": "${workflow.input.xs}"}}, 3),
        ({"inputParameters": {"_items": ["a"]}}, 1),
        ({"items": ["a", "b"]}, 2),
        ({}, 1),
        ({"inputParameters": {"x": 1}}, 1),
    ],
)
async def test_a_loop_with_an_empty_condition(api: Api, more: dict[str, Any], rounds: int) -> None:
    run = await api.run([loop("", script("x", "1"), **more)], {"xs": [1, 2, 3]})
    found = await api.ended(run)
    assert task(found, "l")["outputData"]["iteration"] == rounds


async def test_a_loop_that_names_no_condition_at_all_is_refused(api: Api) -> None:
    bad = step("DO_WHILE", "l", loopOver=[script("x", "1")])
    answer = await api.refused("PUT", "/metadata/workflow", [{"name": "wf", "tasks": [bad]}])
    assert "loopCondition" in answer.text


# ---- loops that are read as a whole, and long ones


async def test_a_loop_of_children_that_end_at_once_is_the_last_task(api: Api) -> None:
    await api.register([step("SET_VARIABLE", "v", inputParameters={"a": 1})], "kid")
    kid = step("SUB_WORKFLOW", "s", subWorkflowParam={"name": "kid", "version": 1})
    for before in ([], [step("WAIT", "w")]):
        run = await api.run([*before, loop("$.l.iteration < 2", kid)])
        if before:
            await api.ok("POST", f"/tasks/{run}/w/COMPLETED", {})
        found = await api.ended(run)
        assert found["output"]["iteration"] == 2
        assert sorted(found["output"]) == ["1", "2", "iteration"]


async def test_a_join_on_a_long_loop(api: Api) -> None:
    fork = step("FORK_JOIN", "f", forkTasks=[[loop("$.l.iteration < 205", simple("t"))], [step("SET_VARIABLE", "v")]])
    run = await api.run([fork, step("JOIN", "j", joinOn=["l", "v"])])
    for k in range(205):
        assert (await api.update(await api.one("t"), output={"k": k})).status == 200
    assert (await api.ended(run))["output"]["l"]["205"] == {"t": {"k": 204}}


async def test_more_scripts_behind_a_worker_than_one_commit_may_ask_for(api: Api) -> None:
    body = script("x", "function f(){ return [1,2].map(x => x) } f();")
    run = await api.run([simple("t"), loop("$.l.iteration < 205", body)])
    assert (await api.update(await api.one("t"))).status == 200
    found = await api.ended(run)
    assert task(found, "l")["iteration"] == 205


async def test_a_chain_of_more_scripts_than_one_commit_may_ask_for(api: Api) -> None:
    many = [script(f"x{index}", "function f(){ return [1,2].map(x => x) } f();") for index in range(205)]
    found = await api.ended(await api.run([simple("t"), *many][1:]))
    assert len(found["tasks"]) == 205
