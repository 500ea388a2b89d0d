"""What an event handler does: creates a task, or updates matching ones. Pure: an activity plans commands for the runtime.

The event's data is mapped to fields here; the task's rules validate the values in the transition, against
the version of the definition that is used. A mapping whose path is missing in the event leaves its field unset.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from msgspec import json

from pelton.kernel.expressions.base import JSON, Invalid
from pelton.kernel.expressions.cache import remembered
from pelton.kernel.matching.filters import Trace, folded_reader
from pelton.kernel.model.reads import Codec
from pelton.kernel.model.signals import Trigger
from pelton.kernel.model.state import Record, StartMeta
from pelton.languages.lusid.definitions.guards import view_of
from pelton.languages.lusid.definitions.record import CORRELATIONS, FIELDS, STACK
from pelton.languages.lusid.filters import CompiledFilter, parse_filter
from pelton.languages.lusid.member_paths import EVENT_ROOTS, split_path
from pelton.languages.lusid.schedules.calendars import parse_calendar
from pelton.languages.lusid.schedules.schedule import DEPENDENT, dependent_fields, parse_dependent, parse_pattern
from pelton.languages.lusid.times import parse_moment
from pelton.runtime.api import ActionContext, Command, MatchCommand, PlanProblem, StartCommand
from pelton.runtime.caller import Users
from pelton.transport.validation import describe

OWN = "pelton"  # source of the events that this server raises itself

NOBODY = (
    "the event has no user, and runAsUserId takes it from there (header.userId): "
    "post the event with a user's token, or name a user with runAsUserId.setTo"
)

Read = Callable[[JSON], JSON]


def reader(path: str) -> Read:
    """What a `header.` or `body.` path leads to, letter case disregarded; None where it leads nowhere. Raises Invalid."""
    steps = split_path(path)
    if not steps or steps[0].casefold() not in EVENT_ROOTS or len(steps) < 2:
        raise Invalid(f"{path!r} must begin with header. or body.")
    return folded_reader(tuple(steps))


def mapping(given: Mapping[str, Any]) -> Read:
    """A value out of the event, or always the same. Raises Invalid."""
    path = given.get("mapFrom")
    if path:
        return reader(path)
    value = given.get("setTo")
    return lambda event: value


class Activity:
    """The one action of a handler. There may be a hundred thousand, few of them at work: one holds its source."""

    __slots__ = ("_source", "_users", "name", "records")

    def __init__(self, handler: Mapping[str, Any], definition: int, users: Users) -> None:
        """`handler`: as its author sent it, checked. `definition`: the row that is pinned, 0 = the latest. `users`: whom it may
        act as. Raises Invalid."""
        self._users = users
        self.name: str = handler["taskActivity"]["type"]
        identity = handler["taskDefinitionId"]
        self.records = sys.intern(f"{identity['scope']}/{identity['code']}")
        members = {name: handler[name] for name in _MEMBERS if handler.get(name) is not None}
        self._source = json.encode([members, definition]).decode()
        _work_of(self._source)

    def plan(self, context: ActionContext) -> Sequence[Command]:
        return _work_of(self._source).plan(context, self._users)


_MEMBERS = ("taskActivity", "taskDefinitionId", "runAsUserId", "scheduleMatchingPattern")


class _Work:
    """What an activity is compiled to."""

    __slots__ = (
        "_correlations", "_definition", "_fields", "_filter", "_kind", "_pattern", "_process", "_run_as", "_shifts", "_trigger",
    )  # fmt: skip

    def __init__(self, source: str) -> None:
        handler, definition = json.decode(source)
        activity = handler["taskActivity"]
        identity = handler["taskDefinitionId"]
        self._kind: str = activity["type"]
        self._process = f"{identity['scope']}/{identity['code']}"
        self._definition = definition
        self._run_as = mapping(handler["runAsUserId"])
        self._fields = {name: mapping(each) for name, each in (activity.get("taskFields") or {}).items()}
        self._correlations = [mapping(each) for each in activity.get("correlationIds") or ()]
        self._trigger: str = activity.get("initialTrigger") or activity.get("trigger") or ""
        text = activity.get("filter") or ""
        given = handler.get("scheduleMatchingPattern")
        self._pattern = parse_pattern(given) if given else None
        self._shifts = parse_dependent(activity.get("scheduleDependentTaskFields") or {}, DEPENDENT) if given else {}
        self._filter: CompiledFilter | None = parse_filter(text, right_roots=EVENT_ROOTS) if text else None

    def plan(self, context: ActionContext, users: Users) -> Sequence[Command]:
        event = context.payload
        user = self._run_as(event)
        if user is None or user == "":
            return [PlanProblem(detail=NOBODY, field="runAsUserId")]
        if not isinstance(user, str):
            return [PlanProblem(detail=f"runAsUserId comes to {describe(user)}, which is no user's id", field="runAsUserId")]
        if not users.knows(user):
            return [
                PlanProblem(detail=f"runAsUserId comes to {describe(user)}, which is no user of this server", field="runAsUserId")
            ]
        fields = {name: value for name, read in self._fields.items() if (value := read(event)) is not None}
        if self._pattern is not None:
            if context.event.source != OWN:
                return [PlanProblem(detail=f"only this server says when a schedule is due, not {context.event.source!r}")]
            fields.update(self._dependent(event["body"]))
        correlations = [_text(value) for read in self._correlations if (value := read(event)) is not None]
        request = context.codec.event_id(context.event.key)  # type: ignore[attr-defined]
        if self._kind == "CreateNewTask":
            return [self._create(context, user, request, fields, correlations)]
        return [self._update(context, event, user, request, fields, correlations)]

    def _dependent(self, body: Mapping[str, Any]) -> dict[str, JSON]:
        """Fields that follow from the scheduled time. Raises ScheduleError."""
        assert self._pattern is not None
        scheduled = parse_moment(body["scheduledTime"]) or 0
        calendar = parse_calendar(body["holidays"])
        return dict(dependent_fields(self._shifts, scheduled // 1000, self._pattern, lambda scope, code: calendar))

    def _create(
        self, context: ActionContext, user: str, request: str, fields: dict[str, JSON], correlations: list[str]
    ) -> Command:
        trigger = Trigger(name=self._trigger, actor=user, request=request) if self._trigger else None
        return StartCommand(
            process=self._process,
            definition=self._definition,
            input={"fields": fields, "correlationIds": correlations},
            meta=StartMeta(actor=user, event=context.event.type, extra={"request": request}),
            trigger=trigger,
            hops=context.event.hops + 1,
        )

    def _update(
        self, context: ActionContext, event: JSON, user: str, request: str, fields: dict[str, JSON], correlations: list[str]
    ) -> Command:
        condition = self._filter.bind(event) if self._filter is not None else None
        changes: dict[str, Any] = {"fields": fields}
        if correlations:
            changes["addCorrelationIds"] = correlations
        return MatchCommand(
            process=self._process,
            where=_where(condition, context.codec),
            conjuncts=condition.narrowed(is_indexed) if condition is not None else (),
            signal=Trigger(name=self._trigger, changes=changes, actor=user, request=request, strict=False),
            condition=self._filter.shown(event) if self._filter is not None else "",
            trace=_trace(condition, context.codec),
        )


_work_of = remembered(_Work, 4_000)


def is_indexed(name: str) -> bool:
    """Whether open tasks are found by this attribute: see `task.attributes`."""
    return name in (CORRELATIONS, STACK) or name.startswith(FIELDS)


def _where(condition: CompiledFilter | None, codec: Codec) -> Callable[[Record], bool]:
    if condition is None:
        return lambda record: True
    return lambda record: condition.passes(view_of(record, codec, condition.members))


def _trace(condition: CompiledFilter | None, codec: Codec) -> Callable[[Record], Sequence[Trace]] | None:
    if condition is None:
        return None
    return lambda record: condition.test(view_of(record, codec, condition.members)).trace


def _text(value: JSON) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | dict):
        return json.encode(value).decode()
    return str(value)
