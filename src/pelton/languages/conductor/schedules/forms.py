"""Schedules on the wire, and when they are due."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET, field, structs

from pelton.errors import Code, FieldProblem, PeltonError
from pelton.kernel.schedules.cron import CronInvalid, parse_cron
from pelton.languages.conductor.model import CamelForm, StartWorkflowRequest, Text
from pelton.transport.zones import zone, zone_problem

MOST_CRONS = 20
MAX_NAME = 500


class CronSchedule(CamelForm):
    cron_expression: str = ""
    zone_id: Text = UNSET


class WorkflowSchedule(CamelForm):
    name: str = ""
    cron_expression: Text = UNSET
    cron_schedules: list[CronSchedule] = field(default_factory=list)
    run_catchup_schedule_instances: bool = False
    paused: bool = False
    paused_reason: Text = UNSET
    start_workflow_request: StartWorkflowRequest = field(default_factory=StartWorkflowRequest)
    zone_id: str = "UTC"
    schedule_start_time: int = 0
    schedule_end_time: int = 0
    create_time: int = 0
    updated_time: int = 0
    created_by: Text = UNSET
    updated_by: Text = UNSET
    description: Text = UNSET
    tags: list[Any] = field(default_factory=list)
    next_run_time: int = 0

    def crons(self) -> list[tuple[str, str]]:
        """Expressions, each with its zone."""
        single = [(self.cron_expression, self.zone_id)] if self.cron_expression else []
        return single + [(each.cron_expression, each.zone_id or self.zone_id) for each in self.cron_schedules]

    def next_after(self, instant: int) -> int | None:
        """The first time that it is due after an instant, in epoch milliseconds."""
        return next_of(self.crons(), instant, self.schedule_start_time, self.schedule_end_time)


def next_of(crons: list[tuple[str, str]], instant: int, start: int = 0, end: int = 0) -> int | None:
    found = [parse_cron(expression).next_after(max(instant, start - 1), zone(name)) for expression, name in crons]
    due = min((each for each in found if each is not None), default=None)
    return due if due is not None and (not end or due <= end) else None


def check(schedule: WorkflowSchedule) -> None:
    """Raises PeltonError "invalid" that names the fields."""
    problems: list[FieldProblem] = []
    if not schedule.name.strip():
        problems.append(FieldProblem("name", "Schedule name cannot be null or empty", schedule.name))
    elif len(schedule.name) > MAX_NAME:
        problems.append(FieldProblem("name", f"name has {len(schedule.name)} characters; the limit is {MAX_NAME}"))
    if not schedule.start_workflow_request.name.strip():
        problems.append(FieldProblem("startWorkflowRequest.name", "Workflow name cannot be null or empty"))
    crons = schedule.crons()
    if not crons:
        problems.append(FieldProblem("cronExpression", "Cron expression cannot be null or empty"))
    if len(crons) > MOST_CRONS:
        problems.append(FieldProblem("cronSchedules", f"there are {len(crons)} cron expressions; the limit is {MOST_CRONS}"))
    for expression, name in crons[:MOST_CRONS]:
        problems += cron_problems(expression, name)
    if schedule.schedule_end_time and schedule.schedule_end_time < schedule.schedule_start_time:
        problems.append(FieldProblem("scheduleEndTime", "scheduleEndTime is before scheduleStartTime"))
    if problems:
        raise PeltonError(Code.INVALID, f"Invalid schedule: {problems[0].message}", problems=problems)


def cron_problems(expression: str, zone_name: str) -> list[FieldProblem]:
    found: list[FieldProblem] = []
    try:
        parse_cron(expression)
    except CronInvalid as error:
        found.append(FieldProblem("cronExpression", f"Invalid cron expression {expression[:200]!r}: {error}", expression[:200]))
    if (problem := zone_problem(zone_name)) is not None:
        found.append(FieldProblem("zoneId", f"Unknown time zone {zone_name[:100]!r}: {problem}", zone_name[:100]))
    return found


def to_keep(schedule: WorkflowSchedule) -> WorkflowSchedule:
    """Without what is computed, or kept beside it."""
    return structs.replace(schedule, updated_time=0, next_run_time=0, tags=[])
