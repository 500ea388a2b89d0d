"""Whatever JSON comes: a form, or an error that says where."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.exploring import examples

from pelton.errors import Code, PeltonError
from pelton.kernel.expressions.base import Invalid
from pelton.languages.conductor import decode, detect
from pelton.languages.conductor.definitions import compile as compiling
from pelton.languages.conductor.definitions import validate
from pelton.languages.conductor.model import CamelForm, EventHandlerDef, StartWorkflowRequest, TaskDef, TaskResult, WorkflowDef
from pelton.languages.conductor.tasks.kinds import SUPPORTED


def refusal(error: PeltonError) -> None:
    assert error.code is Code.INVALID
    assert error.message
    assert all(each.message for each in error.problems)


FORMS: list[type[Any]] = [WorkflowDef, TaskDef, EventHandlerDef, StartWorkflowRequest, TaskResult]
scalars = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False) | st.text()
)


def names(form: type[Any]) -> st.SearchStrategy[str]:
    return st.sampled_from([each.encode_name for each in msgspec.structs.fields(form)])


WORDS = [
    "name", "taskReferenceName", "type", "tasks", "forkTasks", "decisionCases", "loopOver", "joinOn", "inputParameters", "sink",
    "subWorkflowParam", "workflowDefinition", "version", "evaluatorType", "expression", "loopCondition", "actions", "action",
    "start_workflow", "complete_task", "condition", "event", "outputParameters", "taskDefinition", "retryCount", "optional",
]  # fmt: skip
TEXTS = [
    *SUPPORTED,
    "a",
    "b",
    "${a.output}",
    "${",
    "$${x}",
    "javascript",
    "value-param",
    "COMPLETED",
    "1",
    "true",
    "start_workflow",
]
values = st.recursive(
    scalars | st.sampled_from(TEXTS),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(WORDS) | st.text(max_size=3), inner, max_size=6),
    max_leaves=25,
)


@examples(300)
@given(value=values, form=st.sampled_from(FORMS))
def test_any_json_gives_a_form_or_an_error(value: Any, form: type[Any]) -> None:
    try:
        found = decode.decode(msgspec.json.encode(value), form)
    except PeltonError as error:
        refusal(error)
        return
    assert isinstance(found, form)
    # What was understood is understood again, to the same.
    assert decode.decode(msgspec.json.encode(found), form) == found


@examples(200)
@given(data=st.binary(max_size=200), form=st.sampled_from(FORMS))
def test_any_bytes_give_a_form_or_an_error(data: bytes, form: type[Any]) -> None:
    try:
        decode.decode(data, form)
    except PeltonError as error:
        refusal(error)


INPUTS = ["duration", "k", "terminationStatus", "expression"]


def nested(outer: Any, lists: Any, kind: str) -> Any:
    choice = {"evaluatorType": "value-param", "expression": "k", "loopCondition": "false"}
    return {**outer, **choice, "type": kind, "forkTasks": lists, "loopOver": lists[0], "decisionCases": {"x": lists[0]}}


tasks = st.recursive(
    st.fixed_dictionaries(
        {
            "name": st.sampled_from(["a", "b", "c", ""]),
            "taskReferenceName": st.text("abcdefgh", min_size=1, max_size=3),
            "type": st.sampled_from([*SUPPORTED, "ODD"]),
        },
        optional={
            "inputParameters": st.dictionaries(st.sampled_from(INPUTS), st.sampled_from(TEXTS)),
            "sink": st.sampled_from(["conductor", "sqs:q", "x"]),
            "evaluatorType": st.sampled_from(["javascript", "value-param"]),
            "expression": st.sampled_from(["$.a", "k", "("]),
            "loopCondition": st.just("false"),
            "joinOn": st.lists(st.text("abcdefgh", min_size=1, max_size=3), max_size=2),
            "subWorkflowParam": st.fixed_dictionaries({"name": st.just("child")}),
        },
    ),
    lambda inner: st.builds(
        nested,
        inner,
        st.lists(st.lists(inner, min_size=1, max_size=3), min_size=1, max_size=2),
        st.sampled_from(["FORK_JOIN", "DO_WHILE", "SWITCH"]),
    ),
    max_leaves=8,
)


@examples(300)
@given(st.lists(tasks, min_size=1, max_size=5))
def test_what_is_valid_compiles(given_tasks: list[Any]) -> None:
    definition = decode.convert({"name": "wf", "tasks": given_tasks}, WorkflowDef)
    try:
        validate.check_workflow(definition)
    except PeltonError as error:
        refusal(error)
        return
    body = msgspec.json.encode(compiling.bind(definition, lambda name: None, lambda name: 0))
    process = compiling.compile_definition("wf", 1, body, 1, frozenset({"conductor", "sqs"}))
    assert set(process.nodes) == {name for name in process.nodes if name}


def test_a_body_that_is_no_definition_does_not_compile() -> None:
    with pytest.raises(Invalid):
        compiling.compile_definition("wf", 1, b"[]", 1, frozenset())


@pytest.mark.parametrize(
    ("given_value", "member", "found"),
    [
        ({"active": "true"}, "active", True),
        ({"active": "False"}, "active", False),
        ({"active": None}, "active", False),
        ({"active": 1}, "active", True),
        ({"condition": True}, "condition", "true"),
        ({"condition": 1.5}, "condition", "1.5"),
        ({"condition": None}, "condition", msgspec.UNSET),
    ],
)
def test_scalars_are_converted(given_value: Any, member: str, found: Any) -> None:
    assert getattr(decode.convert(given_value, EventHandlerDef), member) == found


@pytest.mark.parametrize(
    ("given_value", "path"),
    [
        ({"tasks": {}}, "tasks"),
        ({"tasks": [1]}, "tasks[0]"),
        ({"tasks": [{"forkTasks": [[{"joinOn": "a"}]]}]}, "tasks[0].forkTasks[0][0].joinOn"),
        ({"tasks": [{"decisionCases": {"x": [{"type": []}]}}]}, "tasks[0].decisionCases.x[0].type"),
        ({"version": 1.5}, "version"),
        ({"version": True}, "version"),
        ({"timeoutPolicy": "odd"}, "timeoutPolicy"),
        ([], ""),
    ],
)
def test_errors_name_the_place(given_value: Any, path: str) -> None:
    with pytest.raises(PeltonError) as caught:
        decode.convert(given_value, WorkflowDef)
    assert [each.path for each in caught.value.problems] == [path]


def test_documents_are_told_apart() -> None:
    workflow = detect.detect({"name": "w", "tasks": [{"name": "a", "taskReferenceName": "a"}]})
    assert workflow is not None
    assert (workflow.kind, workflow.requests[0][:2]) == ("workflow", ("PUT", "/api/metadata/workflow"))
    action = {"action": "start_workflow", "start_workflow": {"name": "w"}}
    handler = detect.detect({"name": "h", "event": "a:b", "actions": [action]})
    assert handler is not None
    assert [method for method, _, _ in handler.requests] == ["POST", "PUT"]
    policy = detect.detect({"name": "t", "retryCount": 1})
    assert policy is not None
    assert policy.kind == "task"
    assert detect.detect({"name": "x"}) is None
    assert detect.detect([1]) is None
    with pytest.raises(PeltonError) as caught:
        detect.detect({"name": "w", "tasks": [{"name": "a", "taskReferenceName": "a", "type": "JOIN", "joinOn": ["b"]}]})
    assert "joinOn" in caught.value.problems[0].path


def test_every_form_can_be_decoded_from_nothing() -> None:
    for form in FORMS:
        assert isinstance(decode.decode(b"{}", form), CamelForm)
