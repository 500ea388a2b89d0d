"""One stored version of a task definition, handler, worker or event type: a row, and what stands around the value in its body.

A change makes a new row in time under the same name; the row says since when it holds and who made it. What a row cannot say
stands around the value in its body: which version it is, under which request it was made, and, from the second on, when and by
whom the first was.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec
from msgspec import Raw, Struct

from pelton.languages.lusid.times import print_moment
from pelton.runtime.rows import DefinitionRow

VERSION = 1  # of every row: versions of these things are rows in time


class Envelope(Struct, rename="camel", omit_defaults=True):
    """The body of a row. `created` (microseconds), `creator`, `created_request`: of version 1, left out in it. `definition`: the
    row of the task definition that a handler is tied to, 0 = always the latest."""

    value: Raw
    number: int = 1
    request: str = ""
    created: int = 0
    creator: str = ""
    created_request: str = ""
    definition: int = 0


_decode = msgspec.json.Decoder(Envelope).decode


class Entity:
    """A row, read. Its value is made when it is asked for: lists look at many and show few."""

    __slots__ = ("_value", "envelope", "row")

    def __init__(self, row: DefinitionRow) -> None:
        self.row = row
        self.envelope = _decode(row.body)
        self._value: dict[str, Any] | None = None

    @property
    def value(self) -> dict[str, Any]:
        """To be read only."""
        if self._value is None:
            self._value = msgspec.json.decode(self.envelope.value)
        assert self._value is not None
        return self._value

    @property
    def created(self) -> int:
        return self.envelope.created or self.row.since

    @property
    def creator(self) -> str:
        return self.envelope.creator or self.row.actor

    @property
    def created_request(self) -> str:
        return self.envelope.created_request or self.envelope.request

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


class Kind(NamedTuple):
    """`row`: kind of the rows. `noun`: as errors are named. `words`: as people say."""

    row: str
    noun: str
    words: str


DEFINITIONS = Kind("process", "TaskDefinition", "task definition")
HANDLERS = Kind("handler", "EventHandler", "event handler")
WORKERS = Kind("worker", "Worker", "worker")
EVENT_TYPES = Kind("event type", "EventType", "event type")
