"""Actions and their logs, as the official client defines and sees them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lusid_workflow import models
from tests.languages.lusid.official import Official, refused, scope, state, trigger
from tests.patience import eventually


def until(look: Callable[[], Any]) -> Any:
    """What `look` finds, as soon as it finds something."""
    return eventually(look)


def becomes(official: Official, task: Any, state: str) -> Any:
    def look() -> Any:
        found = official.tasks.get_task(task.id)
        return found if found.state == state else None

    return until(look)


def way(start: str, name: str, end: str, action: str | None = None, guard: str | None = None) -> Any:
    return models.TaskTransitionDefinition(from_state=start, to_state=end, trigger=name, action=action, guard=guard)


def action(name: str, details: Any, run_as: str | None = None) -> Any:
    return models.ActionDefinition(name=name, run_as_user_id=run_as, action_details=models.ActionDetails(details))


def define(official: Official, scope: str, code: str, ways: list[Any], *actions: Any, fields: Any = ()) -> None:
    names = list(dict.fromkeys(name for each in ways for name in (each.from_state, each.to_state)))
    triggers = list(dict.fromkeys(each.trigger for each in ways))
    official.definitions.create_task_definition(
        models.CreateTaskDefinitionRequest(
            id=models.ResourceId(scope=scope, code=code),
            display_name=code,
            states=[state(name) for name in names],
            field_schema=[models.TaskFieldDefinition(name=name, type=kind) for name, kind in fields],
            initial_state=models.InitialState(name=names[0]),
            triggers=[trigger(name) for name in triggers],
            transitions=ways,
            actions=list(actions),
        )
    )


def create(official: Official, scope: str, code: str, trigger: str | None = None, **fields: Any) -> Any:
    given = [models.TaskInstanceField(name=name, value=value) for name, value in fields.items()]
    request = models.CreateTaskRequest(task_definition_id=models.ResourceId(scope=scope, code=code), fields=given)
    return official.tasks.create_task(request, trigger=trigger)


def child(scope: str, code: str, **more: Any) -> Any:
    return models.CreateChildTaskConfiguration(task_definition_id=models.ResourceId(scope=scope, code=code), **more)


def test_children_and_their_parent(official: Official) -> None:
    """A row of children; each that ends triggers the next, the last the parent."""
    here = scope()
    fallback = models.TriggerNextTaskFallbackActions(end_of_sequence="up")
    along = action("along", models.TriggerNextTaskAction(type="TriggerNextTask", default_trigger="go", fallback_actions=fallback))
    up = action("up", models.TriggerParentTaskAction(type="TriggerParentTask", trigger="end"), "robot")
    define(
        official, here, "leaf", [way("New", "go", "Doing"), way("Doing", "finish", "Done", "along")], along, up,
        fields=[("text", "String")],
    )  # fmt: skip
    make = models.CreateChildTasksAction(
        type="CreateChildTasks",
        ordering="Series",
        child_task_configurations=[
            child(here, "leaf", initial_trigger="go", child_task_fields={"text": models.FieldMapping(map_from="text")}),
            child(here, "leaf", child_task_fields={"text": models.FieldMapping(set_to="second")}),
            child(here, "leaf", condition="fields['text'] eq 'never'"),
        ],
    )
    define(
        official, here, "root",
        [way("New", "begin", "Open", "make"), way("Open", "end", "Closed", guard="childTasks all (state in 'Done')")],
        action("make", make), fields=[("text", "String")],
    )  # fmt: skip
    root = create(official, here, "root", "begin", text="first")
    one, two = until(lambda: (found := official.tasks.get_task(root.id).child_tasks) and len(found) == 2 and found)
    assert isinstance(one, models.TaskSummary)
    assert (one.state, two.state) == ("Doing", "New")
    first, second = official.tasks.get_task(one.id), official.tasks.get_task(two.id)
    assert [each.fields[0].value for each in (first, second)] == ["first", "second"]
    assert (first.next_task.id, second.previous_task.id, first.previous_task) == (two.id, one.id, None)
    assert first.hierarchical_position == "Child"
    assert first.parent_task.id == first.ultimate_parent_task.id == root.id
    assert first.action_log_id_created == root.action_log_id_submitted
    done = official.tasks.update_task(one.id, trigger="finish")
    becomes(official, second, "Doing")
    assert official.tasks.get_task(root.id).state == "Open"
    official.tasks.update_task(two.id, trigger="finish")
    closed = becomes(official, root, "Closed")
    assert closed.version.user_id_modified == "robot"
    assert closed.completion_status == "Completed"
    log = official.logs.get_action_logs(root.action_log_id_submitted)
    assert isinstance(log, models.ActionLog)
    assert (log.id, log.action_type, log.origin.task_id) == (root.action_log_id_submitted, "CreateChildTasks", root.id)
    assert log.origin.request_id == root.version.request_id_created
    assert [each.log_type for each in log.logged_items] == ["ActionSubmitted", "ActionSuccessful"]
    assert log.logged_items[0].timestamp <= log.logged_items[1].timestamp
    assert official.logs.get_action_logs(done.action_log_id_submitted).action_type == "TriggerNextTask"
    assert official.logs.get_action_logs(closed.action_log_id_modified).run_as_user_id == "robot"


def test_triggers_for_children(official: Official) -> None:
    here = scope()
    define(official, here, "leaf", [way("New", "go", "Done")], fields=[("n", "Decimal")])
    make = models.CreateChildTasksAction(
        type="CreateChildTasks",
        child_task_configurations=[child(here, "leaf", child_task_fields={"n": models.FieldMapping(set_to=n)}) for n in range(3)],
    )
    tell = models.TriggerChildTasksAction(type="TriggerChildTasks", trigger="go", filter="fields['n'] gte 1")
    define(
        official, here, "root", [way("New", "begin", "Open", "make"), way("Open", "tell", "Open", "tell")],
        action("make", make), action("tell", tell, "robot"),
    )  # fmt: skip
    root = create(official, here, "root", "begin")
    until(lambda: len(official.tasks.get_task(root.id).child_tasks) == 3)
    told = official.tasks.update_task(root.id, trigger="tell")
    until(lambda: [each.state for each in official.tasks.get_task(root.id).child_tasks] == ["New", "Done", "Done"])
    again = official.tasks.update_task(root.id, trigger="tell")

    def refusals() -> Any:
        items = official.logs.get_action_logs(again.action_log_id_submitted).logged_items
        found = [each for each in items if each.log_type == "TriggerNotApplied"]
        return found if len(found) == 2 else None

    assert all("'go'" in each.details for each in until(refusals))
    kinds = [each.log_type for each in official.logs.get_action_logs(told.action_log_id_submitted).logged_items]
    assert kinds == ["ActionSubmitted", "ActionSuccessful"]


def test_logs_that_are_not_there(official: Official) -> None:
    missing = "00000000-0000-4000-8000-000000000000"
    assert refused(404, official.logs.get_action_logs, missing)["name"] == "ActionLogNotFound"
