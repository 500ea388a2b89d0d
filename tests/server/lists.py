"""Every list route of a server, and a store in which each of them has three things."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, NamedTuple

from tests.languages.lusid.api import INTAKE, ON_FILE, SLEEPER, named
from tests.server.test_bad_rows import event, held, letter

from pelton.client import AsyncClient
from pelton.languages.lusid.http.event_types import BUILT_IN
from pelton.models import ClaimIn, ReportIn
from pelton.runtime.api import StartCommand
from pelton.runtime.caller import SERVER
from pelton.runtime.engine import LocalEngine
from pelton.runtime.people.process import PERSON
from pelton.store.rows import ResultRow, SecretRow

JSON = "application/json"
QUEUE = "job-a"
JOB = 77


def listed(*path: str) -> Callable[[Any], list[Any]]:
    """The rows of an answer, under a member of a member."""

    def rows(answer: Any) -> list[Any]:
        for name in path:
            answer = answer[name]
        return list(answer)

    return rows


class List(NamedTuple):
    """A list route. `at`: its address in a world. `damaged`: how many of the three are listed when one of each kind cannot be
    read; of this language's definitions nobody can say then that they are its own."""

    at: str
    rows: Callable[[Any], list[Any]]
    damaged: int = 3
    cursor: str = ""  # the member that says where the next page begins
    parameter: str = ""  # and the parameter that it is passed as


OWN = 2  # definitions of a language

LISTS: dict[str, List] = {
    "/v1/events": List("/v1/events?limit={limit}", listed("events"), cursor="before", parameter="before"),
    "/v1/held": List("/v1/held?limit={limit}", listed("held"), cursor="after", parameter="after"),
    "/v1/dead-letters": List("/v1/dead-letters?limit={limit}", listed("dead_letters"), cursor="after", parameter="after"),
    "/v1/runs": List("/v1/runs?process=flow-a&limit={limit}", listed("runs"), cursor="before", parameter="before"),
    "/v1/runs/{id}/steps": List("/v1/runs/{run}/steps?limit={limit}", listed("steps"), cursor="after", parameter="after"),
    "/v1/runs/{id}/steps/{n}/attempts": List("/v1/runs/{run}/steps/{last}/attempts", listed("attempts"), damaged=1),
    "/v1/processes": List("/v1/processes?after=flow-&limit={few}", listed("processes")),
    "/v1/processes/{name}/nodes/{node}/steps": List(
        "/v1/processes/flow-a/nodes/one/steps?limit={limit}", listed("steps"), 2, cursor="after", parameter="after"
    ),
    "/v1/handlers": List(
        "/v1/handlers?limit={limit}",
        lambda answer: [each for each in answer["handlers"] if each["name"].startswith("hear-")],
        cursor="after",
        parameter="after",
    ),
    "/v1/work": List("/v1/work", listed("queues"), damaged=1, cursor="after", parameter="after"),
    "/v1/jobs/{number}/results": List(
        f"/v1/jobs/{JOB}/results?limit={{limit}}", listed("results"), cursor="last", parameter="after"
    ),
    "/v1/secrets": List("/v1/secrets?limit={limit}", listed("secrets"), cursor="after", parameter="after"),
    "/v1/user-tasks": List("/v1/user-tasks?limit={limit}", listed("tasks"), cursor="after", parameter="after"),
    "/v1/user-tasks/{id}/past": List(
        "/v1/user-tasks/{person}/past?limit={limit}", listed("values"), cursor="after", parameter="after"
    ),
    "/api/metadata/workflow": List("/api/metadata/workflow", list, OWN),
    "/api/metadata/workflow/latest-versions": List("/api/metadata/workflow/latest-versions", list, OWN),
    "/api/metadata/workflow/names": List("/api/metadata/workflow/names", list, OWN),
    "/api/metadata/workflow/names-and-versions": List("/api/metadata/workflow/names-and-versions", list, OWN),
    "/api/metadata/workflow/{name}/versions": List("/api/metadata/workflow/flow-a/versions", list, 1),
    "/api/metadata/taskdefs": List("/api/metadata/taskdefs", list, OWN),
    "/api/event": List("/api/event", list, OWN),
    "/api/event/{event}": List("/api/event/conductor:sink", list, OWN),
    "/api/workflow/{id}": List("/api/workflow/{run}", listed("tasks")),
    "/api/workflow/{id}/tasks": List("/api/workflow/{run}/tasks?count={limit}", listed("results")),
    "/api/workflow/running/{name}": List("/api/workflow/running/flow-a?version=0", list),
    "/api/workflow/{name}/correlated/{cid}": List("/api/workflow/flow-a/correlated/mine", list, 1),
    "/api/workflow/search": List("/api/workflow/search?size={limit}", listed("results"), 2),
    "/api/workflow/search-v2": List("/api/workflow/search-v2?size={limit}", listed("results"), 2),
    "/api/workflow/search-by-tasks": List("/api/workflow/search-by-tasks?size={limit}", listed("results"), 2),
    "/api/workflow/search-by-tasks-v2": List("/api/workflow/search-by-tasks-v2?size={limit}", listed("results"), 2),
    "/api/tasks/search": List("/api/tasks/search?size={limit}", listed("results")),
    "/api/tasks/search-v2": List("/api/tasks/search-v2?size={limit}", listed("results")),
    "/api/event/execution": List("/api/event/execution", list, 0),
    "/api/event/execution/{event}": List("/api/event/execution/t", list, 0),
    "/api/secrets": List("/api/secrets", list, 0),
    "/api/secrets/v2": List("/api/secrets/v2", list, 0),
    "/api/secrets-v2": List("/api/secrets-v2", list, 0),
    "/api/environment": List("/api/environment", list, 0),
    "/api/admin/queues": List("/api/admin/queues", list, 0),
    "/api/admin/task/{type}": List("/api/admin/task/job-a", list, 0),
    "/api/tasks/queue/all/verbose": List("/api/tasks/queue/all/verbose", list, 0),
    "/api/schema": List("/api/schema", list, 0),
    "/api/queue": List("/api/queue", list, 0),
    "/api/queue/size": List("/api/queue/size", list, 0),
    "/api/event/queue/config": List("/api/event/queue/config", list, 0),
    "/api/scheduler/schedules": List("/api/scheduler/schedules", list, OWN),
    "/api/scheduler/schedules/search": List("/api/scheduler/schedules/search", listed("results"), OWN),
    "/api/scheduler/search/executions": List("/api/scheduler/search/executions", listed("results"), 0),
    "/api/tasks/{id}/log": List("/api/tasks/{task}/log", list),
    "/api/tasks/queue/sizes": List("/api/tasks/queue/sizes?taskType=job-a", list, 1),
    "/api/tasks/queue/all": List("/api/tasks/queue/all", list, 1),
    "/api/tasks/queue/polldata": List("/api/tasks/queue/polldata?taskType=job-a", list, 0),
    "/api/tasks/queue/polldata/all": List("/api/tasks/queue/polldata/all", list, 0),
    "/workflow/api/taskdefinitions": List(
        "/workflow/api/taskdefinitions?limit={limit}", listed("values"), OWN, cursor="nextPage", parameter="page"
    ),
    "/workflow/api/eventhandlers": List(
        "/workflow/api/eventhandlers?limit={limit}", listed("values"), OWN, cursor="nextPage", parameter="page"
    ),
    "/workflow/api/workers": List(
        "/workflow/api/workers?limit={limit}", listed("values"), OWN, cursor="nextPage", parameter="page"
    ),
    "/workflow/api/tasks": List("/workflow/api/tasks?limit={limit}", listed("values"), cursor="nextPage", parameter="page"),
    "/workflow/api/taskdefinitions/{scope}/{code}/tasks": List("/workflow/api/taskdefinitions/acme/a/tasks", listed("values")),
    "/workflow/api/tasks/{id}/history": List("/workflow/api/tasks/{lusid}/history", listed("values")),
    "/notification/api/eventtypes": List("/notification/api/eventtypes", lambda answer: answer["values"][len(BUILT_IN) :], OWN),
}

SINGLE = {
    "/v1/events/{key}", "/v1/events/{key}/explain", "/v1/runs/{id}", "/v1/runs/{id}/explain", "/v1/processes/{name}",
    "/v1/sets/{name}", "/v1/user-tasks/{id}", "/v1/health", "/api/metadata/workflow/{name}", "/api/metadata/taskdefs/{type}",
    "/api/workflow/{id}/status", "/api/tasks/{id}", "/api/tasks/queue/size", "/workflow/api/taskdefinitions/{scope}/{code}",
    "/workflow/api/eventhandlers/{scope}/{code}", "/workflow/api/workers/{scope}/{code}",
    "/workflow/api/calendars/{scope}/{code}",
    "/v1/work/{id}/checkpoints/{number}", "/workflow/api/tasks/{id}", "/notification/api/eventtypes/{eventType}",
    "/api/scheduler/schedules/{name}", "/api/scheduler/schedules/{name}/tags", "/api/scheduler/nextFewSchedules",
    "/api/secrets/{name}", "/api/secrets/{name}/exists", "/api/environment/{name}", "/api/version", "/api/token/userInfo",
    "/api/admin/config", "/api/workflow/{id}/size", "/api/schema/{name}", "/api/schema/{name}/{version}",
    "/api/metadata/task/{name}/tags", "/api/metadata/workflow/{name}/tags", "/api/metadata/tags/workflow/{name}",
    "/api/secrets/{name}/tags", "/api/workflow/execute/{name}", "/api/event/queue/config/{type}/{name}",
    "/api/scheduler/admin/pause", "/api/scheduler/admin/resume", "/api/scheduler/admin/requeue",
    # what one run's worker gave, and what one action did
    "/workflow/api/workers/{id}/$result", "/workflow/api/actionlogs/{id}",
    # work that is handed out, not listed
    "/api/tasks/poll/{type}", "/api/tasks/poll/batch/{type}",
    # the same for every server
    "/workflow/api/metadata/access/resources", "/workflow/api/metadata/endpoints",
    # a row for each kind of data
    "/v1/retention",
}  # fmt: skip
"""Routes that answer with one thing, or whose rows do not come out of the store."""


def flow(letter: str, count: int, **more: Any) -> dict[str, Any]:
    names = ("one", *(f"task{number}" for number in range(2, count + 1)))
    tasks = [{"name": f"job-{letter}", "taskReferenceName": name, "type": "SIMPLE"} for name in names]
    return {"name": f"flow-{letter}", "version": 1, "schemaVersion": 2, "ownerEmail": "a@b.example", "tasks": tasks, **more}


class World:
    """As many of each thing; `ids`: what addresses need."""

    def __init__(self, engine: LocalEngine, client: AsyncClient, count: int = 3) -> None:
        self.engine, self.client, self.count = engine, client, count
        self.letters = "abcdefghijkl"[:count]
        self.ids: dict[str, Any] = {"limit": 100, "few": count}

    async def post(self, path: str, body: Any, method: str = "POST") -> Any:
        return await self.client.request(method, path, body, content_type=JSON)

    async def fill(self, large: str = "") -> None:
        await self._conductor(large)
        await self._lusid()
        await self._native(large)

    async def _conductor(self, large: str) -> None:
        for each in self.letters:
            await self.post("/api/metadata/workflow", flow(each, self.count, description=large))
            await self.post(
                "/api/metadata/taskdefs", [{"name": f"job-{each}", "description": "" if each == "a" else large, "retryCount": 0}]
            )
            await self.post(
                "/api/scheduler/schedules",
                {
                    "name": f"when-{each}",
                    "cronExpression": "0 0 12 * * ?",
                    "startWorkflowRequest": {"name": "flow-a"},
                    "description": large,
                },
            )
            action = {
                "action": "complete_task",
                "complete_task": {"workflowId": "${w}", "taskRefName": "x", "output": {"large": large}},
            }
            await self.post(
                "/api/event", {"name": f"hear-{each}", "event": "conductor:sink", "active": True, "actions": [action]}
            )
        runs: list[str] = []
        for number in range(self.count):
            asked = {"name": "flow-a", "correlationId": "other" if number else "mine"}
            runs.append(str(await self.post("/api/workflow", asked)))
            for _ in () if number else range(self.count - 1):  # of the first run all tasks are done but the last, which is open
                (item,) = (await self.client.work("me", claim=ClaimIn([QUEUE], 1, 0))).items
                await self.client.work("me", reports=[ReportIn(item.id, output={"large": large})])
        self.ids["run"], self.ids["runs"] = runs[0], runs
        first = self.engine.codec.parse_run_id(runs[0])
        assert first is not None
        self.ids["last"] = self.count
        self.ids["task"] = self.engine.codec.step_id(first, 1)
        for number in range(self.count):
            await self.engine.log(SERVER, first, 1, [(self.engine.now(), f"line {number}")])

    async def _lusid(self) -> None:
        for each in self.letters:
            await self.post("/workflow/api/taskdefinitions", named(INTAKE, each))
            await self.post("/workflow/api/workers", named(SLEEPER, each))
            handler = copy.deepcopy(named(ON_FILE, each))
            handler["taskDefinitionId"]["code"] = each
            await self.post("/workflow/api/eventhandlers", handler)
            await self.post("/notification/api/eventtypes", {"id": f"Mine{each}"})
        tasks = []
        for number in range(self.count):
            made = await self.post(
                "/workflow/api/tasks",
                {"taskDefinitionId": {"scope": "acme", "code": "a"}, "fields": [{"name": "path", "value": f"{number}"}]},
            )
            tasks.append(made["id"])
        for number in range(self.count):
            await self.post(f"/workflow/api/tasks/{tasks[0]}", {"fields": [{"name": "path", "value": f"{number}{number}"}]})
        self.ids["lusid"] = tasks[0]
        self.ids["tasks"] = tasks

    async def _native(self, large: str) -> None:
        people = []
        for number in range(self.count):
            run = await self.engine.start(SERVER, StartCommand(process=PERSON, input={"title": f"{number}"}))
            people.append(self.engine.codec.run_id(run.key))
        for number in range(self.count - 1):
            await self.post(f"/v1/user-tasks/{people[0]}/note", {"text": f"{number}"})
        self.ids["person"] = people[0]
        self.ids["people"] = people

        def rows(group: Any) -> None:
            group.events.extend(event(key, large or {"a": 1}) for key in range(11, 11 + self.count))
            group.dead.extend(letter(b'"%s"' % (large or "1").encode()) for _ in range(self.count))
            group.held.extend(held(number, large or 1) for number in range(1, self.count + 1))
            group.results.append(ResultRow(JOB, 0, self.count, self.engine.now(), "signalled"))
            group.results.extend(ResultRow(JOB, run, 1, self.engine.now(), "signalled") for run in range(1, self.count + 1))
            group.secrets.extend(SecretRow("default", name, b"x", 1, key="k") for name in self.letters)

        await self.engine.write(rows)
