"""Things that authors write, known by name: versions in time, read as at any moment, and changed by several people at once.

A change makes a new row in time under the same name; the row says since when it holds and who made it. What a row cannot say
stands around the value in its body (`Envelope`). A deletion closes the row: what was there before stays readable at its time, and
a later thing of the same name begins at version 1 again.

An API brings the kind, the language and the class that reads a row, and may have its own errors for what is absent or there
already (`absent`, `taken`).

Invariant: versions of one thing count up by one, whoever writes at the same time.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any, Generic, TypeVar

import msgspec
import structlog
from msgspec import Raw, Struct, structs

from pelton.errors import Code, PeltonError
from pelton.runtime.api import Engine
from pelton.runtime.caller import Caller
from pelton.runtime.rows import DefinitionRow

VERSION = 1  # of every row: versions of these things are rows in time
TRIES = 10  # to change what others change at the same time


class Envelope(Struct, rename="camel", omit_defaults=True):
    """The body of a row. `created` (microseconds), `creator`, `created_request`: of version 1, left out in it. `definition`: the
    row of another thing's version that this one is tied to, 0 = none."""

    value: Raw
    number: int = 1
    request: str = ""
    created: int = 0
    creator: str = ""
    created_request: str = ""
    definition: int = 0


log = structlog.get_logger("pelton.transport")
_decode = msgspec.json.Decoder(Envelope).decode


class NamedVersion:
    """A row, read. Its value is made when it is asked for: lists look at many and show few. Raises msgspec.DecodeError for a body
    that is none."""

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
        """When version 1 was made, in microseconds."""
        return self.envelope.created or self.row.since

    @property
    def creator(self) -> str:
        return self.envelope.creator or self.row.actor

    @property
    def created_request(self) -> str:
        return self.envelope.created_request or self.envelope.request


V = TypeVar("V", bound=NamedVersion)


class NamedThings(Generic[V]):
    """The things of one kind and language, in the namespace of whoever calls. Instants (`at`) are in microseconds, 0 = now."""

    def __init__(self, engine: Engine, kind: str, language: str, read: Callable[[DefinitionRow], V]) -> None:
        self._engine = engine
        self._kind = kind
        self._language = language
        self._read = read

    @property
    def kind_name(self) -> str:
        return self._kind

    def absent(self, name: str, at: int) -> Exception:
        return PeltonError(Code.NOT_FOUND, f"there is no {self._kind} {name[:200]!r}")

    def taken(self, name: str, foreign: bool) -> Exception:
        """`foreign`: by another language."""
        whose = f" and belongs to a {self._kind} of another language" if foreign else ""
        return PeltonError(Code.EXISTS, f"{self._kind} {name[:200]!r} exists already{whose}; choose another name")

    async def find(self, caller: Caller, name: str, at: int = 0) -> V | None:
        row = await self._engine.definition(caller, self._kind, name, VERSION, at)
        return self._read(row) if row is not None and row.language == self._language else None

    async def get(self, caller: Caller, name: str, at: int = 0) -> V:
        """Raises `absent`."""
        found = await self.find(caller, name, at)
        if found is None:
            raise self.absent(name, at)
        return found

    async def each(self, caller: Caller, at: int = 0) -> AsyncIterator[V]:
        """By name. Others get their turn in between: there may be very many."""
        async for row in self._engine.each_definition(caller, self._kind, at):
            if row.language == self._language:
                yield self._version(row)

    def _version(self, row: DefinitionRow) -> V:
        """One that cannot be read has a value that says so: it must not hide the others."""
        try:
            found = self._read(row)
            if bytes(found.envelope.value)[:1] != b"{":
                raise TypeError("its value is not an object")
        except (msgspec.MsgspecError, TypeError, ValueError, RecursionError) as error:
            log.error("a stored thing cannot be read", kind=self._kind, name=row.name, error=str(error))
            value = self.unreadable(row, f"cannot be read: {error}")
            found = self._read(structs.replace(row, body=msgspec.json.encode(Envelope(_raw(value)))))
        return found

    def unreadable(self, row: DefinitionRow, why: str) -> dict[str, Any]:
        """The value in place of one that cannot be read."""
        return {"name": row.name, "description": why}

    async def reached(self) -> int:
        """A moment at which what is listed now will be read again."""
        return await self._engine.reached()

    async def version(self, row: int) -> V:
        """A version that has been listed, by its row."""
        found = await self._engine.definition_row(row)
        if found is None:
            raise PeltonError(Code.NOT_FOUND, f"there is no {self._kind} any more")
        return self._version(found)

    async def create(self, caller: Caller, name: str, value: Any, definition: int = 0) -> V:
        """Version 1. Raises `taken`."""
        row = await self._engine.definition(caller, self._kind, name)
        if row is not None and row.language != self._language:
            raise self.taken(name, foreign=True)
        body = Envelope(_raw(value), request=caller.request, definition=definition)
        try:
            return await self._define(caller, name, body, must_be_new=True)
        except PeltonError as error:
            if error.code is not Code.EXISTS:
                raise
            raise self.taken(name, foreign=False) from None

    async def replace(self, caller: Caller, name: str, value: Any, definition: int = 0) -> V:
        """The next version. Raises `absent`."""
        return await self.change(caller, name, lambda before: value, definition)

    async def change(self, caller: Caller, name: str, changed: Callable[[dict[str, Any]], Any], definition: int = 0) -> V:
        """The next version with what `changed` makes of the value. It may be called again when someone else was quicker. Raises
        `absent`, and PeltonError BUSY when others keep changing it."""
        for _ in range(TRIES):
            live = await self.get(caller, name)
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
                return await self._define(caller, name, body, seen=live.row.id)
            except PeltonError as error:
                if error.code is not Code.CONFLICT:
                    raise
        raise PeltonError(
            Code.BUSY, f"contention on {self._kind} {name[:200]!r}: gave up after {TRIES} attempts; retry the request"
        )

    async def remove(self, caller: Caller, name: str) -> int:
        """The instant from which on it is gone. Raises `absent`."""
        await self.get(caller, name)
        try:
            return await self._engine.undefine(caller, self._kind, name, VERSION, actor=caller.user)
        except PeltonError as error:
            if error.code is not Code.NOT_FOUND:
                raise
            raise self.absent(name, 0) from None

    async def _define(self, caller: Caller, name: str, body: Envelope, must_be_new: bool = False, seen: int = 0) -> V:
        row = await self._engine.define(
            caller,
            self._kind,
            self._language,
            name,
            VERSION,
            msgspec.json.encode(body),
            actor=caller.user,
            must_be_new=must_be_new,
            seen=seen,
        )
        return self._read(row)


def _raw(value: Any) -> Raw:
    return Raw(msgspec.json.encode(value))
