"""Task definitions in few words, and what tests of tasks do with them over the API."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from tests.languages.lusid.api import DEFINITIONS, WORKERS, Api
from tests.patience import happens

from pelton.languages.lusid.times import parse_moment, print_moment

TASKS = "/workflow/api/tasks"
_scopes = ["acme"]


def here() -> str:
    """The scope of the test at hand: tests share an engine."""
    return _scopes[-1]


def move(scope: str) -> None:
    _scopes[:] = [scope]


def identity(code: str) -> dict[str, str]:
    return {"scope": here(), "code": code}


def machine(code: str, ways: str, *, fields: dict[str, Any] | None = None, required: tuple[str, ...] = (), **more: Any) -> Any:
    """`ways`: "New go Doing, Doing finish Done", the initial state first; `!action` after it names an action, `[...]` a guard.
    `fields`: name → type, or more members of its schema."""
    states: dict[str, None] = {}
    triggers: dict[str, None] = {}
    transitions: list[dict[str, Any]] = []
    for way in ways.split(","):
        text, _, guard = way.strip().partition("[")
        text, _, action = text.strip().partition("!")
        start, trigger, end = text.split()
        states.update({start: None, end: None})
        triggers[trigger] = None
        found = {"fromState": start, "toState": end, "trigger": trigger}
        if guard:
            found["guard"] = guard.strip().removesuffix("]").replace(";", ",")
        if action:
            found["action"] = action.strip()
        transitions.append(found)
    schema = [{"name": name, **(kind if isinstance(kind, dict) else {"type": kind})} for name, kind in (fields or {}).items()]
    initial: dict[str, Any] = {"name": next(iter(states))}
    if required:
        initial["requiredFields"] = list(required)
    return {
        "id": identity(code),
        "displayName": code.title(),
        "states": [{"name": name} for name in states],
        "fieldSchema": schema,
        "initialState": initial,
        "triggers": [{"name": name, "trigger": {"type": "External"}} for name in triggers],
        "transitions": transitions,
        **more,
    }


def action(name: str, kind: str, run_as: str = "", **details: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"name": name, "actionDetails": {"type": kind, **details}}
    return {**found, "runAsUserId": run_as} if run_as else found


def child(code: str, trigger: str = "", **more: Any) -> dict[str, Any]:
    return {"taskDefinitionId": identity(code), **({"initialTrigger": trigger} if trigger else {}), **more}


def fields(**values: Any) -> list[dict[str, Any]]:
    return [{"name": name, "value": value} for name, value in values.items()]


def values(task: Any) -> dict[str, Any]:
    return {each["name"]: each["value"] for each in task["fields"]}


class Desk:
    """What callers of the API do, in few words."""

    def __init__(self, api: Api) -> None:
        self.api = api

    async def define(self, *machines: Any) -> None:
        for each in machines:
            await self.api.made(DEFINITIONS, each)

    async def redefine(self, each: Any) -> Any:
        body = {name: value for name, value in each.items() if name != "id"}
        return await self.api.ok("PUT", f"{DEFINITIONS}/{here()}/{each['id']['code']}", body)

    async def worker(self, code: str, kind: str, **more: Any) -> Any:
        return await self.api.made(
            WORKERS, {"id": identity(code), "displayName": code, "workerConfiguration": {"type": kind, **more}}
        )

    @staticmethod
    def request(code: str, given: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
        return {"taskDefinitionId": identity(code), "fields": fields(**given), **more}

    async def create(
        self, code: str, trigger: str = "", *, user: str = "", given: dict[str, Any] | None = None, **more: Any
    ) -> Any:
        query: dict[str, Any] = {"trigger": trigger} if trigger else {}
        return await self.api.ok("POST", TASKS, self.request(code, given or {}, more), status=201, user=user, **query)

    async def not_created(self, code: str, trigger: str = "", *, given: dict[str, Any] | None = None, **more: Any) -> Any:
        query: dict[str, Any] = {"trigger": trigger} if trigger else {}
        return await self.api.refused(400, "POST", TASKS, self.request(code, given or {}, more), **query)

    async def get(self, task: Any, at: str = "") -> Any:
        query: dict[str, Any] = {"asAt": at} if at else {}
        return await self.api.ok("GET", f"{TASKS}/{task['id']}", **query)

    async def fire(
        self, task: Any, trigger: str = "", *, user: str = "", given: dict[str, Any] | None = None, **more: Any
    ) -> Any:
        body = {**({"fields": fields(**given)} if given is not None else {}), **more}
        query: dict[str, Any] = {"trigger": trigger} if trigger else {}
        return await self.api.ok("POST", f"{TASKS}/{task['id']}", body or None, user=user, **query)

    async def refuses(
        self, task: Any, trigger: str = "", *, user: str = "", given: dict[str, Any] | None = None, **more: Any
    ) -> Any:
        """The problem; nothing has changed."""
        before = await self.get(task)
        body = {**({"fields": fields(**given)} if given is not None else {}), **more}
        query: dict[str, Any] = {"trigger": trigger} if trigger else {}
        answer = await self.api.call("POST", f"{TASKS}/{task['id']}", body or None, user=user, **query)
        assert answer.status == 400, (answer.status, answer.body)
        assert steady(await self.get(task)) == steady(before)
        return answer.json

    async def listed(self, text: str = "", **query: Any) -> list[Any]:
        """Those of this test."""
        whole = f"taskDefinitionId.scope eq '{here()}'" + (f" and ({text})" if text else "")
        found = await self.api.ok("GET", TASKS, filter=whole, **{"limit": 1000, **query})
        values: list[Any] = found["values"]
        return values

    async def history(self, task: Any, **query: Any) -> list[tuple[int, str, Any, Any]]:
        found = await self.api.ok("GET", f"{TASKS}/{task['id']}/history", **query)
        return [
            (each["asAtVersionNumber"], each["attributeName"], each.get("previousValue"), each["newValue"])
            for each in found["values"]
        ]

    async def log(self, identity: str) -> Any:
        return await self.api.ok("GET", f"/workflow/api/actionlogs/{identity}")

    async def becomes(self, task: Any, state: str) -> Any:
        """The task, as soon as it is in that state."""

        async def look() -> Any:
            found = await self.get(task)
            return found if found["state"] == state else None

        return await until(look)

    async def children(self, task: Any, count: int, state: str = "") -> list[Any]:
        """The children, whole, as soon as there are so many, all in that state if one is given; in the order they were made."""

        async def look() -> Any:
            found = (await self.get(task))["childTasks"]
            fits = len(found) == count and all(each["state"] == state for each in found if state)
            return [found] if fits else None

        [found] = await until(look)
        return [await self.get(each) for each in found]

    async def said(self, identity: str, kind: str, times: int = 1) -> Any:
        """The action's log, as soon as it says that, so many times."""

        async def look() -> Any:
            log = await self.log(identity)
            return log if sum(each["logType"] == kind for each in log["loggedItems"]) >= times else None

        return await until(look)


def before(at: str) -> str:
    """A microsecond earlier."""
    moment = parse_moment(at)
    assert moment is not None
    return print_moment(moment - 1)


def kinds(log: Any) -> list[str]:
    return [each["logType"] for each in log["loggedItems"]]


def steady(task: Any) -> Any:
    """Without what passes by itself."""
    return {name: value for name, value in task.items() if not name.startswith("openDuration")}


async def until(look: Callable[[], Awaitable[Any]]) -> Any:
    """What `look` finds, as soon as it finds something."""
    return await happens(look)
