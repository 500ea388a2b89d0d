"""The task definitions and the handlers of tasks that are measured."""

from __future__ import annotations

from typing import Any

SCOPE = "bench"
MAKE, TOPIC, FLIP, CLOSE = "BenchMake", "BenchTopic", "BenchFlip", "BenchClose"  # types of events
WORKFLOW = "/workflow/api"
BROAD = "the same of all"

FIELDS: tuple[tuple[str, str, Any], ...] = (
    ("path", "String", "/bench/inbox/quotes-2024-06-05.csv"),
    ("rows", "Decimal", 12_345),
    ("desk", "String", "rates"),
    ("due", "DateTime", "2024-06-05T15:12:39Z"),
    ("urgent", "Boolean", True),
    ("owner", "String", "somebody@example.com"),
)


def identity(code: str) -> dict[str, str]:
    return {"scope": SCOPE, "code": code}


def definition(code: str, fields: list[tuple[str, str]], ways: list[tuple[str, str, str]], **more: Any) -> dict[str, Any]:
    """`ways`: from state, trigger, to state; the first state is the initial one."""
    states = dict.fromkeys(state for before, _, after in ways for state in (before, after))
    return {
        "id": identity(code), "displayName": code,
        "states": [{"name": state} for state in states],
        "fieldSchema": [{"name": name, "type": kind} for name, kind in fields],
        "initialState": {"name": next(iter(states))},
        "triggers": [{"name": name, "trigger": {"type": "External"}} for name in dict.fromkeys(way[1] for way in ways)],
        "transitions": [{"fromState": before, "toState": after, "trigger": name} for before, name, after in ways],
        **more,
    }  # fmt: skip


def handler(code: str, event: str, condition: str, target: str, activity: dict[str, Any]) -> dict[str, Any]:
    pattern = {"eventType": event, **({"filter": condition} if condition else {})}
    return {
        "id": identity(code), "displayName": code, "status": "Active", "eventMatchingPattern": pattern,
        "runAsUserId": {"setTo": "bench"}, "taskDefinitionId": identity(target), "taskActivity": activity,
    }  # fmt: skip


# ---- T1


def kept(count: int) -> dict[str, Any]:
    """A task with so many fields that goes to and fro and stays open."""
    fields = [(name, kind) for name, kind, _ in FIELDS[:count]]
    return definition(f"kept{count}", fields, [("New", "go", "Going"), ("Going", "back", "New"), ("Going", "close", "Closed")])


def makes(count: int) -> dict[str, Any]:
    """A task from an event, with each field of it mapped from the body; it is found by the event's `n`."""
    mapped = {name: {"mapFrom": f"body.{name}"} for name, _, _ in FIELDS[:count]}
    activity = {"type": "CreateNewTask", "taskFields": mapped, "correlationIds": [{"mapFrom": "body.n"}]}
    return handler("makes", MAKE, "", f"kept{count}", activity)


def moves(count: int) -> dict[str, Any]:
    """The one task that an event names goes on."""
    wanted = "correlationIds any (~ eq body.n)"
    return handler("moves", FLIP, "", f"kept{count}", {"type": "UpdateMatchingTasks", "filter": wanted, "trigger": "go"})


def body(count: int, number: Any) -> dict[str, Any]:
    return {"n": number, **{name: value for name, _, value in FIELDS[:count]}}


# ---- T2


def topical(number: int) -> dict[str, Any]:
    """One of many handlers for one type of event; what they test is of three kinds, and one handler passes for an event."""
    condition = (
        f"body.filePath startswith '/bench/d{number}/'",
        f"body.code eq 'c{number}'",
        f"body.code eq 'c{number}' and body.n gt 0",
    )[number % 3]
    return handler(f"h{number}", TOPIC, condition, "kept0", {"type": "CreateNewTask"})


def topic(number: int, count: int) -> dict[str, Any]:
    """An event's body for which handler `number` fires."""
    if number % 3 == 0:
        return {"n": count, "filePath": f"/bench/d{number}/in/a.csv", "code": "none"}
    return {"n": count, "filePath": "/elsewhere/in/a.csv", "code": f"c{number}"}


# ---- T3


def flipping() -> dict[str, Any]:
    fields = [("kind", "String"), ("ref", "String"), ("n", "Decimal")]
    return definition("flipping", fields, [("New", "flip", "Turned"), ("Turned", "flip", "New"), ("Turned", "close", "Closed")])


def flips() -> list[dict[str, Any]]:
    """One handler makes such tasks; one turns those that have the event's `ref`."""
    mapped = {"kind": {"setTo": BROAD}, "ref": {"mapFrom": "body.ref"}, "n": {"mapFrom": "body.n"}}
    wanted = f"fields['kind'] eq '{BROAD}' and fields['ref'] eq body.ref"
    return [
        handler("makes", MAKE, "", "flipping", {"type": "CreateNewTask", "taskFields": mapped}),
        handler("flips", FLIP, "", "flipping", {"type": "UpdateMatchingTasks", "filter": wanted, "trigger": "flip"}),
    ]


# ---- T4


def child() -> dict[str, Any]:
    found = definition("child", [], [("New", "close", "Closed")])
    found["transitions"][0]["action"] = "tell"
    return {**found, "actions": [{"name": "tell", "actionDetails": {"type": "TriggerParentTask", "trigger": "childDone"}}]}


def parent(children: int) -> dict[str, Any]:
    """Makes its children when it is begun, and closes when all of them are closed."""
    found = definition(f"parent{children}", [], [("New", "begin", "Waiting"), ("Waiting", "childDone", "Closed")])
    found["transitions"][0]["action"] = "children"
    found["transitions"][1]["guard"] = "childTasks all (state eq 'Closed')"
    one = {"taskDefinitionId": identity("child"), "childTaskFields": {}}
    details = {"type": "CreateChildTasks", "childTaskConfigurations": [one] * children}
    return {**found, "actions": [{"name": "children", "actionDetails": details}]}


def family(children: int) -> list[dict[str, Any]]:
    """One handler makes a parent, found by the event's `group` as its children are; one closes the children of a group."""
    begun = {"type": "CreateNewTask", "initialTrigger": "begin", "correlationIds": [{"mapFrom": "body.group"}]}
    wanted = "correlationIds any (~ eq body.group)"
    return [
        handler("begins", MAKE, "", f"parent{children}", begun),
        handler("closes", CLOSE, "", "child", {"type": "UpdateMatchingTasks", "filter": wanted, "trigger": "close"}),
    ]
