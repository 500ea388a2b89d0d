"""Teams that share a server: each with a key that puts its calls into a namespace, and all with the same names."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from lusid_workflow import models
from tests.acceptance.lusid.test_schedules import JUST_BEFORE, PREPARING, pattern, scheduled, until
from tests.acceptance.lusid.world import World, creates, effects_of, fields_of, serving, updates
from tests.languages.lusid.official import Official, refused
from tests.patience import eventually

OURS, ACME, ZETA = "key-of-nobody-else-01", "key-of-acme-00000002", "token-of-ann-00000003"
KEYS = ("--api-key", OURS, "--namespace-key", f"acme={ACME}", "--user", f"ann={ZETA}", "--namespace-key", f"zeta={ZETA}")
TEAMS = {"default": OURS, "acme": ACME, "zeta": ZETA}
MINE = models.ResourceId(scope="acme", code="work")
WORK = "taskDefinitionId.code eq 'work'"


@contextmanager
def teams(directory: Path, ahead: float = 0.0) -> Iterator[dict[str, World]]:
    with serving(directory, *KEYS, token=OURS, ahead=ahead) as first, ExitStack() as stack:
        found = {"default": first}
        for name in ("acme", "zeta"):
            found[name] = World(first.server, first.folder, TEAMS[name])
            stack.callback(found[name].close)
        yield found


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, World]]:
    with teams(tmp_path_factory.mktemp("teams")) as found:
        yield found


@pytest.fixture
def clients(worlds: dict[str, World]) -> Iterator[dict[str, Official]]:
    found = {name: Official(worlds[name].server.address, key) for name, key in TEAMS.items()}
    yield found
    for each in found.values():
        each.close()


def test_without_a_key_there_is_no_namespace(worlds: dict[str, World]) -> None:
    stranger = World(worlds["acme"].server, worlds["acme"].folder, "key-of-acme-00000000")
    stranger.ask("GET", "/workflow/api/tasks", status=401)
    stranger.close()


def test_the_official_client_with_two_keys(worlds: dict[str, World], clients: dict[str, Official]) -> None:
    made: dict[str, Any] = {}
    runs: dict[str, str] = {}
    for name, client in clients.items():
        worlds[name].definition("work")
        kind = models.Fail(type="Fail") if name == "acme" else models.Sleep(type="Sleep")
        client.workers.create_worker(
            models.CreateWorkerRequest(id=MINE, display_name=name, worker_configuration=models.WorkerConfiguration(kind))
        )
        fields = [models.TaskInstanceField(name="path", value=name)]
        request = models.CreateTaskRequest(task_definition_id=MINE, fields=fields, correlation_ids=["c"], stacking_key="k")
        made[name] = client.tasks.create_task(request, trigger="begin")
        parameters = [] if name == "acme" else [models.ParameterValue(name="SleepTimeSeconds", value="0")]
        runs[name] = client.workers.run_worker("acme", "work", models.RunWorkerRequest(parameters=parameters)).run_id
    assert made["zeta"].version.user_id_created == "ann"
    for name, client in clients.items():
        assert [task.id for task in client.tasks.list_tasks(filter=WORK).values] == [made[name].id]
        assert [task.id for task in client.tasks.list_tasks(filter=f"correlationIds any (~ eq 'c') and {WORK}").values] == [
            made[name].id
        ]
        assert [each.display_name for each in client.workers.list_workers().values] == [name]
        done = eventually(partial(ended, client, runs[name]), "the worker's run ends")
        assert done == ("FailedToComplete" if name == "acme" else "CompletedNoResults")
        for other in set(TEAMS) - {name}:
            theirs = made[other].id
            refused(404, client.tasks.get_task, theirs)
            refused(404, client.tasks.get_task, theirs, as_at=made[other].version.as_at_modified)
            refused(404, client.tasks.get_task_history, theirs)
            refused(404, client.tasks.update_task, theirs, trigger="check")
            refused(404, client.tasks.delete_task, theirs)
            refused(404, client.workers.get_worker_result, runs[other])
    for name, client in clients.items():
        task = client.tasks.update_task(made[name].id, trigger="check")
        assert (task.state, task.version.as_at_version_number) == ("Open", 2)
    clients["acme"].tasks.delete_task(made["acme"].id)
    clients["acme"].workers.delete_worker("acme", "work")
    clients["acme"].definitions.delete_task_definition("acme", "work")
    refused(404, clients["acme"].definitions.get_task_definition, "acme", "work")
    for name in ("default", "zeta"):
        assert clients[name].tasks.get_task(made[name].id).state == "Open"
        assert clients[name].workers.get_worker("acme", "work").display_name == name
        assert clients[name].definitions.get_task_definition("acme", "work").display_name == "Work"


def ended(client: Official, run: str) -> str:
    """How the worker's run ended, "" while it has not."""
    status: str = client.workers.get_worker_result(run).worker_status
    return status if "Complete" in status else ""


def test_events_and_files_are_of_one_namespace(worlds: dict[str, World]) -> None:
    kind = "TeamsEvent"
    definition = {"scope": "acme", "code": "events"}
    for name, world in worlds.items():
        world.definition("events")
        made = creates({"path": name}, correlationIds=[{"mapFrom": "body.order"}])
        filed = creates({"path": "$body.filePath"})
        closed = updates("finish", "correlationIds any (~ eq body.order)", {"rows": 2})
        for code, event, activity in (
            ("creating", kind, made),
            ("filing", "FileCreated", filed),
            ("closing", "TeamsUpdate", closed),
        ):
            world.made(world.handler_of(definition, event, activity, id={"scope": "acme", "code": code}))
    for count, (name, world) in enumerate(worlds.items(), 1):
        posted = world.post(kind, {"order": "7"}, id="one-id")
        [effect] = effects_of(posted, "acme/creating")
        assert effect["outcome"] == "started"
        again = world.post(kind, {"order": "7"}, status=200, id="one-id")
        assert (again["outcome"], again["key"]) == ("duplicate", posted["key"])
        for index, (other, beside) in enumerate(worlds.items()):
            assert [fields_of(each)["path"] for each in beside.tasks(definition)] == [other] * (index < count)
            if other != name:
                beside.ask("GET", f"/v1/events/{posted['key']}", status=404)
    worlds["acme"].post("TeamsUpdate", {"order": "7"})
    worlds["acme"].wait(lambda: worlds["acme"].tasks(definition)[0]["state"] == "Closed", "the task is closed")
    assert [worlds[name].tasks(definition)[0]["state"] for name in ("default", "zeta")] == ["Open", "Open"]
    # The folder that the server watches is of the default namespace.
    (worlds["default"].folder / "quotes.csv").write_text("a,b\n1,2\n")
    worlds["default"].wait(lambda: len(worlds["default"].tasks(definition)) == 2, "the file makes a task")
    assert fields_of(worlds["default"].tasks(definition)[1])["path"] == "/acme/quotes.csv"
    assert [len(worlds[name].tasks(definition)) for name in ("acme", "zeta")] == [1, 1]


def test_schedules_of_namespaces_outlive_a_restart(tmp_path: Path) -> None:
    at = datetime.now(UTC).replace(second=0, microsecond=0) + timedelta(minutes=10)
    definition = {"scope": "acme", "code": "daily"}
    with teams(tmp_path, ahead=until(at - PREPARING)) as worlds:
        for name in ("acme", "zeta"):
            worlds[name].definition("daily")
            given = scheduled(worlds[name], definition, pattern(at), creates({"path": name}))
            worlds[name].made({**given, "id": {"scope": "acme", "code": "daily"}})
        worlds["default"].definition("daily")
    with teams(tmp_path, ahead=until(at - JUST_BEFORE)) as worlds:
        for name in ("acme", "zeta"):
            world = worlds[name]
            world.wait(partial(world.tasks, definition), "the task is made")
            assert [fields_of(each)["path"] for each in world.tasks(definition)] == [name]
        assert worlds["default"].tasks(definition) == []
