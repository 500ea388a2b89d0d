"""Compiles a task definition to a process graph.

A state is a wait whose arms are the triggers that lead out of it, in the order of the transitions, each with its guard. A taken
arm leads to a silent node that enters the next state and, if the transition has an action, to the action's separate path.
The token ends in a state without outgoing transitions; the run is over when no action is in progress any more.

Names of nodes: a state's wait has the state's name (which contains no `:`); `enter:STATE`, `take:N` for transition N;
`act:ACTION` is the start of an action, and its parts have further names with `:`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from pelton.kernel.expressions.base import Invalid, Read
from pelton.kernel.machine.scene import Scene
from pelton.kernel.model.process import Arm, Assign, Edge, Fork, Node, OnTrigger, Process, Wait
from pelton.languages.lusid.definitions import actions
from pelton.languages.lusid.definitions.guards import Guard, parse_guard
from pelton.languages.lusid.definitions.record import TaskRules, read_definition, records
from pelton.languages.lusid.filters import CompiledFilter
from pelton.languages.lusid.names import LANGUAGE

NO_READS: frozenset[Read] = frozenset()


class TaskAnnotations(NamedTuple):
    """What the view needs of a version: the rules' definition, the declared triggers, and for each transition its texts."""

    definition: TaskRules
    triggers: frozenset[str]
    transitions: tuple[Mapping[str, Any], ...]
    actions: Mapping[str, Mapping[str, Any]]
    properties: Mapping[str, Mapping[str, Any]]


class Enter:
    """The record on entering a state."""

    __slots__ = ("_state",)
    reads = NO_READS

    def __init__(self, state: str) -> None:
        self._state = state

    def evaluate(self, scene: Scene) -> Any:
        moment = scene.moment
        return {
            **scene.record,
            "state": self._state,
            "moved": moment.stamp,
            "by": moment.actor,
            "request": moment.request,
        }


class Submitted:
    """The record when an action begins: its log is named after the step that begins it."""

    __slots__ = ()
    reads = NO_READS

    def evaluate(self, scene: Scene) -> Any:
        assert scene.step is not None
        return {**scene.record, "logSubmitted": scene.codec.step_id(scene.run.key, scene.step.n)}


class ActionStarted:
    """What the first step of an action leaves behind: which action, on whose behalf, and by which request; those of the action
    that it takes over from, if it does."""

    __slots__ = ("_action", "_instead", "_run_as", "_type")
    reads = NO_READS

    def __init__(self, action: Mapping[str, Any], instead: actions.Author | None = None) -> None:
        self._instead = instead
        self._action = action["name"]
        self._type = action["actionDetails"]["type"]
        self._run_as = action.get("runAsUserId") or ""

    def evaluate(self, scene: Scene) -> Any:
        if self._instead is not None:
            user, request, _, _ = self._instead.origin(scene)
        else:
            user, request = scene.moment.actor, scene.moment.request
        return {"action": self._action, "type": self._type, "runAs": self._run_as or user, "request": request}


def compile_definition(name: str, version: int, body: bytes, row: int) -> Process:
    """`body`: as `bind` made it. Raises Invalid."""
    bound = msgspec.json.decode(body)
    value = bound["value"]
    definition = read_definition(name, value, bound["asAt"], row)
    transitions = tuple(value.get("transitions") or ())
    named = {action["name"]: action for action in value.get("actions") or ()}
    nodes: dict[str, Node] = {}
    arms: dict[str, list[Arm]] = {}
    used: set[str] = set()  # by transitions
    for number, transition in enumerate(transitions):
        guard = _guard(number, transition)
        enter = f"enter:{transition['toState']}"
        action = transition.get("action")
        to = enter
        if action:
            used.add(action)
            to = f"take:{number}"
            # The action's first step comes before the state, so that the one new value of the record names it.
            nodes[to] = Fork(name=to, trace=False, branches=(f"act:{action}", enter))
        arms.setdefault(transition["fromState"], []).append(OnTrigger(trigger=transition["trigger"], guard=guard, to=to))
    for state in definition.states:
        onward = (Edge(state),) if state in arms else ()
        nodes[f"enter:{state}"] = Assign(name=f"enter:{state}", trace=False, record=Enter(state), next=onward)
        if state in arms:
            nodes[state] = Wait(name=state, arms=tuple(arms[state]), skippable=False)
    _add_actions(nodes, used, named)
    initial = definition.initial
    triggers = frozenset(each["name"] for each in value.get("triggers") or ())
    annotations = TaskAnnotations(definition, triggers, transitions, named, value.get("properties") or {})
    return Process(
        name=name,
        version=version,
        entry=initial if initial in nodes else f"enter:{initial}",
        nodes=nodes,
        language=LANGUAGE,
        definition=row,
        records=records(definition),
        output=FinalOutput(),
        most_transitions=0,
        annotations=annotations,
    ).finish()


def _add_actions(nodes: dict[str, Node], used: set[str], named: Mapping[str, Mapping[str, Any]]) -> None:
    """The paths of the actions that transitions name, and of those that take over from them."""
    replaced: dict[str, list[str]] = {name: [] for name in sorted(used)}  # action → those from which it takes over
    todo = list(replaced)
    while todo:
        name = todo.pop()
        if name not in named:
            raise Invalid(f"the action {name!r} is not declared")
        for other in actions.fallbacks_of(named[name]):
            if other not in replaced:
                replaced[other] = []
                todo.append(other)
            if name not in replaced[other]:
                replaced[other].append(name)
    authors = {name: actions.author_of(named[name], others) for name, others in replaced.items()}
    for name, others in replaced.items():
        path = actions.compile_action(named[name], authors[name])
        nodes.update((node.name, node) for node in path.nodes)
        onward = (Edge(path.entry),)
        start = actions.begin_of(name)
        nodes[start] = Assign(name=start, record=Submitted(), output=ActionStarted(named[name]), next=onward, skippable=False)
        for other in others:
            start = actions.begin_of(name, other)
            nodes[start] = Assign(name=start, output=ActionStarted(named[name], authors[other]), next=onward, skippable=False)


class FinalOutput:
    """A finished run's output: the task's state and fields."""

    __slots__ = ()
    reads = NO_READS

    def evaluate(self, scene: Scene) -> Any:
        document = scene.record
        return {"state": document["state"], "fields": document["fields"]} if document is not None else None


def _guard(number: int, transition: Mapping[str, Any]) -> Guard | None:
    text = transition.get("guard")
    if not text:
        return None
    try:
        condition: CompiledFilter = parse_guard(text)
    except Invalid as error:
        raise Invalid(f"transitions[{number}].guard: {error.message}", error.position) from None
    return Guard(text, condition, transition.get("guardConditionNotMetMessage") or "")
