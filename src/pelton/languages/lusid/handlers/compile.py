"""Event handlers in the engine's form: the events that they listen to, and their condition."""

from __future__ import annotations

from msgspec import DecodeError

from pelton.kernel.expressions.base import Invalid
from pelton.kernel.matching.handlers import Handler
from pelton.languages.lusid.entity import Entity
from pelton.languages.lusid.filters import CompiledFilter, parse_filter
from pelton.languages.lusid.handlers.activities import Activity
from pelton.languages.lusid.member_names import EVENT_MEMBERS
from pelton.languages.lusid.names import LANGUAGE
from pelton.languages.lusid.schedules import scheduling
from pelton.runtime.caller import Users
from pelton.runtime.rows import DefinitionRow

ACTIVE = "Active"
ANYONE = Users()


def compile_handler(row: DefinitionRow, users: Users | None = None) -> Handler:
    """`users`: whom it may act as; None = anyone. A handler for a schedule is for the events of its own schedule. Raises Invalid
    for a body that is no handler."""
    try:
        entity = Entity(row)
        value = entity.value
        pattern = value.get("eventMatchingPattern") or {}
        active = value["status"] == ACTIVE
    except (DecodeError, KeyError, AttributeError) as error:
        raise Invalid(f"handler {row.name!r} cannot be read: {error}") from None
    kind = pattern.get("eventType")
    condition = pattern.get("filter") or ""
    if value.get("scheduleMatchingPattern"):
        kind, condition = scheduling.EVENT, f"body.handler eq '{row.name}'"
    return Handler(
        id=row.id,
        ns=row.ns,
        name=row.name,
        types=(kind,) if kind else (),
        filter=_condition(condition),
        actions=(Activity(value, entity.envelope.definition, users or ANYONE),),
        active=active,
        language=LANGUAGE,
    )


def _condition(text: str) -> CompiledFilter | None:
    return parse_filter(text, roots=EVENT_MEMBERS) if text else None
