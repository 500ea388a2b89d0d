"""Namespaces beside one another on one engine, all with things of the same names."""

from __future__ import annotations

from typing import Any

from tests.languages.lusid.api import DEFINITIONS, HANDLERS, TYPES, WORKERS, Api
from tests.languages.lusid.machines import TASKS, Desk, action, here, identity, machine, steady
from tests.patience import happens

CALENDARS = "/workflow/api/calendars"
MANUAL = "/notification/api/manualevent"

Things = dict[str, Any]


class Inside:
    """The API as callers of one namespace have it."""

    def __init__(self, api: Api, namespace: str) -> None:
        self.api = api
        self.namespace = namespace

    async def ok(self, method: str, path: str, body: Any = None, **more: Any) -> Any:
        return await self.api.ok(method, path, body, namespace=self.namespace, **more)

    async def made(self, path: str, body: Any, user: str = "") -> Any:
        return await self.ok("POST", path, body, status=201, user=user)

    async def refused(self, status: int, method: str, path: str, body: Any = None, **more: Any) -> Any:
        return await self.api.refused(status, method, path, body, namespace=self.namespace, **more)


class Side(Inside):
    """A namespace with one thing of each kind, all in the scope of the test at hand and all with the same names. `title`: by
    which its things differ from those of others. `task`, `run`, `log`: the ids of its task, of its worker's run and of its
    task's action."""

    def __init__(self, api: Api, namespace: str, title: str, kind: str = "Fail") -> None:
        super().__init__(api, namespace)
        self.title = title
        self.kind = kind
        self.task = self.run = self.log = self.made_at = ""
        self.definition = f"{DEFINITIONS}/{here()}/job"
        self.worker = f"{WORKERS}/{here()}/worker"
        self.handler = f"{HANDLERS}/{here()}/handler"
        self.calendar = f"{CALENDARS}/{here()}/calendar"
        self.type = f"{TYPES}/{here()}"
        self.desk = Desk(self)  # type: ignore[arg-type]  # which asks nothing of an API that is not here

    # ---- what is sent

    def job(self) -> Things:
        run = action(
            "run",
            "RunWorker",
            workerId=identity("worker"),
            workerParameters={"SleepTimeSeconds": {"setTo": 0}},
            workerStatusTriggers={"completedNoResults": "finish"},
        )
        ways = "New go Running !run, Running finish Done"
        made: Things = machine("job", ways, fields={"n": "Decimal", "title": "String"}, displayName=self.title, actions=[run])
        return made

    def machinery(self) -> Things:
        return {"id": identity("worker"), "displayName": self.title, "workerConfiguration": {"type": self.kind}}

    def on_event(self) -> Things:
        """Makes a task of each event raised by hand whose subject is the scope."""
        return {
            "id": identity("handler"),
            "displayName": self.title,
            "status": "Active",
            "eventMatchingPattern": {"eventType": "Manual", "filter": f"body.subject eq '{here()}'"},
            "runAsUserId": {"setTo": "robot"},
            "taskDefinitionId": identity("job"),
            "taskActivity": {
                "type": "CreateNewTask",
                "correlationIds": [{"mapFrom": "body.message"}],
                "taskFields": {"title": {"setTo": self.title}},
            },
        }

    def days(self) -> Things:
        return {"dates": ["2026-12-25" if self.title == "first" else "2026-12-26"], "weekends": ["Sunday"]}

    def kind_of_event(self) -> Things:
        return {"id": here(), "displayName": self.title}

    def request(self) -> Things:
        return self.desk.request("job", {"n": 1, "title": self.title}, {"correlationIds": ["c"], "stackingKey": "s"})

    def event(self) -> Things:
        return {"subject": here(), "message": "c"}

    # ---- its things

    async def fill(self) -> Side:
        await self.made(DEFINITIONS, self.job())
        await self.made(WORKERS, self.machinery())
        await self.ok("PUT", self.calendar, self.days())
        await self.made(TYPES, self.kind_of_event())
        await self.made(HANDLERS, self.on_event())
        task = await self.ok("POST", TASKS, self.request(), status=201, trigger="go", user="ann")
        self.task, self.log, self.made_at = task["id"], task["actionLogIdSubmitted"], task["version"]["asAtCreated"]
        self.run = (await self.ok("POST", f"{self.worker}/$run", self.parameters()))["runId"]
        await self.rest()
        return self

    def parameters(self) -> Things:
        return {"parameters": [{"name": "SleepTimeSeconds", "value": 0}] if self.kind == "Sleep" else []}

    async def rest(self) -> None:
        """Until its worker has done all that it was asked for."""
        await happens(self._resting, f"the worker of {self.namespace} has done its work")

    async def _resting(self) -> bool:
        result = await self.ok("GET", f"{WORKERS}/{self.run}/$result")
        log = await self.desk.log(self.log)
        ended = {each["logType"] for each in log["loggedItems"]} & {"ActionFailed", "ActionSuccessful"}
        state = (await self.ok("GET", f"{TASKS}/{self.task}"))["state"]
        return "Complete" in result["workerStatus"] and bool(ended) and (self.kind == "Fail" or state == "Done")

    async def tasks(self) -> list[Any]:
        found: list[Any] = (await self.ok("GET", f"{self.definition}/tasks"))["values"]
        return found

    async def seen(self) -> Things:
        """All that its callers see of its things, now and as they were when the task was made."""
        paths = [self.definition, self.worker, self.handler, self.type]
        found: Things = {path: await self.ok("GET", path) for path in [*paths, self.calendar]}
        for path in (self.definition, self.worker, self.handler, self.calendar):
            found[f"{path} then"] = await self.ok("GET", path, asAt=self.made_at)
        for path in (f"{TASKS}/{self.task}/history", f"/workflow/api/actionlogs/{self.log}", f"{WORKERS}/{self.run}/$result"):
            found[path] = await self.ok("GET", path)
        found["task"] = steady(await self.ok("GET", f"{TASKS}/{self.task}"))
        found["task then"] = steady(await self.ok("GET", f"{TASKS}/{self.task}", asAt=self.made_at))
        found["tasks"] = [steady(each) for each in await self.tasks()]
        scope = f"id.scope eq '{here()}'"
        for path in (DEFINITIONS, WORKERS, HANDLERS):
            found[path] = (await self.ok("GET", path, filter=scope))["values"]
        return found
