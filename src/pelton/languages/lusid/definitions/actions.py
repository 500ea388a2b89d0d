"""Actions: what follows a transition, in separate commits. Each compiles to a few nodes beside the task's states.

Triggers for other tasks, and children, are sent by `Send` nodes exactly once, since they leave in the commit of the step that
sends them. A worker is a `Work` step: the built-in operation `@lusid.worker` performs it, or names the queue of workers that do.
Internal triggers are tolerant: if they lead nowhere, nothing changes and the log says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from pelton.kernel.expressions.base import ExpressionError, Read
from pelton.kernel.machine.records import COMING, COUNTER
from pelton.kernel.machine.scene import Scene
from pelton.kernel.model.process import (
    Choice,
    Edge,
    Limit,
    Limits,
    NewRun,
    Node,
    OnCondition,
    OnEvent,
    Rule,
    RunSignal,
    Send,
    Wait,
    Work,
)
from pelton.kernel.model.signals import Trigger
from pelton.kernel.model.state import StartMeta, Step
from pelton.languages.lusid.definitions.guards import parse_guard, task_view, view_of
from pelton.languages.lusid.definitions.record import PARENT, PREVIOUS
from pelton.languages.lusid.filters import CompiledFilter, parse_filter
from pelton.languages.lusid.member_names import CURRENT_USER
from pelton.languages.lusid.times import pinned

OPERATION = "lusid.worker"
QUEUE = "@" + OPERATION
FAILED_TO_START = "failed to start"  # name of the failure of a worker that could not begin
MOST_CHILDREN = 10_000
DEFAULT_TIMEOUT = 24 * 3600  # seconds
KEEP = (Rule("continue"),)  # a failing action is reported in its log, and leaves its task as it is


class ActionPath(NamedTuple):
    entry: str
    nodes: tuple[Node, ...]


class Computed:
    """An expression that is a function of the scene."""

    __slots__ = ("_function",)
    reads: frozenset[Read] = frozenset()

    def __init__(self, function: Callable[[Scene], Any]) -> None:
        self._function = function

    def evaluate(self, scene: Scene) -> Any:
        return self._function(scene)


class NoneComing:
    """Whether every child that was asked for has started, or was refused."""

    __slots__ = ()
    reads: frozenset[Read] = frozenset([Read("var", COUNTER + COMING)])

    def evaluate(self, scene: Scene) -> bool:
        return not scene.counts().get(COMING)


class Author(NamedTuple):
    """An action. `begins`: the nodes at which it begins."""

    name: str
    run_as: str
    begins: tuple[str, ...]

    def origin(self, scene: Scene) -> Origin:
        """On whose behalf it acts, as the step that began it last has it."""
        steps = [step for slot in self.begins if (step := scene.newest(slot)) is not None]
        start = max(steps, key=lambda step: step.n)
        known = start.output or {}
        return Origin(
            known.get("runAs", self.run_as),
            known.get("request", ""),
            scene.codec.step_id(scene.run.key, start.n),
            start.n,
        )


class Origin(NamedTuple):
    """`log`: the action's log, which is named after the step `n`."""

    user: str
    request: str
    log: str
    n: int


def begin_of(action: str, after: str = "") -> str:
    """The node at which an action begins: after a transition, or in place of the action `after`."""
    return f"act:{action}:{after}" if after else f"act:{action}"


def action_of(slot: str) -> str:
    """The action that a step belongs to, by its slot."""
    return slot.split(":")[1]


def author_of(action: Mapping[str, Any], replaced: Sequence[str] = ()) -> Author:
    """`replaced`: the actions from which it takes over."""
    name = action["name"]
    return Author(name, action.get("runAsUserId") or "", (begin_of(name), *(begin_of(name, other) for other in replaced)))


def compile_action(action: Mapping[str, Any], author: Author) -> ActionPath:
    """`action`: checked. Raises Invalid for a filter that does not parse."""
    details = action["actionDetails"]
    kind = details["type"]
    if kind == "RunWorker":
        return _worker(author, details)
    if kind == "CreateChildTasks":
        what = _children(author, details)
    elif kind == "TriggerParentTask":
        what = _parent(author, details["trigger"])
    elif kind == "TriggerChildTasks":
        what = _to_children(author, details)
    else:
        return _next(author, details)
    name = f"send:{author.name}"
    return ActionPath(name, (Send(name=name, what=Computed(what), on_failure=KEEP, skippable=False),))


# ---- triggers


def _trigger(author: Author, scene: Scene, name: str, reply: str = "", origin: Origin | None = None) -> Trigger:
    user, request, log, n = origin or author.origin(scene)
    return Trigger(
        name=name,
        changes={"logModified": log},
        actor=user,
        request=request,
        origin=(scene.run.key, n),
        reply=reply,
        strict=False,
    )


def _parent(author: Author, trigger: str) -> Callable[[Scene], list[Any]]:
    def what(scene: Scene) -> list[Any]:
        parent = scene.record.get("parent")
        return [RunSignal(parent, _trigger(author, scene, trigger))] if parent else []

    return what


def _to_children(author: Author, details: Mapping[str, Any]) -> Callable[[Scene], list[Any]]:
    condition = _condition(details.get("filter"))

    def what(scene: Scene) -> list[Any]:
        signal = _trigger(author, scene, details["trigger"])
        children = scene.found(PARENT, str(scene.run.key))
        return [
            RunSignal(each.run, signal) for each in children if condition is None or condition.passes(view_of(each, scene.codec))
        ]

    return what


def _next(author: Author, details: Mapping[str, Any]) -> ActionPath:
    """Triggers the successor with what its predecessor keeps for it, else with the default. At the end of the row, or when the
    trigger leads nowhere, another action may take over."""
    default = details.get("defaultTrigger")
    fallback = details.get("fallbackActions") or {}
    at_end, on_error = fallback.get("endOfSequence"), fallback.get("nextTaskError")
    name = author.name
    send, reply = f"send:{name}", f"next:{name}"

    def what(scene: Scene) -> list[Any]:
        trigger = scene.record.get("nextTrigger") or default
        following = scene.found(PREVIOUS, str(scene.run.key))
        if not trigger or not following:
            return []
        return [RunSignal(following[0].run, _trigger(author, scene, trigger, reply if on_error else ""))]

    def branch(scene: Scene) -> str:
        return "next" if scene.found(PREVIOUS, str(scene.run.key)) else "end"

    if not at_end and not on_error:
        return ActionPath(send, (Send(name=send, what=Computed(what), on_failure=KEEP, skippable=False),))
    look, none, wait, choose = f"look:{name}", f"none:{name}", f"wait:{name}", f"heard:{name}"
    ends = (Edge(begin_of(at_end, name)),) if at_end else ()
    nodes: list[Node] = [
        Choice(name=look, trace=False, select=Computed(branch), cases={"next": send}, default=none),
        Send(name=none, what=Computed(lambda scene: []), next=ends, skippable=False),
        Send(name=send, what=Computed(what), on_failure=KEEP, next=(Edge(wait),) if on_error else (), skippable=False),
    ]
    if on_error:

        def reply_of(scene: Scene) -> str:
            step = scene.just_ended(wait) or scene.newest(wait)
            applied = step is not None and isinstance(step.output, dict) and step.output.get("applied")
            return "applied" if applied else "refused"

        nodes += [
            Wait(name=wait, arms=(OnEvent(event=reply),), next=(Edge(choose),), skippable=False),
            Choice(name=choose, trace=False, select=Computed(reply_of), cases={"refused": begin_of(on_error, name)}, default=""),
        ]
    return ActionPath(look, tuple(nodes))


def fallbacks_of(action: Mapping[str, Any]) -> list[str]:
    """The actions that may take over from an action."""
    found = (action["actionDetails"].get("fallbackActions") or {}).values()
    return [name for name in found if name]


def _condition(text: str | None) -> CompiledFilter | None:
    return parse_filter(text) if text else None


# ---- children


def _children(author: Author, details: Mapping[str, Any]) -> Callable[[Scene], list[Any]]:
    configurations = details["childTaskConfigurations"]
    conditions = [parse_guard(text) if (text := each.get("condition")) else None for each in configurations]
    series = details.get("ordering") == "Series"

    def what(scene: Scene) -> list[Any]:
        parent, origin = scene.record, author.origin(scene)
        names = {CURRENT_USER: origin.user}
        wanted: list[Asked] = []
        for configuration, condition in zip(configurations, conditions, strict=True):
            if condition is None or condition.passes(task_view(scene, condition, origin.user), names):
                fields = mapped(configuration.get("childTaskFields") or {}, parent["fields"].get)
                key = configuration.get("mapStackingKeyFrom")
                stack = parent["fields"].get(key) if key else None
                wanted.append(Asked(configuration, fields, None if stack is None else str(stack)))
        return begin_children(origin, scene, wanted, series)

    return what


class Asked(NamedTuple):
    """A child to be made."""

    configuration: Mapping[str, Any]
    fields: dict[str, Any]
    stack: str | None


def mapped(mappings: Mapping[str, Any], source: Callable[[str], Any]) -> dict[str, Any]:
    """Values for fields: what is mapped from the source, else what is set. Fields without a value are left out."""
    found: dict[str, Any] = {}
    for name, mapping in mappings.items():
        origin = mapping.get("mapFrom")
        value = source(origin) if origin else mapping.get("setTo")
        if value is not None:
            found[name] = value
    return found


def begin_children(origin: Origin, scene: Scene, wanted: Sequence[Asked], series: bool) -> list[Any]:
    """Children in order. In a series only the first is triggered; each knows the one before it, which triggers it in its turn."""
    if len(wanted) > MOST_CHILDREN:
        raise ExpressionError(f"{len(wanted)} child tasks are asked for; at most {MOST_CHILDREN} can be made at once")
    user, request, log, n = origin
    correlations = scene.record["correlationIds"]
    found: list[Any] = []
    for index, each in enumerate(wanted):
        configuration = each.configuration
        asked: dict[str, Any] = {"fields": each.fields, "correlationIds": correlations, "logCreated": log}
        if each.stack is not None:
            asked["stackingKey"] = each.stack
        first = configuration.get("initialTrigger")
        following = wanted[index + 1].configuration.get("initialTrigger") if series and index + 1 < len(wanted) else None
        if following:
            asked["nextTrigger"] = following
        trigger = None
        if first and not (series and index):
            trigger = Trigger(name=first, actor=user, request=request)
        target = configuration["taskDefinitionId"]
        found.append(
            NewRun(
                {
                    "name": f"{target['scope']}/{target['code']}",
                    "at": pinned(configuration.get("taskDefinitionAsAt") or "", scene.moment.stamp),
                },
                asked,
                StartMeta(actor=user or None, extra={"request": request} if request else {}),
                trigger,
                after="previous" if series and index else "",
                origin=n,
            )
        )
    return found


# ---- workers


def _worker(author: Author, details: Mapping[str, Any]) -> ActionPath:
    name = author.name
    triggers = details.get("workerStatusTriggers") or {}
    work, elsewhere, choose = f"work:{name}", f"worker:{name}", f"choose:{name}"
    results, failed, start = f"results:{name}", f"failed:{name}", f"started:{name}"
    there, reported = f"there:{name}", f"told:{name}"
    timeout = int(details.get("workerTimeout") or DEFAULT_TIMEOUT) * 1000
    limits = Limits(total=Limit(timeout, "fail", message="the worker did not end within {limit} seconds"))
    caught = (Rule("edge", to=failed),)

    def asked(scene: Scene) -> Any:
        parameters = mapped(details.get("workerParameters") or {}, scene.record["fields"].get)
        return {
            "worker": details["workerId"],
            "asAt": details.get("workerAsAt"),
            "parameters": parameters,
            "origin": author.origin(scene)._asdict(),
        }

    branch, queue, passed_on = handing_on(work)
    nodes: list[Node] = [
        Work(
            name=work, queue=QUEUE, input=Computed(asked), limits=limits, on_failure=caught, next=(Edge(choose),), skippable=False
        ),
        Choice(
            name=choose,
            trace=False,
            select=branch,
            cases={"elsewhere": elsewhere},
            default=results,
        ),
        Work(
            name=elsewhere,
            queue=queue,
            input=passed_on,
            limits=limits,
            on_failure=caught,
            next=(Edge(results),),
            skippable=False,
        ),
        Send(
            name=results,
            what=Computed(_made(author, details, work, elsewhere)),
            on_failure=caught,
            next=(Edge(there),),
            skippable=False,
        ),
        Wait(
            name=there,
            input=Computed(lambda scene: _outcome(_done(scene, work, elsewhere))),
            arms=(OnCondition(when=NoneComing()),),
            next=(Edge(reported),),
            skippable=False,
        ),
        Send(name=reported, what=Computed(_ended(author, triggers, there)), skippable=False),
        Send(name=failed, what=Computed(_broken(author, triggers, work, elsewhere)), skippable=False),
    ]
    if not triggers.get("started"):
        return ActionPath(work, tuple(nodes))

    def started(scene: Scene) -> list[Any]:
        return [RunSignal(scene.run.key, _trigger(author, scene, triggers["started"]))]

    nodes.append(Send(name=start, what=Computed(started), next=(Edge(work),), skippable=False))
    return ActionPath(start, tuple(nodes))


def _done(scene: Scene, *slots: str) -> Step:
    """The worker's step after which this comes: it ended in this turn, or the token waited for the next one here."""
    found = scene.just_ended(*slots)
    if found is None:
        ended = [step for slot in slots if isinstance(step := scene.newest(slot), Step)]
        found = max(ended, key=lambda step: step.n)
    return found


def handing_on(work: str) -> tuple[Computed, Computed, Computed]:
    """What follows the operation at `work`: "elsewhere" when it has said in whose queue the work is to be put, else "here"; that
    queue; and what is put there."""

    def branch(scene: Scene) -> str:
        output = _done(scene, work).output
        return "elsewhere" if isinstance(output, dict) and "queue" in output and "input" in output else "here"

    return (
        Computed(branch),
        Computed(lambda scene: _done(scene, work).output["queue"]),
        Computed(lambda scene: _done(scene, work).output["input"]),
    )


def rows_of(output: Any) -> list[dict[str, Any]]:
    """The rows that a worker reported: `results`, else the whole output as one row."""
    rows = output.get("results", [output] if output else []) if isinstance(output, dict) else output or []
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def _made(author: Author, details: Mapping[str, Any], work: str, elsewhere: str) -> Callable[[Scene], list[Any]]:
    configurations = details.get("childTaskConfigurations") or []
    patterns = [_condition((each.get("resultMatchingPattern") or {}).get("filter")) for each in configurations]
    ordering = details.get("ordering")

    def what(scene: Scene) -> list[Any]:
        done = _done(scene, work, elsewhere)
        rows, origin = rows_of(done.output), Origin(**done.input["origin"])
        fields = scene.record["fields"]
        found: list[Any] = []
        together: list[Asked] = []
        for configuration, pattern in zip(configurations, patterns, strict=True):
            wanted: list[Asked] = []
            for row in rows:
                if pattern is not None and not pattern.passes(row):
                    continue
                source = _column(row, fields)
                key = configuration.get("mapStackingKeyFrom")
                stack = source(key) if key else None
                values = mapped(configuration["childTaskFields"], source)
                wanted.append(Asked(configuration, values, None if stack is None else str(stack)))
            if ordering == "ParallelSeries":
                found += begin_children(origin, scene, wanted, series=True)
            else:
                together += wanted
        return found + begin_children(origin, scene, together, ordering == "Series")

    return what


def _column(row: Mapping[str, Any], fields: Mapping[str, Any]) -> Callable[[str], Any]:
    def source(name: str) -> Any:
        value = row.get(name)
        if value is None:
            folded = name.casefold()
            value = next((each for key, each in row.items() if key.casefold() == folded), None)
        return fields.get(name) if value is None else value

    return source


def _outcome(done: Step) -> dict[str, Any]:
    return {"rows": len(rows_of(done.output)), "origin": done.input["origin"]}


def _ended(author: Author, triggers: Mapping[str, Any], there: str) -> Callable[[Scene], list[Any]]:
    def what(scene: Scene) -> list[Any]:
        outcome = _done(scene, there).input
        name = triggers.get("completedWithResults" if outcome["rows"] else "completedNoResults")
        return [RunSignal(scene.run.key, _trigger(author, scene, name, origin=Origin(**outcome["origin"])))] if name else []

    return what


def _broken(author: Author, triggers: Mapping[str, Any], work: str, elsewhere: str) -> Callable[[Scene], list[Any]]:
    def what(scene: Scene) -> list[Any]:
        done = _done(scene, work, elsewhere)
        name = triggers.get("failedToStart" if done.failure == FAILED_TO_START else "failedToComplete")
        return [RunSignal(scene.run.key, _trigger(author, scene, name, origin=Origin(**done.input["origin"])))] if name else []

    return what
