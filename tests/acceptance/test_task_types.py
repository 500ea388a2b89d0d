"""Each type of task, most of them built with the official client's DSL, with the output that users rely on."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

import pytest
from conductor.client.workflow.conductor_workflow import ConductorWorkflow
from conductor.client.workflow.task.do_while_task import DoWhileTask, LoopTask
from conductor.client.workflow.task.event_task import ConductorEventTask
from conductor.client.workflow.task.fork_task import ForkTask
from conductor.client.workflow.task.http_task import HttpInput, HttpMethod, HttpTask
from conductor.client.workflow.task.inline import InlineTask
from conductor.client.workflow.task.join_task import JoinTask
from conductor.client.workflow.task.set_variable_task import SetVariableTask
from conductor.client.workflow.task.simple_task import SimpleTask
from conductor.client.workflow.task.sub_workflow_task import InlineSubWorkflowTask, SubWorkflowTask
from conductor.client.workflow.task.switch_task import SwitchTask
from conductor.client.workflow.task.terminate_task import TerminateTask, WorkflowStatus
from conductor.client.workflow.task.wait_task import WaitForDurationTask, WaitTask, WaitUntilTask
from tests.acceptance.official import (
    ENDED,
    Official,
    Plain,
    refused,
    simple,
    statuses,
    step,
    task_of,
    tasks_of,
    unique,
    wait,
)
from tests.patience import eventually, promised, retried_when_slow


def built(official: Official, *tasks: Any, **outputs: Any) -> Any:
    """A registered workflow of the DSL's tasks."""
    workflow = ConductorWorkflow(executor=official.executor, name=unique("dsl"), version=1)
    for task in tasks:
        workflow >> task
    workflow.output_parameters(outputs)
    workflow.timeout_seconds(0)
    workflow.register(overwrite=True)
    return workflow


def completed(official: Official, workflow: Any, value: Any = None) -> Any:
    return official.ended(official.start(workflow.name, value))


# ---- EVENT and WAIT


def test_event_to_an_internal_queue_takes_the_workflows_name(official: Official) -> None:
    workflow = built(official, ConductorEventTask("announce", "topic").input_parameter("x", "${workflow.input.x}"))
    found = completed(official, workflow, {"x": [1]})
    [task] = found.tasks
    assert (task.task_type, task.status) == ("EVENT", "COMPLETED")
    assert task.input_data == {"x": [1], "sink": "conductor:topic", "asyncComplete": False}
    assert task.output_data == {
        "x": [1],
        "sink": "conductor:topic",
        "asyncComplete": False,
        "workflowInstanceId": found.workflow_id,
        "workflowType": workflow.name,
        "workflowVersion": 1,
        "correlationId": None,
        "taskToDomain": {},
        "event_produced": f"conductor:{workflow.name}:topic",
    }


@pytest.mark.parametrize(
    ("sink", "produced"), [("conductor", "{}:e"), ("conductor:foo", "{}:foo"), ("conductor:foo:bar", "{}:foo:bar")]
)
def test_internal_sinks_are_rewritten(official: Official, sink: str, produced: str) -> None:
    name = official.register(unique("sink"), [step("EVENT", "e", sink=sink, inputParameters={})])
    found = official.ended(official.start(name))
    assert task_of(found, "e").output_data["event_produced"] == "conductor:" + produced.format(name)


def test_event_with_async_complete_waits_for_a_report(official: Official) -> None:
    run = official.run([step("EVENT", "e", sink="conductor:x", asyncComplete=True, inputParameters={"a": 1})])
    task = official.opened(run, "e")
    assert task.output_data["asyncComplete"] is True
    assert task.output_data["a"] == 1
    official.tasks.update_task_sync(run, "e", "COMPLETED", {"b": 2})
    assert task_of(official.ended(run), "e").output_data == {"b": 2}


def test_event_to_a_sink_that_does_not_exist_fails_the_task(official: Official) -> None:
    run = official.run([step("EVENT", "e", sink="${workflow.input.sink}", inputParameters={})], {"sink": "bogus:q"})
    found = official.ended(run, "FAILED")
    assert "bogus" in task_of(found, "e").reason_for_incompletion
    assert "bogus" in found.reason_for_incompletion


@retried_when_slow
def test_wait_for_a_duration_ends_within_a_second_of_its_time(official: Official) -> None:
    found = completed(official, built(official, WaitForDurationTask("pause", 1), WaitTask("more", wait_for_seconds=1)))
    for task in found.tasks:
        assert (task.task_type, task.status) == ("WAIT", "COMPLETED")
        assert task.end_time - task.start_time >= 1_000
        promised(task.end_time - task.start_time, 2_000)


def test_wait_until_a_moment_that_is_past_or_near(official: Official) -> None:
    near = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(time.time() - 60))
    found = completed(official, built(official, WaitUntilTask("past", "2020-01-01 00:00"), WaitTask("just", wait_until=near)))
    assert statuses(found) == {"past": "COMPLETED", "just": "COMPLETED"}
    open_wait = official.run([wait("w", until="2099-01-01")])
    task = official.opened(open_wait, "w")
    assert task.callback_after_seconds > 365 * 86_400
    official.tasks.update_task_sync(open_wait, "w", "COMPLETED", {"early": True})
    assert official.ended(open_wait).output == {"early": True}


def test_wait_with_a_bad_templated_duration_fails_the_run_and_not_the_start(official: Official) -> None:
    run = official.run([wait("w", duration="${workflow.input.d}")], {"d": "nonsense"})
    found = official.ended(run, "FAILED")
    assert "nonsense" in found.reason_for_incompletion


# ---- FORK_JOIN and JOIN


def test_fork_and_join_with_the_dsl(official: Official) -> None:
    kinds = [unique("branch") for _ in range(3)]
    branches = [[SimpleTask(kinds[0], "a"), SimpleTask(kinds[0], "a2")], [SimpleTask(kinds[1], "b")], [SimpleTask(kinds[2], "c")]]
    workflow = built(official, ForkTask("fork", branches), InlineTask("after", "1"))  # the DSL puts a JOIN between
    run = official.start(workflow.name)
    found = official.get(run)
    assert (found.tasks[0].reference_task_name, found.tasks[0].task_type) == ("fork", "FORK")
    join = next(task for task in found.tasks if task.task_type == "JOIN")
    assert (join.reference_task_name, join.status) == ("join_fork", "IN_PROGRESS")
    official.work(kinds[0], {"n": 0})
    official.work(kinds[1], {"n": 1})
    official.work(kinds[2], {})
    assert official.get(run).status == "RUNNING"
    official.work(kinds[0], {"n": 2})
    found = official.ended(run)
    assert task_of(found, join.reference_task_name).output_data == {"a2": {"n": 2}, "b": {"n": 1}}


def test_join_on_some_branches_lets_the_run_go_on(official: Official) -> None:
    slow, fast = unique("slow"), unique("fast")
    run = official.run(
        [
            step("FORK_JOIN", "f", forkTasks=[[simple("a", fast)], [simple("b", slow)]]),
            step("JOIN", "j", joinOn=["a"]),
            step("INLINE", "after", inputParameters={"expression": "1"}),
        ]
    )
    official.work(fast)
    found = official.until(run, lambda found: "after" in statuses(found), "the run goes on")
    assert statuses(found)["j"] == "COMPLETED"
    assert statuses(found)["b"] in {"SCHEDULED", "CANCELED"}


def test_a_branch_that_fails_ends_the_run_and_an_optional_one_does_not(official: Official) -> None:
    bad, good = unique("bad"), unique("good")

    def tasks(**more: Any) -> list[dict[str, Any]]:
        return [
            step("FORK_JOIN", "f", forkTasks=[[simple("a", bad, retryCount=0, **more)], [simple("b", good)]]),
            step("JOIN", "j", joinOn=["a", "b"]),
        ]

    run = official.run(tasks())
    official.work(bad, {"e": 1}, status="FAILED", reason_for_incompletion="broken")
    found = official.ended(run, "FAILED")
    assert "broken" in found.reason_for_incompletion
    assert statuses(found)["b"] == "CANCELED"
    assert official.idle(good)

    run = official.run(tasks(optional=True))
    official.work(bad, {"e": 1}, status="FAILED", reason_for_incompletion="broken")
    official.work(good, {"g": 1})
    found = official.ended(run)
    assert (statuses(found)["a"], statuses(found)["j"]) == ("COMPLETED_WITH_ERRORS", "COMPLETED_WITH_ERRORS")
    assert task_of(found, "j").output_data == {"a": {"e": 1}, "b": {"g": 1}}


def test_a_permissive_branch_lets_the_others_finish_and_then_fails_the_run(official: Official) -> None:
    bad, good = unique("bad"), unique("good")
    run = official.run(
        [
            step("FORK_JOIN", "f", forkTasks=[[simple("a", bad, retryCount=0, permissive=True)], [simple("b", good)]]),
            step("JOIN", "j", joinOn=["a", "b"]),
        ]
    )
    task = official.work(bad, status="FAILED", reason_for_incompletion="broken")
    assert official.get(run).status == "RUNNING"
    official.work(good, {"g": 1})
    found = official.ended(run, "FAILED")
    assert statuses(found)["b"] == "COMPLETED"
    assert task.task_id in found.reason_for_incompletion or "broken" in found.reason_for_incompletion


def test_a_fork_without_a_join_fails_the_run(official: Official) -> None:
    run = official.run([step("FORK_JOIN", "f", forkTasks=[[wait("a")]])])
    found = official.ended(run, "FAILED")
    assert found.reason_for_incompletion == "Fork task definition is not followed by a join task.  Check the blueprint"


def test_nested_forks_and_an_explicit_join_of_the_dsl(official: Official) -> None:
    one, two = InlineTask("one", "1"), InlineTask("two", "2")
    inner = ForkTask("inner", [[one], [two]])
    workflow = built(
        official,
        ForkTask("outer", [[inner, JoinTask("inner_done", ["one", "two"])], [InlineTask("three", "3")]], ["inner_done", "three"]),
        got="${outer_join.output}",
    )
    found = completed(official, workflow)
    assert set(statuses(found).values()) == {"COMPLETED"}
    assert task_of(found, "inner_done").output_data == {"one": {"result": 1}, "two": {"result": 2}}


# ---- SWITCH


@pytest.mark.parametrize(
    ("value", "chosen"),
    [("a", "is_a"), ("b", "is_b"), ("z", "other"), (None, "other"), (1, "is_1"), (True, "is_true"), ("empty", "")],
)
@pytest.mark.parametrize("javascript", [False, True])
def test_switch_with_the_dsl(official: Official, value: Any, chosen: str, javascript: bool) -> None:
    switch = SwitchTask("switch", "$.value" if javascript else "${workflow.input.value}", use_javascript=javascript)
    if javascript:
        switch.input_parameter("value", "${workflow.input.value}")
    for case in ("a", "b", "1", "true"):
        switch.switch_case(case, InlineTask(f"is_{case}", f"'{case}'"))
    switch.switch_case("empty", [])
    switch.default_case(InlineTask("other", "'other'"))
    workflow = built(official, switch, InlineTask("after", "'after'"))
    found = completed(official, workflow, {"value": value})
    task = task_of(found, "switch")
    text = value if isinstance(value, str) else json.dumps(value)
    assert (task.task_type, task.output_data["evaluationResult"], task.output_data["selectedCase"]) == ("SWITCH", [text], text)
    assert task.input_data["case"] == text
    assert [each.reference_task_name for each in found.tasks] == [
        each for each in ("switch", chosen, "after") if each
    ]  # an empty case runs nothing


def test_a_switch_whose_script_throws_fails_the_run(official: Official) -> None:
    run = official.run(
        [step("SWITCH", "s", evaluatorType="javascript", expression="$.a.b.c", decisionCases={"x": [wait("w")]})], {}
    )
    assert statuses(official.ended(run, "FAILED"))["s"] == "FAILED"


# ---- DO_WHILE


def test_a_loop_of_the_dsl_runs_as_often_as_it_is_told(official: Official) -> None:
    body = InlineTask("body", "$.before === null ? 1 : $.before + 1", {"before": "${body.output.result}"})
    workflow = built(official, LoopTask("loop", 5, body), got="${loop.output}", last="${body.output.result}")
    found = completed(official, workflow)
    loop = task_of(found, "loop")
    assert loop.output_data["iteration"] == 5
    assert {key: value for key, value in loop.output_data.items() if key != "iteration"} == {
        str(number): {"body": {"result": number}} for number in range(1, 6)
    }
    bodies = [task for task in found.tasks if task.reference_task_name.startswith("body__")]
    assert [(task.reference_task_name, task.iteration, task.loop_over_task) for task in bodies] == [
        (f"body__{number}", number, True) for number in range(1, 6)
    ]
    assert found.output == {"got": loop.output_data, "last": 5}


def test_a_condition_on_what_the_body_gave(official: Official) -> None:
    kind = unique("body")
    loop = DoWhileTask(
        "loop", "if ($.work['more'] === true && $.limit > $.loop.iteration) { true; } else { false; }", SimpleTask(kind, "work")
    )
    loop.input_parameter("limit", 10)
    run = official.start(built(official, loop).name)
    for more in (True, True, False):
        official.work(kind, {"more": more})
    found = official.ended(run)
    assert task_of(found, "loop").output_data["iteration"] == 3


def test_a_wait_in_a_loop_is_completed_by_its_bare_reference(official: Official) -> None:
    run = official.run([step("DO_WHILE", "loop", loopCondition="$.loop.iteration < 3", loopOver=[wait("w")])])
    for number in (1, 2):
        official.opened(run, f"w__{number}")
        assert official.tasks.update_task_by_ref_name(run, "w", "COMPLETED", number)
    official.opened(run, "w__3")
    assert official.tasks.update_task_by_ref_name(run, "w__3", "COMPLETED", 3)
    found = official.ended(run)
    assert [task_of(found, f"w__{number}").output_data for number in (1, 2, 3)] == [{"result": number} for number in (1, 2, 3)]
    assert official.tasks.update_task_by_ref_name(run, "w", "COMPLETED", 4) in {None, ""}


def test_keep_last_n_drops_older_iterations(official: Official) -> None:
    body = step("INLINE", "body", inputParameters={"expression": "$.n", "n": "${loop.output.iteration}"})
    loop = step("DO_WHILE", "loop", loopCondition="$.loop.iteration < 6", loopOver=[body], inputParameters={"keepLastN": 2})
    found = official.ended(official.run([loop]))
    assert set(task_of(found, "loop").output_data) == {"iteration", "5", "6"}


def test_a_loop_of_five_hundred_iterations(official: Official) -> None:
    body = [
        step("INLINE", "i", inputParameters={"expression": "$.n + 1", "n": "${workflow.variables.n}"}),
        step("SET_VARIABLE", "s", inputParameters={"n": "${i.output.result}"}),
    ]
    name = official.register(
        unique("long"),
        [step("DO_WHILE", "loop", loopCondition="$.loop.iteration < 500", loopOver=body, inputParameters={"keepLastN": 1})],
        variables={"n": 0},
        outputParameters={"n": "${workflow.variables.n}"},
    )
    run = official.start(name)
    assert official.ended(run).output == {"n": 500}


def test_a_condition_that_throws_fails_the_loop(official: Official) -> None:
    run = official.run(
        [
            step(
                "DO_WHILE",
                "loop",
                loopCondition="$.nothing.at.all",
                loopOver=[step("INLINE", "i", inputParameters={"expression": "1"})],
            )
        ]
    )
    found = official.ended(run, "FAILED")
    assert statuses(found)["loop"] == "FAILED_WITH_TERMINAL_ERROR"
    assert "Unable to evaluate condition" in task_of(found, "loop").reason_for_incompletion


# ---- SUB_WORKFLOW


def test_a_sub_workflow_gets_its_input_and_gives_its_output(official: Official) -> None:
    kind = unique("inner")
    child = official.register(
        unique("child"), [simple("t", kind)], outputParameters={"o": "${t.output.o}", "i": "${workflow.input}"}
    )
    task = SubWorkflowTask("call", child, version=1).input_parameter("x", "${workflow.input.x}")
    parent = built(official, task, got="${call.output.o}")
    run = official.start(parent.name, {"x": {"y": 1}}, correlation_id="c")
    inner = official.poll(kind)
    found = official.get(inner.workflow_instance_id)
    call = task_of(official.get(run), "call")
    assert (found.parent_workflow_id, found.parent_workflow_task_id) == (run, call.task_id)
    assert (found.correlation_id, found.input) == ("c", {"x": {"y": 1}})
    assert (call.status, call.sub_workflow_id) == ("IN_PROGRESS", found.workflow_id)
    assert (call.input_data["subWorkflowName"], call.input_data["subWorkflowVersion"]) == (child, 1)
    official.finish(inner, output={"o": 5})
    found = official.ended(run)
    assert found.output == {"got": 5}
    assert task_of(found, "call").output_data == {"o": 5, "i": {"x": {"y": 1}}, "subWorkflowId": inner.workflow_instance_id}


def test_an_inline_sub_workflow_of_the_dsl(official: Official) -> None:
    child = ConductorWorkflow(executor=official.executor, name=unique("inline"), version=4)
    child >> InlineTask("double", "$.n * 2", {"n": "${workflow.input.n}"})
    child.output_parameters({"n": "${double.output.result}"})
    task = InlineSubWorkflowTask("call", child)
    task.input_parameters["n"] = "${workflow.input.n}"
    found = completed(official, built(official, task, n="${call.output.n}"), {"n": 21})
    assert found.output == {"n": 42}
    inner = official.get(task_of(found, "call").sub_workflow_id)
    assert (inner.workflow_name, inner.workflow_version) == (child.name, 4)
    assert refused(official.metadata.get_workflow_def, child.name).status == 404


def test_a_failed_child_fails_the_parent_and_a_terminated_parent_its_child(official: Official) -> None:
    kind = unique("inner")
    child = official.register(unique("child"), [simple("t", kind, retryCount=0)])
    call = step("SUB_WORKFLOW", "call", subWorkflowParam={"name": child})
    run = official.run([call])
    inner = official.work(kind, status="FAILED", reason_for_incompletion="broken")
    found = official.ended(run, "FAILED")
    assert statuses(found)["call"] == "FAILED"
    assert "broken" in task_of(found, "call").reason_for_incompletion
    assert inner.workflow_instance_id in task_of(found, "call").reason_for_incompletion

    run = official.run([call])
    inner = official.poll(kind)
    official.workflows.terminate_workflow(run, "enough")
    found = official.ended(inner.workflow_instance_id, "TERMINATED")
    assert found.reason_for_incompletion == "Parent workflow has been terminated with reason: enough"

    run = official.run([call])
    inner = official.poll(kind)
    official.workflows.terminate_workflow(inner.workflow_instance_id, "child first")
    assert statuses(official.ended(run, "TERMINATED"))["call"] == "CANCELED"


def test_name_and_version_of_a_sub_workflow_may_be_templates(official: Official, plain: Plain) -> None:
    """Looked at over plain HTTP: the package reads no definition whose version is a template."""

    def ended(run: str) -> Any:
        return eventually(lambda: (found := plain.ok("GET", f"/api/workflow/{run}"))["status"] in ENDED and found, "it ends")

    child = unique("child")
    for version in (1, 2):
        official.register(child, [step("INLINE", "i", inputParameters={"expression": str(version)})], version=version)
    param = {"name": "${workflow.input.name}", "version": "${workflow.input.version}"}
    name = official.register(unique("parent"), [step("SUB_WORKFLOW", "call", subWorkflowParam=param)])
    assert ended(official.start(name, {"name": child, "version": 1}))["output"]["result"] == 1
    assert ended(official.start(name, {"name": child}))["output"]["result"] == 2
    absent = unique("absent")
    failed = ended(official.start(name, {"name": absent}))
    assert failed["status"] == "FAILED"
    assert absent in failed["reasonForIncompletion"]


# ---- SET_VARIABLE, INLINE, TERMINATE


def test_set_variable_overwrites_single_variables(official: Official) -> None:
    first = SetVariableTask("first").input_parameter("a", {"x": 1}).input_parameter("b", None)
    second = SetVariableTask("second").input_parameter("a", "${workflow.input.a}")
    found = completed(official, built(official, first, second, all="${workflow.variables}"), {"a": [1, 2]})
    assert found.variables == {"a": [1, 2], "b": None}
    assert found.output == {"all": {"a": [1, 2], "b": None}}
    assert statuses(found) == {"first": "COMPLETED", "second": "COMPLETED"}


@pytest.mark.parametrize(
    ("script", "result"),
    [
        ("(function () { return $.list.map(x => x * 2); })();", [2, 4]),
        ("if ($.list.length > 1) { 'many'; } else { 'few'; }", "many"),
        ("({text: `${$.list.length} items`, none: null, gone: undefined})", {"text": "2 items", "none": None, "gone": None}),
        ("4 / 2", 2),
        ("1 / 3", 1 / 3),
        ("$.absent", None),
        ("[...$.text].reverse().join('')", "üba"),
        ("$.list.push(9); $.list", [1, 2, 9]),
    ],
)
def test_inline_scripts(official: Official, script: str, result: Any) -> None:
    task = InlineTask("i", script.replace("${", "$${"), {"list": "${workflow.input.list}", "text": "${workflow.input.text}"})
    found = completed(official, built(official, task), {"list": [1, 2], "text": "abü"})
    assert task_of(found, "i").output_data["result"] == result
    assert task_of(found, "i").input_data["list"] == [1, 2]  # what a script does to its input stays with it


def test_an_inline_script_that_throws_fails_for_good(official: Official) -> None:
    found = official.ended(official.run([step("INLINE", "i", inputParameters={"expression": "null.x"})]), "FAILED")
    assert statuses(found)["i"] == "FAILED_WITH_TERMINAL_ERROR"
    assert "TypeError" in task_of(found, "i").reason_for_incompletion


@pytest.mark.parametrize("status", ["COMPLETED", "FAILED", "TERMINATED"])
def test_terminate_ends_the_run_with_its_status(official: Official, status: str) -> None:
    task = TerminateTask("end", WorkflowStatus(status), "as told")
    task.input_parameter("workflowOutput", {"x": "${workflow.input.x}"})
    run = official.start(built(official, task, InlineTask("never", "1")).name, {"x": [1]})
    found = official.ended(run, status)
    assert (found.reason_for_incompletion, found.output) == ("as told", {"x": [1]})
    assert statuses(found) == {"end": "COMPLETED"}
    assert task_of(found, "end").output_data == {"x": [1]}


def test_terminate_inside_a_branch_cancels_the_rest(official: Official) -> None:
    end = step("TERMINATE", "end", inputParameters={"terminationStatus": "COMPLETED", "workflowOutput": 5})
    kind = unique("other")
    run = official.run([step("FORK_JOIN", "f", forkTasks=[[simple("s", kind)], [end]]), step("JOIN", "j", joinOn=["s", "end"])])
    found = official.ended(run)
    assert found.output == {"output": 5}
    assert statuses(found)["s"] == "CANCELED"
    assert official.idle(kind)


# ---- HTTP


class Call(NamedTuple):
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Service:
    """An HTTP server of this machine. `calls`: what it was asked."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        service = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                length = int(self.headers.get("content-length") or 0)
                call = Call(self.command, self.path, {k.lower(): v for k, v in self.headers.items()}, self.rfile.read(length))
                service.calls.append(call)
                status = int(self.path.rpartition("/")[2].partition("?")[0])
                body = (
                    b"plain text" if "text" in self.path else json.dumps({"you": call.body.decode() or None, "n": 1.5}).encode()
                )
                self.send_response(status)
                self.send_header("Content-Type", "text/plain" if "text" in self.path else "application/json")
                self.send_header("X-Twice", "a")
                self.send_header("X-Twice", "b")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = do_PUT = do_DELETE = answer  # noqa: N815 - the names that the base class looks for

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    found = Service()
    yield found
    found.close()


def test_http_with_the_dsl(official: Official, service: Service) -> None:
    given = HttpInput(
        uri=f"{service.url}/orders/201?x=ü%20y",
        method=HttpMethod.POST,
        headers={"X-Mine": ["${workflow.input.header}"]},
        body={"order": "${workflow.input.order}"},
    )
    workflow = built(
        official, HttpTask("call", given), said="${call.output.response.body.you}", code="${call.output.response.statusCode}"
    )
    found = completed(official, workflow, {"header": "h", "order": {"n": 1}})
    call = service.calls[-1]
    assert (call.method, json.loads(call.body), call.headers["x-mine"]) == ("POST", {"order": {"n": 1}}, "h")
    assert call.headers["content-type"].startswith("application/json")
    assert json.loads(found.output["said"]) == {"order": {"n": 1}}
    assert found.output["code"] == 201
    response = task_of(found, "call").output_data["response"]
    assert response["reasonPhrase"] == "Created"
    assert {key.lower(): value for key, value in response["headers"].items()}["x-twice"] == ["a", "b"]
    assert response["body"]["n"] == 1.5


def test_http_with_plain_text_and_inputs_at_the_top(official: Official, service: Service) -> None:
    run = official.run([step("HTTP", "call", inputParameters={"uri": f"{service.url}/text/200", "method": "GET"})])
    assert task_of(official.ended(run), "call").output_data["response"]["body"] == "plain text"


def test_http_errors_fail_the_task_with_the_answer_at_hand(official: Official, service: Service) -> None:
    run = official.run([step("HTTP", "call", inputParameters={"http_request": {"uri": f"{service.url}/503", "method": "GET"}})])
    found = official.ended(run, "FAILED")
    task = task_of(found, "call")
    assert task.status == "FAILED"
    assert "503" in task.reason_for_incompletion
    assert task.output_data["response"]["statusCode"] == 503


def test_http_is_retried_as_its_task_definition_says(official: Official, service: Service) -> None:
    name = unique("http")
    official.task_def(name, retryCount=2, retryDelaySeconds=0)
    before = len(service.calls)
    run = official.run([{**step("HTTP", "call", inputParameters={"uri": f"{service.url}/500", "method": "PUT"}), "name": name}])
    found = official.ended(run, "FAILED")
    assert [task.retry_count for task in tasks_of(found, "call")] == [0, 1, 2]
    assert len(service.calls) - before == 3


def test_http_with_async_complete_waits_for_a_report(official: Official, service: Service) -> None:
    run = official.run([step("HTTP", "call", asyncComplete=True, inputParameters={"uri": f"{service.url}/202", "method": "GET"})])
    eventually(lambda: task_of(official.get(run), "call").output_data.get("response"), "the answer is there")
    assert task_of(official.get(run), "call").status == "IN_PROGRESS"
    official.tasks.update_task_sync(run, "call", "COMPLETED", {"done": True})
    assert official.ended(run).output == {"done": True}


@pytest.mark.parametrize(
    "given",
    [
        {"uri": "http://127.0.0.1:9/"},
        {"method": "GET"},
        {"uri": "http://127.0.0.1:9/", "method": "GET"},
        {"uri": "http://169.254.169.254/latest/meta-data", "method": "GET"},
        {"uri": "http://10.0.0.1/", "method": "GET"},
        {"uri": "file:///etc/passwd", "method": "GET"},
        {"uri": "gopher://127.0.0.1/", "method": "GET"},
        {"uri": "not a url", "method": "GET"},
        {"uri": {"a": 1}, "method": ["GET"]},
        {"uri": "http://[::1]:9/", "method": "GET"},
        {"uri": "http://user:pass@127.0.0.1:9\r\nX: y/", "method": "GET"},
    ],
)
def test_what_http_cannot_or_may_not_call(official: Official, given: dict[str, Any]) -> None:
    """Addresses of the host's own network are out of reach, except those that the operator allowed."""
    found = official.ended(official.run([step("HTTP", "call", inputParameters={"http_request": given})]), "FAILED")
    task = task_of(found, "call")
    assert task.status in {"FAILED", "FAILED_WITH_TERMINAL_ERROR"}
    assert task.reason_for_incompletion
    assert "Traceback" not in task.reason_for_incompletion
    assert task.end_time - task.start_time < 10_000
