"""Definitions, handlers, workers and other things with a scope and a code, as rows of the store.

A change makes a new row in time under the same name; the row says since when it holds and who made it. What a row cannot say
stands around the value in its body: which version it is, under which request it was made, and, from the second on, when and by
whom the first was. A deletion closes the row: what was there before stays readable at its time, and a later thing of the same
name begins at version 1 again.

Invariant: versions of one thing count up by one, whoever writes at the same time.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import msgspec
from msgspec import Raw, Struct

from pelton.languages.lusid import decode
from pelton.languages.lusid.errors import Refused
from pelton.languages.lusid.face import LANGUAGE, Caller, Face
from pelton.languages.lusid.model import ResourceId
from pelton.languages.lusid.times import NEVER_BEFORE, print_moment
from pelton.runtime.api import EngineError
from pelton.runtime.rows import DefinitionRow

VERSION = 1  # of every row: versions of these things are rows in time
TRIES = 10
AT_ONCE = 500  # rows that are read before others get their turn


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


class Entities:
    """The things of one kind. `name` is scope/code."""

    def __init__(self, face: Face, kind: Kind) -> None:
        self._engine = face.engine
        self._ns = face.ns
        self.kind = kind

    async def find(self, name: str, at: int = 0) -> Entity | None:
        row = await self._engine.definition(self._ns, self.kind.row, name, VERSION, at)
        return Entity(row) if row is not None and row.language == LANGUAGE else None

    async def get(self, name: str, at: int = 0) -> Entity:
        """Raises Refused 404."""
        found = await self.find(name, at)
        if found is None:
            when = f" as at {print_moment(at)}" if at else ""
            raise Refused(f"{self.kind.noun}NotFound", f"there is no {self.kind.words} {name[:200]!r}{when}")
        return found

    async def all(self, at: int = 0) -> list[Entity]:
        """By name."""
        return [each async for each in self.each(at)]

    async def each(self, at: int = 0) -> AsyncIterator[Entity]:
        """By name. Others get their turn in between: there may be very many."""
        after = ""
        while True:
            rows = await self._engine.definitions(self._ns, self.kind.row, at, after=after, limit=AT_ONCE)
            for row in rows:
                if row.language == LANGUAGE:
                    yield Entity(row)
            if len(rows) < AT_ONCE:
                return
            after = rows[-1].name
            await asyncio.sleep(0)

    async def page(self, at: int) -> tuple[list[Entity], int]:
        """All as at a moment, the oldest first, and the moment at which the same will be read again. `at` 0 = now."""
        pin = await self._engine.reached()
        found = await self.all(at)
        found.sort(key=lambda each: (each.created, each.row.name))
        return found, max([min(at, pin) if at else pin, *(each.row.since for each in found)])

    async def create(self, name: str, value: Any, caller: Caller, definition: int = 0) -> Entity:
        """Raises Refused 409 when it exists, or when the name belongs to another language."""
        await self._refuse_foreign(name)
        body = Envelope(_raw(value), request=caller.request, definition=definition)
        try:
            return await self._define(name, body, caller, must_be_new=True)
        except EngineError as error:
            if error.code != "exists":
                raise
            message = f"{self.kind.words} {name[:200]!r} exists already; update it, or choose another code"
            raise Refused(f"{self.kind.noun}AlreadyExists", message) from None

    async def replace(self, name: str, value: Any, caller: Caller, definition: int = 0) -> Entity:
        """The next version. Raises Refused 404."""
        return await self.change(name, lambda before: value, caller, definition)

    async def change(self, name: str, changed: Any, caller: Caller, definition: int = 0) -> Entity:
        """The next version with what `changed` makes of the value. It may be called again when somebody else was quicker."""
        for _ in range(TRIES):
            live = await self.get(name)
            body = Envelope(
                _raw(changed(live.value)),
                number=live.envelope.number + 1,
                request=caller.request,
                created=live.created,
                creator=live.creator,
                created_request=live.created_request,
                definition=definition,
            )
            try:
                return await self._define(name, body, caller, seen=live.row.id)
            except EngineError as error:
                if error.code != "conflict":
                    raise
        raise EngineError("busy", f"{self.kind.words} {name!r} is being changed by others; try again")

    async def remove(self, name: str, caller: Caller) -> dict[str, Any]:
        """What a deletion answers. Raises Refused 404."""
        await self.get(name)
        try:
            at = await self._engine.undefine(self._ns, self.kind.row, name, VERSION, actor=caller.user)
        except EngineError as error:
            if error.code != "not found":
                raise
            raise Refused(f"{self.kind.noun}NotFound", f"there is no {self.kind.words} {name[:200]!r}") from None
        return deleted(at)

    async def _define(self, name: str, body: Envelope, caller: Caller, must_be_new: bool = False, seen: int = 0) -> Entity:
        row = await self._engine.define(
            self._ns,
            self.kind.row,
            LANGUAGE,
            name,
            VERSION,
            msgspec.json.encode(body),
            actor=caller.user,
            must_be_new=must_be_new,
            seen=seen,
        )
        return Entity(row)

    async def _refuse_foreign(self, name: str) -> None:
        row = await self._engine.definition(self._ns, self.kind.row, name)
        if row is not None and row.language != LANGUAGE:
            message = f"the name {name[:200]!r} belongs to a {self.kind.row} that was defined in another language; choose another"
            raise Refused(f"{self.kind.noun}AlreadyExists", message)


def deleted(at: int) -> dict[str, Any]:
    """What a deletion answers. `at`: microseconds, from when on the thing is gone."""
    return {"effectiveFrom": NEVER_BEFORE, "asAt": print_moment(at), "links": []}


def _raw(value: Any) -> Raw:
    return Raw(msgspec.json.encode(value))


def path_name(path: dict[str, str]) -> str:
    """The name of what a path's scope and code stand for. Raises Refused when they are none."""
    return decode.convert({"scope": path["scope"], "code": path["code"]}, ResourceId).name
