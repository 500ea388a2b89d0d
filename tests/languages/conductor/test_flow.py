"""Workflows from their definition to their end, over the API."""

from __future__ import annotations

from typing import Any

import pytest
from tests.languages.conductor.api import Api, Reply, simple, step, task


async def test_a_worker_task_from_poll_to_result(api: Api) -> None:
    await api.ok("POST", "/metadata/taskdefs", [{"name": "greet", "retryCount": 1, "responseTimeoutSeconds": 30}])
    run = await api.run(
        [simple("g", "greet", inputParameters={"name": "${workflow.input.name}"})],
        {"name": "abc"},
        outputParameters={"say": "${g.output.result}"},
    )
    found = await api.one("greet")
    assert found["inputData"] == {"name": "abc"}
    assert found["status"] == "IN_PROGRESS"
    assert found["taskType"] == found["taskDefName"] == "greet"
    assert found["referenceTaskName"] == "g"
    assert found["workflowInstanceId"] == run
    assert found["pollCount"] == 1
    assert found["responseTimeoutSeconds"] == 30
    assert found["workerId"] == "w1"
    assert found["workflowTask"]["taskReferenceName"] == "g"
    assert (await api.update(found, output={"result": "Hi abc"})).text == found["taskId"]
    ended = await api.get(run)
    assert ended["status"] == "COMPLETED"
    assert ended["output"] == {"say": "Hi abc"}
    assert [each["status"] for each in ended["tasks"]] == ["COMPLETED"]


async def test_without_output_parameters_the_last_task_says_what_the_run_leaves(api: Api) -> None:
    run = await api.run([simple("a")])
    await api.update(await api.one("a"), output={"x": [1, None]})
    assert (await api.get(run))["output"] == {"x": [1, None]}


async def test_update_v2_answers_with_the_next_task(api: Api) -> None:
    await api.register([simple("a", "work"), simple("b", "work"), simple("c", "work")])
    run = await api.start()
    found = await api.one("work")
    seen = []
    while found is not None:
        seen.append(found["referenceTaskName"])
        found = await api.ok(
            "POST", "/tasks/update-v2", {"workflowInstanceId": run, "taskId": found["taskId"], "status": "COMPLETED"}
        )
    assert seen == ["a", "b", "c"]
    assert (await api.get(run))["status"] == "COMPLETED"


async def test_fork_and_join_in_the_order_that_clients_see(api: Api) -> None:
    run = await api.run(
        [
            step("FORK_JOIN", "f", forkTasks=[[simple("a"), simple("a2")], [simple("b")]]),
            step("JOIN", "j", joinOn=["a2", "b"]),
            step("INLINE", "i", inputParameters={"v": "${j.output}", "expression": "$.v.a2.n + $.v.b.n"}),
        ]
    )
    found = await api.get(run)
    assert [(each["referenceTaskName"], each["taskType"]) for each in found["tasks"]] == [
        ("f", "FORK"),
        ("a", "a"),
        ("b", "b"),
        ("j", "JOIN"),
    ]
    await api.update(await api.one("a"))
    await api.update(await api.one("b"), output={"n": 2})
    found = await api.get(run)
    assert task(found, "j")["status"] == "IN_PROGRESS"
    assert task(found, "j")["outputData"] == {"b": {"n": 2}}
    await api.update(await api.one("a2"), output={"n": 40})
    found = await api.get(run)
    assert found["status"] == "COMPLETED"
    assert task(found, "j")["outputData"] == {"a2": {"n": 40}, "b": {"n": 2}}
    assert task(found, "i")["outputData"] == {"result": 42}


async def test_a_fork_without_a_join_fails_at_its_start(api: Api) -> None:
    run = await api.run([step("FORK_JOIN", "f", forkTasks=[[simple("a")]])])
    found = await api.get(run)
    assert (found["status"], found["tasks"]) == ("FAILED", [])
    assert found["reasonForIncompletion"] == "Fork task definition is not followed by a join task.  Check the blueprint"


@pytest.mark.parametrize(
    ("evaluator", "expression", "value", "chosen"),
    [
        ("value-param", "kind", "x", "x"),
        ("value-param", "kind", None, "null"),
        ("value-param", "kind", True, "true"),
        ("value-param", "kind", 7, "7"),
        ("javascript", "$.kind > 5 ? 'big' : 'small'", 7, "big"),
        ("graaljs", "if ($.kind > 5) { 'big'; } else { 'small'; }", 2, "small"),
    ],
)
async def test_switch(api: Api, evaluator: str, expression: str, value: Any, chosen: str) -> None:
    run = await api.run(
        [
            step(
                "SWITCH",
                "s",
                evaluatorType=evaluator,
                expression=expression,
                inputParameters={"kind": "${workflow.input.kind}"},
                decisionCases={chosen: [step("SET_VARIABLE", "hit", inputParameters={"hit": True})], "empty": []},
                defaultCase=[step("SET_VARIABLE", "miss", inputParameters={"hit": False})],
            ),
            step("SET_VARIABLE", "after", inputParameters={"after": 1}),
        ],
        {"kind": value, "other": 1},
    )
    found = await api.get(run)
    assert found["status"] == "COMPLETED", found
    assert found["variables"] == {"hit": True, "after": 1}
    assert task(found, "s")["outputData"] == {"evaluationResult": [chosen], "selectedCase": chosen}
    assert task(found, "s")["inputData"]["case"] == chosen


async def test_a_case_with_an_empty_list_runs_nothing(api: Api) -> None:
    run = await api.run(
        [
            step(
                "SWITCH",
                "s",
                evaluatorType="value-param",
                expression="k",
                inputParameters={"k": "none"},
                decisionCases={"none": []},
                defaultCase=[simple("never")],
            )
        ]
    )
    assert (await api.get(run))["status"] == "COMPLETED"


async def test_a_failing_switch_script_fails_the_switch(api: Api) -> None:
    run = await api.run(
        [
            step(
                "SWITCH",
                "s",
                evaluatorType="javascript",
                expression="$.a.b.c",
                inputParameters={},
                decisionCases={"x": [simple("a")]},
            )
        ]
    )
    found = await api.get(run)
    assert found["status"] == "FAILED"
    assert "TypeError" in found["reasonForIncompletion"]
    assert task(found, "s")["status"] == "FAILED"


async def test_a_loop_of_synchronous_tasks(api: Api) -> None:
    run = await api.run(
        [
            step(
                "DO_WHILE",
                "loop",
                loopCondition="if ($.loop['iteration'] < $.n) { true; } else { false; }",
                inputParameters={"n": "${workflow.input.n}"},
                loopOver=[
                    step("INLINE", "x", inputParameters={"i": "${loop.output.iteration}", "expression": "$.i * 2"}),
                    step("SET_VARIABLE", "set", inputParameters={"last": "${x.output.result}"}),
                ],
            ),
            step("WAIT", "w"),
        ],
        {"n": 3},
        outputParameters={
            "second": "${x__2.output.result}",
            "count": "${loop.output.iteration}",
            "whole": "${loop.output.3.x.result}",
        },
    )
    await api.ok("POST", f"/tasks/{run}/w/COMPLETED", {})
    found = await api.ended(run)
    assert found["output"] == {"second": 4, "count": 3, "whole": 6}
    assert found["variables"] == {"last": 6}
    assert [each["referenceTaskName"] for each in found["tasks"]] == [
        "loop",
        *(f"{name}__{n}" for n in (1, 2, 3) for name in ("x", "set")),
        "w",
    ]
    loop = task(found, "loop")
    assert loop["outputData"]["iteration"] == 3
    assert loop["outputData"]["2"]["x"] == {"result": 4}
    assert loop["loopOverTask"] is True
    assert loop["iteration"] == 3


def over_items(given: str, condition: str = "true", **more: Any) -> dict[str, Any]:
    inner = [step("INLINE", "x", inputParameters={"it": "${loop.output.loopItem}", "expression": "$.it * 10"})]
    parameters = {"_items": "${workflow.input.list}"} if given == "_items" else {"items": "${workflow.input.list}"}
    return step(
        "DO_WHILE",
        "loop",
        loopCondition=condition,
        loopOver=inner,
        inputParameters={} if given == "field" else parameters,
        **({"items": "${workflow.input.list}"} if given == "field" else {}),
        **more,
    )


FOR_EACH = "if ( $.loop.iteration < 0 ) { true; } else { false; }"


@pytest.mark.parametrize(("given", "condition"), [("field", "true"), ("_items", "true"), ("items", FOR_EACH)])
async def test_a_loop_over_a_list(api: Api, given: str, condition: str) -> None:
    await api.register(
        [over_items(given, condition)], outputParameters={"last": "${loop.output.loopIndex}", "x": "${x.output.result}"}
    )
    found = await api.ended(await api.start({"list": [1, 2, 3]}))
    assert task(found, "loop")["outputData"] == {
        "iteration": 3,
        "loopIndex": 2,
        "loopItem": 3,
        "1": {"x": {"result": 10}},
        "2": {"x": {"result": 20}},
        "3": {"x": {"result": 30}},
    }
    assert found["output"] == {"last": 2, "x": 30}
    empty = await api.ended(await api.start({"list": []}))
    assert task(empty, "loop")["outputData"] == {"iteration": 0}
    assert task(empty, "loop")["status"] == "COMPLETED"
    bad = await api.ended(await api.start({"list": "text"}), "FAILED")
    assert "must be a list, not a text" in bad["reasonForIncompletion"]


async def test_a_loop_over_a_list_ends_early_when_its_condition_says_so(api: Api) -> None:
    found = await api.ended(await api.run([over_items("field", "$.loop.loopItem < 2")], {"list": [1, 2, 3]}))
    assert task(found, "loop")["outputData"]["iteration"] == 2


async def test_a_member_called_items_does_not_make_a_list_of_a_loop(api: Api) -> None:
    found = await api.ended(await api.run([over_items("items", "$.loop.iteration < $.items.length")], {"list": [7, 7, 7, 7]}))
    assert task(found, "loop")["outputData"]["iteration"] == 4
    assert "loopIndex" not in task(found, "loop")["outputData"]


async def test_a_loop_over_a_list_goes_on_after_a_retry(api: Api) -> None:
    loop = over_items(
        "field",
        "true",
    )
    loop["loopOver"] = [simple("x", retryCount=0, inputParameters={"it": "${loop.output.loopItem}"})]
    run = await api.run([loop], {"list": ["a", "b", "c"]})
    await api.update(await api.one("x"))
    await api.update(await api.one("x"), "FAILED")
    await api.ended(run, "FAILED")
    await api.ok("POST", f"/workflow/{run}/retry")
    for item in ("b", "c"):
        found = await api.one("x")
        assert found["inputData"] == {"it": item}
        await api.update(found)
    assert task(await api.ended(run), "loop")["outputData"]["iteration"] == 3


async def test_what_a_loop_goes_through_must_be_a_list(api: Api) -> None:
    await api.refused("PUT", "/metadata/workflow", [{"name": "wf", "tasks": [{**over_items("field"), "items": 7}]}])


async def test_five_hundred_iterations(api: Api) -> None:
    inner = [step("INLINE", "x", inputParameters={"expression": "1"})]
    run = await api.run([step("DO_WHILE", "loop", loopCondition="$.loop.iteration < 500", loopOver=inner)])
    found = await api.ended(run)
    assert task(found, "loop")["outputData"]["iteration"] == 500


async def test_an_inner_failure_ends_the_run_and_cancels_the_loop(api: Api) -> None:
    inner = [simple("x", retryCount=0)]
    run = await api.run([step("DO_WHILE", "loop", loopCondition="$.loop.iteration < 3", loopOver=inner)])
    found = await api.one("x")
    await api.update(found, "FAILED", reasonForIncompletion="boom")
    ended = await api.ended(run, "FAILED")
    assert ended["reasonForIncompletion"] == f"Task {found['taskId']} failed with status: FAILED and reason: 'boom'"
    assert task(ended, "loop")["status"] == "CANCELED"
    assert ended["failedReferenceTaskNames"] == ["x__1"]


async def test_a_condition_that_throws_fails_the_loop(api: Api) -> None:
    run = await api.run([step("DO_WHILE", "loop", loopCondition="$.nope.x > 1", loopOver=[step("WAIT", "w")])])
    await api.ok("POST", f"/tasks/{run}/w/COMPLETED", {})
    found = await api.ended(run, "FAILED")
    assert task(found, "loop")["reasonForIncompletion"].startswith("Unable to evaluate condition")


async def test_a_wait_in_a_loop_is_completed_by_its_bare_name(api: Api) -> None:
    run = await api.run([step("DO_WHILE", "loop", loopCondition="$.loop.iteration < 2", loopOver=[step("WAIT", "w")])])
    first = task(await api.get(run), "w__1")
    assert await api.ok("POST", f"/tasks/{run}/w/COMPLETED", {"n": 1}) == first["taskId"]
    assert task(await api.get(run), "w__2")["status"] == "IN_PROGRESS"
    await api.ok("POST", f"/tasks/{run}/w__2/COMPLETED", {"n": 2})
    found = await api.ended(run)
    assert task(found, "loop")["outputData"] == {"iteration": 2, "1": {"w": {"n": 1}}, "2": {"w": {"n": 2}}}


async def test_waiting_for_a_duration(api: Api) -> None:
    run = await api.run([step("WAIT", "w", inputParameters={"duration": "${workflow.input.d}"})], {"d": "1 seconds"})
    open_task = task(await api.get(run), "w")
    assert open_task["status"] == "IN_PROGRESS"
    assert open_task["callbackAfterSeconds"] == 1
    await api.ended(run)


@pytest.mark.parametrize("given", [{"duration": "soon"}, {"until": "one day"}, {"duration": "1s", "until": "2030-01-01"}])
async def test_a_bad_wait_fails_task_and_run(api: Api, given: dict[str, str]) -> None:
    parameters = {name: "${workflow.input." + name + "}" for name in ("duration", "until")}
    await api.refused("PUT", "/metadata/workflow", [{"name": "wf", "tasks": [step("WAIT", "w", inputParameters=parameters)]}])
    await api.register([step("WAIT", "w", inputParameters={name: parameters[name] for name in given} if len(given) == 1 else {})])
    if len(given) == 1:
        run = await api.start(given)
        found = await api.ended(run, "FAILED")
        assert task(found, "w")["status"] == "FAILED_WITH_TERMINAL_ERROR"


async def test_terminate_ends_the_run_as_it_says(api: Api) -> None:
    run = await api.run(
        [
            step(
                "TERMINATE",
                "end",
                inputParameters={"terminationStatus": "FAILED", "terminationReason": "why", "workflowOutput": {"a": 1}},
            ),
            simple("never"),
        ]
    )
    found = await api.ended(run, "FAILED")
    assert found["reasonForIncompletion"] == "why"
    assert found["output"] == {"a": 1}
    assert task(found, "end")["status"] == "COMPLETED"


async def test_sub_workflow(api: Api) -> None:
    await api.register([simple("inner")], "child", outputParameters={"out": "${inner.output.v}"})
    run = await api.run(
        [step("SUB_WORKFLOW", "sub", subWorkflowParam={"name": "child"}, inputParameters={"x": "${workflow.input.x}"})],
        {"x": 5},
        outputParameters={"out": "${sub.output.out}", "id": "${sub.output.subWorkflowId}"},
    )
    parent = await api.get(run)
    sub = task(parent, "sub")
    assert sub["status"] == "IN_PROGRESS"
    assert sub["inputData"]["subWorkflowName"] == "child"
    assert sub["inputData"]["subWorkflowVersion"] == 1
    assert sub["inputData"]["workflowInput"] == {"x": 5}
    child = await api.get(sub["subWorkflowId"])
    assert child["input"] == {"x": 5}
    assert child["parentWorkflowId"] == run
    assert child["parentWorkflowTaskId"] == sub["taskId"]
    await api.update(await api.one("inner"), output={"v": 9})
    found = await api.ended(run)
    assert found["output"] == {"out": 9, "id": sub["subWorkflowId"]}


async def test_an_inline_sub_workflow_that_fails(api: Api) -> None:
    inline = {"name": "inl", "tasks": [simple("inner", retryCount=0)]}
    run = await api.run([step("SUB_WORKFLOW", "sub", subWorkflowParam={"name": "inl", "workflowDefinition": inline})])
    await api.update(await api.one("inner"), "FAILED", reasonForIncompletion="no luck")
    found = await api.ended(run, "FAILED")
    sub = task(found, "sub")
    assert sub["reasonForIncompletion"].startswith(f"Sub workflow {sub['subWorkflowId']} failure reason: Task ")


async def test_terminating_a_parent_terminates_its_child(api: Api) -> None:
    await api.register([simple("inner")], "child")
    run = await api.run([step("SUB_WORKFLOW", "sub", subWorkflowParam={"name": "child"})])
    child = task(await api.get(run), "sub")["subWorkflowId"]
    await api.ok("DELETE", f"/workflow/{run}", reason="enough")
    assert (await api.get(run))["status"] == "TERMINATED"
    await api.ended(child, "TERMINATED")


async def test_a_child_says_that_its_parent_was_terminated(api: Api) -> None:
    await api.register([simple("t")], "child")
    run = await api.run([step("SUB_WORKFLOW", "s", subWorkflowParam={"name": "child"})])
    child = (await api.one("t"))["workflowInstanceId"]
    await api.ok("DELETE", f"/workflow/{run}", {}, reason="enough")
    found = await api.ended(child, "TERMINATED")
    assert found["reasonForIncompletion"] == "Parent workflow has been terminated with reason: enough"


@pytest.mark.parametrize("kind", ["@http", ""])
async def test_types_that_cannot_be_a_workers_queue_are_refused(api: Api, kind: str) -> None:
    answer = await api.refused("PUT", "/metadata/workflow", [{"name": "wf", "tasks": [step(kind, "u")]}])
    assert answer.json["validationErrors"][0]["path"] == "updateWorkflowDef.arg0[0].tasks[0].type"


async def test_a_http_task_that_somebody_else_completes(api: Api) -> None:
    api.web.replies.append(Reply(202, "Accepted", (), b"5"))
    run = await api.run([step("HTTP", "h", asyncComplete=True, inputParameters={"uri": "http://x/", "method": "GET"})])
    found = await api.until(run, lambda found: task(found, "h")["outputData"])
    assert task(found, "h")["status"] == "IN_PROGRESS"
    await api.ok("POST", f"/tasks/{run}/h/COMPLETED", {"z": 1})
    assert (await api.ended(run))["output"] == {"z": 1}
    assert len(api.web.requests) == 1


async def test_numbers_beyond_64_bits_in_a_reply_are_values_like_others(api: Api) -> None:
    from tests.languages.conductor.api import Reply

    api.web.replies.append(Reply(200, "OK", (("Content-Type", "application/json"),), b'{"id":100000000000000000000}'))
    big = "${h.output.response.body.id}"
    again = step("DO_WHILE", "l", loopCondition="$.l['iteration'] < 40", loopOver=[
        step("SET_VARIABLE", "v", inputParameters={"x": big}), simple("t", inputParameters={"x": big}),
    ])  # fmt: skip
    http = step("HTTP", "h", inputParameters={"uri": "http://x/", "method": "GET"})
    run = await api.run([http, again], outputParameters={"x": "${workflow.variables.x}"})
    for _ in range(40):
        item = await api.one("t")
        assert item["inputData"] == {"x": 10**20}
        await api.ok("POST", f"/tasks/{run}/{item['referenceTaskName']}/COMPLETED", {})
    assert (await api.ended(run))["output"] == {"x": 10**20}


async def test_http_task(api: Api) -> None:
    from tests.languages.conductor.api import Reply

    api.web.replies.append(Reply(200, "OK", (("Content-Type", "application/json"),), b'{"a":[1]}'))
    request = {"uri": "http://x.test/${workflow.input.p}", "method": "POST", "body": {"k": 1}, "headers": {"H": "v"}}
    run = await api.run([step("HTTP", "h", inputParameters={"http_request": request})], {"p": "q"})
    found = await api.ended(run)
    assert task(found, "h")["outputData"]["response"] == {
        "body": {"a": [1]},
        "headers": {"Content-Type": ["application/json"]},
        "statusCode": 200,
        "reasonPhrase": "OK",
    }
    [(method, url, headers, body)] = api.web.requests
    assert (method, url, headers["H"], body) == ("POST", "http://x.test/q", "v", b'{"k":1}')


async def test_a_http_task_that_is_answered_with_an_error_fails(api: Api) -> None:
    from tests.languages.conductor.api import Reply

    api.web.replies.append(Reply(503, "Busy", (), b"no"))
    run = await api.run([step("HTTP", "h", inputParameters={"uri": "http://x.test/", "method": "GET"})])
    found = await api.ended(run, "FAILED")
    assert task(found, "h")["outputData"]["response"]["statusCode"] == 503
    assert "Failed to invoke HTTP task due to: 503 Busy" in found["reasonForIncompletion"]


async def test_templates_keep_types_and_ids(api: Api) -> None:
    run = await api.run(
        [
            simple(
                "t",
                inputParameters={
                    "n": "${workflow.input.n}",
                    "text": "n=${workflow.input.n}",
                    "none": "${workflow.input.none}",
                    "id": "${CPEWF_TASK_ID}",
                    "wf": "${workflow.workflowId}",
                    "v": "${workflow.variables.v}",
                    "plain": "$${x}",
                },
            )
        ],
        {"n": [1, {"a": None}]},
        variables={"v": {"k": 1}},
    )
    found = await api.one("t")
    assert found["inputData"] == {
        "n": [1, {"a": None}],
        "text": 'n=[1,{"a":null}]',
        "none": None,
        "id": found["taskId"],
        "wf": run,
        "v": {"k": 1},
        "plain": "${x}",
    }


async def test_input_templates_fill_what_is_absent_or_null(api: Api) -> None:
    await api.register([simple("t", inputParameters={"a": "${workflow.input.a}"})], inputTemplate={"a": 1, "b": 2})
    await api.start({"a": None})
    assert (await api.one("t"))["inputData"] == {"a": 1}
    run = await api.start({})
    assert (await api.one("t"))["inputData"] == {"a": None}
    assert (await api.get(run))["input"] == {}
