"""Task definitions, handlers, workers and event types as stored: their kinds, and the version block of responses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from pelton.languages.lusid.times import print_moment
from pelton.transport.named import NamedVersion


class Entity(NamedVersion):
    """One version. The envelope's `definition` is the row of the task definition that a handler is tied to, 0 = always the
    latest."""

    __slots__ = ()

    @property
    def version(self) -> dict[str, Any]:
        """The block that answers have."""
        return {
            "asAtCreated": print_moment(self.created),
            "userIdCreated": self.creator,
            "requestIdCreated": self.created_request,
            "asAtModified": print_moment(self.row.since),
            "userIdModified": self.row.actor,
            "requestIdModified": self.envelope.request,
            "asAtVersionNumber": self.envelope.number,
        }


def property_values(properties: Mapping[str, Any]) -> dict[str, Any]:
    """By key, as filters and orders see them: a text, a number, or of a set of labels the list."""
    found: dict[str, Any] = {}
    for key, each in properties.items():
        value = each.get("value") or {}
        metric, several = value.get("metricValue") or {}, value.get("labelValueSet") or {}
        found[key] = value.get("labelValue", metric.get("value", several.get("values")))
    return found


class Kind(NamedTuple):
    """`row`: kind of the rows. `noun`: as errors are named. `words`: for texts."""

    row: str
    noun: str
    words: str


DEFINITIONS = Kind("process", "TaskDefinition", "task definition")
HANDLERS = Kind("handler", "EventHandler", "event handler")
WORKERS = Kind("worker", "Worker", "worker")
EVENT_TYPES = Kind("event type", "EventType", "event type")
