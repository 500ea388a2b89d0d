"""Semantic checks of an event handler, by itself (`check_handler`) and against its task definition (`check_against`)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from msgspec import UNSET

from pelton.kernel.expressions.base import Invalid
from pelton.languages.lusid import decode
from pelton.languages.lusid.checks import FILTER_LENGTH, Checks
from pelton.languages.lusid.definitions.field_types import fitted
from pelton.languages.lusid.definitions.guards import TASK
from pelton.languages.lusid.filters import ANYTHING, MemberPath, Members, Named, Value, follow, values
from pelton.languages.lusid.forms import (
    CreateNewTask,
    EventHandlerMapping,
    FieldMapping,
    FieldType,
    UpdateEventHandler,
    UpdateMatchingTasks,
)
from pelton.languages.lusid.member_names import EVENT_MEMBERS, HEADER_MEMBERS, LINKED_MEMBERS, RECORD_MEMBERS
from pelton.languages.lusid.member_paths import split_path
from pelton.languages.lusid.schedules import schedule
from pelton.languages.lusid.schedules.conversion import ScheduleError
from pelton.languages.lusid.times import has_clock, parse_moment, print_moment
from pelton.runtime.caller import Users
from pelton.transport.validation import describe

OWN_EVENT_TYPES = frozenset(
    {"TaskCreated", "TaskUpdated", "TaskDeleted", "TaskDefinitionCreated", "TaskDefinitionUpdated", "TaskDefinitionDeleted"}
)
_OWN_FOLDED = {each.casefold(): each for each in OWN_EVENT_TYPES}
EVENT = Members({"header": Members({**values(*HEADER_MEMBERS), "attributes": Named()}), "body": ANYTHING})
_LINKED_FOLDED = frozenset(each.casefold() for each in LINKED_MEMBERS)
USER_PATH = "header.userId"


def check_handler(given: UpdateEventHandler, users: Users) -> None:
    """Raises LusidError with every problem that the handler has whatever it is for."""
    problems = Checks()
    scheduled = given.schedule_matching_pattern is not UNSET
    event = given.event_matching_pattern
    if scheduled == (event is not UNSET):
        which = "not both" if scheduled else "neither is there"
        problems.add("eventMatchingPattern", f"or scheduleMatchingPattern must be given, exactly one of the two: {which}")
    if event is not UNSET:
        own = _OWN_FOLDED.get(event.event_type.casefold())
        if own is not None:
            message = f"is {own}, an event of this service itself, which cannot be a trigger; choose another event type"
            problems.add("eventMatchingPattern.eventType", message, event.event_type, "UnsupportedEventType")
        problems.condition(event.filter, "eventMatchingPattern.filter", FILTER_LENGTH, roots=EVENT_MEMBERS, shape=EVENT)
    if scheduled:
        try:
            schedule.parse_pattern(given.schedule_matching_pattern)
        except ScheduleError as error:
            _schedule_problem(problems, error)
    _run_as(problems, given.run_as_user_id, scheduled, users)
    problems.moment(given.task_definition_as_at, "taskDefinitionAsAt")
    _activity(problems, given.task_activity, scheduled)
    problems.raise_any()


def _schedule_problem(problems: Checks, error: ScheduleError) -> None:
    said = f"is {describe(error.value)}; {error.remedy}" if error.value is not None else f"is required; {error.remedy}"
    problems.add(error.path, said, UNSET if error.value is None else error.value)


def _run_as(problems: Checks, given: EventHandlerMapping, scheduled: bool, users: Users) -> None:
    if not _exactly_one(problems, given, "runAsUserId"):
        return
    if given.map_from:
        if scheduled:
            problems.add("runAsUserId.mapFrom", "needs an event; with a schedule give setTo")
        elif str(given.map_from).casefold() != USER_PATH.casefold():
            problems.add("runAsUserId.mapFrom", f"must be {USER_PATH}, not {describe(given.map_from)}", given.map_from)
    elif not users.knows(str(given.set_to)):
        message = f"is {describe(given.set_to)}, which is no user of this server; name one with a token, or a service user"
        problems.add("runAsUserId.setTo", message, given.set_to)


def check_named(given: UpdateEventHandler, users: Users) -> None:
    """A handler cannot act as the user of events that this server raises without one. Raises LusidError."""
    event = given.event_matching_pattern
    if given.run_as_user_id.map_from and event is not UNSET and event.event_type in users.nameless:
        problems = Checks()
        message = (
            f"is {USER_PATH}, and the events {event.event_type} of the files that this server watches have no user; "
            "start it with --watch-user USER, or name a user with setTo"
        )
        problems.add("runAsUserId.mapFrom", message, given.run_as_user_id.map_from)
        problems.raise_any()


def _exactly_one(problems: Checks, given: EventHandlerMapping, path: str) -> bool:
    if bool(given.map_from) == bool(given.set_to):
        both = "both are there" if given.map_from else "neither is there"
        problems.add(path, f"must have exactly one of mapFrom and setTo: {both}")
        return False
    return True


def _activity(problems: Checks, given: CreateNewTask | UpdateMatchingTasks, scheduled: bool) -> None:
    if isinstance(given, UpdateMatchingTasks):
        right = frozenset() if scheduled else EVENT_MEMBERS
        condition = problems.condition(
            given.filter, "taskActivity.filter", FILTER_LENGTH, roots=RECORD_MEMBERS, right_roots=right
        )
        for path in condition.paths if condition is not None else ():
            if path[0] in _LINKED_FOLDED and path[1:] != ("id",):
                message = f"asks for {'.'.join(path)!r}; of another task only its id can be asked for here"
                problems.add("taskActivity.filter", message, None, "InvalidFilter")
                condition = None
                break
        if condition is not None:
            problems.leads("taskActivity.filter", condition, TASK, EVENT)
    for index, each in enumerate(given.correlation_ids or ()):
        at = f"taskActivity.correlationIds[{index}]"
        if _exactly_one(problems, each, at):
            _source(problems, each.map_from, f"{at}.mapFrom")
    for name, mapping in (given.task_fields or {}).items():
        at = f"taskActivity.taskFields[{name[:100]}]"
        problems.mapping(mapping, at)
        _source(problems, mapping.map_from, f"{at}.mapFrom")
    if given.schedule_dependent_task_fields:
        if not scheduled:
            problems.add("taskActivity.scheduleDependentTaskFields", "goes with scheduleMatchingPattern only")
        try:
            schedule.parse_dependent(given.schedule_dependent_task_fields, "taskActivity.scheduleDependentTaskFields")
        except ScheduleError as error:
            _schedule_problem(problems, error)


def _source(problems: Checks, path: Any, at: str) -> None:
    """A path into the event."""
    if not path:
        return
    try:
        steps = split_path(path)
    except Invalid as error:
        problems.add(at, error.message, path)
        return
    root = steps[0].casefold()
    if root not in EVENT_MEMBERS or len(steps) < 2:
        problems.add(at, f"must be a path such as header.userId or body.filePath, not {describe(path)}", path)
        return
    try:
        found = follow(MemberPath(tuple(steps), 0), EVENT)
    except Invalid:
        found = None
    if root == "header" and not isinstance(found, Value):
        there = ", ".join(HEADER_MEMBERS)
        problems.add(at, f"is {describe(path)}; headers have: {there}, and attributes.NAME for extension attributes", path)


# ---- against a task definition and an event type


def check_against(given: UpdateEventHandler, definition: Mapping[str, Any], body: Collection[tuple[str, str]]) -> None:
    """`definition`: the task definition's value in the version that the handler uses. `body`: name and type of what bodies of
    the event type have, where a schema is registered; else empty. Raises LusidError."""
    problems = Checks()
    activity = given.task_activity
    fields = {each["name"]: each for each in definition.get("fieldSchema") or ()}
    triggers = [each["name"] for each in definition.get("triggers") or ()]
    if isinstance(activity, CreateNewTask):
        if activity.initial_trigger:
            problems.declared(activity.initial_trigger, triggers, "taskActivity.initialTrigger", "trigger", "UnknownTrigger")
    else:
        problems.declared(activity.trigger, triggers, "taskActivity.trigger", "trigger", "UnknownTrigger")
    for name, mapping in (activity.task_fields or {}).items():
        at = f"taskActivity.taskFields[{name[:100]}]"
        problems.declared(name, fields, at, "field", "FieldNotInSchema")
        if name in fields and not mapping.map_from:
            _constant(problems, mapping, fields[name], f"{at}.setTo")
    for name in activity.schedule_dependent_task_fields or {}:
        at = f"taskActivity.scheduleDependentTaskFields[{name[:100]}]"
        problems.declared(name, fields, at, "field", "FieldNotInSchema")
        if name in fields and fields[name]["type"] != "DateTime":
            problems.add(at, f"must be a field of type DateTime, not {fields[name]['type']}", None, "FieldTypeMismatch")
    if body:
        _sources_known(problems, activity, fields, {name.casefold(): kind for name, kind in body})
    problems.raise_any()


def _constant(problems: Checks, mapping: FieldMapping, field: Mapping[str, Any], path: str) -> None:
    try:
        kept = fitted(field["type"], mapping.set_to)
    except ValueError as error:
        message = f"must be {error}, as the field is of type {field['type']}, not {describe(mapping.set_to)}"
        problems.add(path, message, mapping.set_to, "FieldTypeMismatch")
        return
    limits = field.get("valueConstraints")
    if limits and limits["constraintType"] == "Validated":
        acceptable = [fitted(field["type"], each) for each in limits["acceptableValues"]]
        if kept not in acceptable:
            some = ", ".join(describe(each) for each in acceptable[:20])
            problems.add(path, f"must be one of {some}, not {describe(kept)}", kept, "FieldValueNotAcceptable")


# What a member of an event may become: by its type as schemas write it, the types of fields.
_FITS: dict[str, tuple[FieldType, ...]] = {
    "string": ("String", "LusidUserId", "DateTime"),
    "number": ("Decimal",),
    "decimal": ("Decimal",),
    "int": ("Decimal",),
    "integer": ("Decimal",),
    "boolean": ("Boolean",),
    "bool": ("Boolean",),
    "datetime": ("DateTime", "String"),
}
_COLLECTION = "collectionofidentifiers"


def _sources_known(
    problems: Checks, activity: CreateNewTask | UpdateMatchingTasks, fields: Mapping[str, Any], body: Mapping[str, str]
) -> None:
    for index, each in enumerate(activity.correlation_ids or ()):
        _registered(problems, each.map_from, body, f"taskActivity.correlationIds[{index}].mapFrom")
    for name, mapping in (activity.task_fields or {}).items():
        at = f"taskActivity.taskFields[{name[:100]}].mapFrom"
        kind = _registered(problems, mapping.map_from, body, at)
        fits = _FITS.get(kind)
        if fits is not None and name in fields and fields[name]["type"] not in fits:
            message = f"is of type {kind}, which does not fit field {describe(name)} of type {fields[name]['type']}"
            problems.add(at, message, mapping.map_from, "FieldTypeMismatch")


def _registered(problems: Checks, path: Any, body: Mapping[str, str], at: str) -> str:
    """The type of what a path leads to, in small letters; "" when that is not known."""
    steps = split_path(path) if path else ["header"]
    if steps[0].casefold() != "body":
        return ""
    kind = body.get(steps[1].casefold())
    if kind is None:
        problems.add(at, f"is {describe(path)}; bodies of this event type have: {', '.join(list(body)[:20])}", path)
        return ""
    folded = kind.casefold()
    if folded == _COLLECTION:
        return "string" if len(steps) > 2 else ""
    return folded if len(steps) == 2 else ""


def value_of(given: UpdateEventHandler) -> dict[str, Any]:
    """What is kept of a handler that has been checked."""
    value = decode.plain(given)
    if given.schedule_matching_pattern is not UNSET:
        value["scheduleMatchingPattern"] = schedule.parse_pattern(given.schedule_matching_pattern).wire()
    text = value.get("taskDefinitionAsAt")
    if text and not has_clock(text):
        value["taskDefinitionAsAt"] = print_moment(parse_moment(text) or 0)
    return value
