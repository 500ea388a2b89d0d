"""The known event types: those built into this service, and those that operators have registered.

Events of other types are accepted as well. Handlers' mappings are checked only against registered schemas: the bodies of
built-in types are described as far as they are published, and may have more members.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from typing import Any

from pelton.languages.lusid.entity import EVENT_TYPES
from pelton.languages.lusid.errors import LusidError
from pelton.languages.lusid.http.api_context import LusidContext
from pelton.languages.lusid.http.entities import Entities
from pelton.runtime.caller import Caller

Member = tuple[str, str]  # name and type
HEADER: tuple[Member, ...] = (
    ("eventType", "String"),
    ("requestId", "String"),
    ("userId", "String"),
    ("action", "String"),
    ("entityType", "String"),
    ("timestamp", "DateTime"),
    ("href", "String"),
    ("id", "String"),
    ("source", "String"),
    ("subject", "String"),
    ("time", "DateTime"),
    ("attributes", "Object"),
)
_FILE: tuple[Member, ...] = (
    ("filePath", "String"),
    ("fileName", "String"),
    ("fileId", "String"),
    ("size", "Decimal"),
    ("modified", "DateTime"),
)
_ID: tuple[Member, ...] = (("scope", "String"), ("code", "String"))


def _entry(name: str, title: str, application: str, body: Iterable[Member] = ()) -> dict[str, Any]:
    return {
        "id": name,
        "displayName": title,
        "description": f"Raised when: {title[0].lower()}{title[1:]}",
        "application": application,
        "headerSchema": _schema(HEADER),
        "bodySchema": _schema(body),
    }


def _schema(members: Iterable[Member]) -> list[dict[str, str]]:
    return [{"name": name, "type": kind} for name, kind in members]


BUILT_IN: dict[str, dict[str, Any]] = {
    entry["id"]: entry
    for entry in (
        _entry("FileCreated", "File created", "Drive", _FILE),
        _entry("FileUpdated", "File updated", "Drive", _FILE),
        _entry("FileDeleted", "File deleted", "Drive", _FILE),
        _entry(
            "Manual",
            "Event raised by hand",
            "Notifications",
            (("subject", "String"), ("message", "String"), ("jsonMessage", "Object")),
        ),
        _entry("PortfolioCreated", "Portfolio created", "LUSID", (("portfolioScope", "String"), ("portfolioCode", "String"))),
        _entry("PortfolioUpdated", "Portfolio updated", "LUSID", (("portfolioScope", "String"), ("portfolioCode", "String"))),
        _entry("OrderCreated", "Order created", "LUSID"),
        _entry("AllocationCreated", "Allocation created", "LUSID"),
        _entry(
            "InstrumentCreated",
            "Instrument created",
            "LUSID",
            (("scope", "String"), ("lusidInstrumentId", "String"), ("identifiers", "CollectionOfIdentifiers")),
        ),
    )
}


class EventTypes:
    """The registry. Its entries are shown as `entry` gives them."""

    def __init__(self, context: LusidContext) -> None:
        self.entities = Entities(context, EVENT_TYPES)

    async def all(self, caller: Caller) -> AsyncIterator[dict[str, Any]]:
        """By id."""
        built_in = sorted(BUILT_IN)
        async for each in self.entities.each(caller):
            while built_in and built_in[0] < each.row.name:
                yield BUILT_IN[built_in.pop(0)]
            if built_in and built_in[0] == each.row.name:  # registered anew
                built_in.pop(0)
            yield entry(each.value)
        for name in built_in:
            yield BUILT_IN[name]

    async def get(self, caller: Caller, name: str) -> dict[str, Any]:
        """Raises LusidError 404."""
        registered = await self.entities.find(caller, name)
        if registered is not None:
            return entry(registered.value)
        if name in BUILT_IN:
            return BUILT_IN[name]
        raise LusidError(
            "EventTypeNotFound", f"there is no event type {name[:200]!r}; events of any type can be posted all the same"
        )

    async def body(self, caller: Caller, name: str) -> list[Member]:
        """What a registered schema says that bodies have; [] without one."""
        registered = await self.entities.find(caller, name)
        if registered is None:
            return []
        return [(each["name"], each["type"]) for each in registered.value.get("bodySchema") or ()]


def entry(value: dict[str, Any]) -> dict[str, Any]:
    return {
        "displayName": value["id"],
        "description": "",
        "application": "",
        "headerSchema": _schema(HEADER),
        "bodySchema": [],
        **value,
    }
