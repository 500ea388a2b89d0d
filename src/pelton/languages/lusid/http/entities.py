"""Definitions, handlers, workers and other things with a scope and a code, as rows of the store.

A change makes a new version (`entity.py`). A deletion closes the row: what was there before stays readable at its time, and a
later thing of the same name begins at version 1 again.

Invariant: versions of one thing count up by one, whoever writes at the same time.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
from msgspec import Raw

from pelton.errors import Code, PeltonError
from pelton.languages.lusid import decode
from pelton.languages.lusid.entity import VERSION, Entity, Envelope, Kind
from pelton.languages.lusid.errors import LusidError
from pelton.languages.lusid.forms import ResourceId
from pelton.languages.lusid.http.api_context import LusidContext
from pelton.languages.lusid.names import LANGUAGE
from pelton.languages.lusid.times import NEVER_BEFORE, print_moment
from pelton.runtime.caller import Caller

TRIES = 10
AT_ONCE = 500  # rows that are read before others get their turn


class Entities:
    """The things of one kind. `name` is scope/code."""

    def __init__(self, context: LusidContext, kind: Kind) -> None:
        self._engine = context.engine
        self._home = context.home
        self.kind = kind

    async def find(self, name: str, at: int = 0) -> Entity | None:
        row = await self._engine.definition(self._home, self.kind.row, name, VERSION, at)
        return Entity(row) if row is not None and row.language == LANGUAGE else None

    async def get(self, name: str, at: int = 0) -> Entity:
        """Raises LusidError 404."""
        found = await self.find(name, at)
        if found is None:
            when = f" as at {print_moment(at)}" if at else ""
            raise LusidError(f"{self.kind.noun}NotFound", f"there is no {self.kind.words} {name[:200]!r}{when}")
        return found

    async def all(self, at: int = 0) -> list[Entity]:
        """By name."""
        return [each async for each in self.each(at)]

    async def each(self, at: int = 0) -> AsyncIterator[Entity]:
        """By name. Others get their turn in between: there may be very many."""
        after = ""
        while True:
            rows = await self._engine.definitions(self._home, self.kind.row, at, after=after, limit=AT_ONCE)
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
        """Raises LusidError 409 when it exists, or when the name belongs to another language."""
        await self._refuse_foreign(name)
        body = Envelope(_raw(value), request=caller.request, definition=definition)
        try:
            return await self._define(name, body, caller, must_be_new=True)
        except PeltonError as error:
            if error.code is not Code.EXISTS:
                raise
            message = f"{self.kind.words} {name[:200]!r} exists already; update it, or choose another code"
            raise LusidError(f"{self.kind.noun}AlreadyExists", message) from None

    async def replace(self, name: str, value: Any, caller: Caller, definition: int = 0) -> Entity:
        """The next version. Raises LusidError 404."""
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
            except PeltonError as error:
                if error.code is not Code.CONFLICT:
                    raise
        raise PeltonError(Code.BUSY, f"{self.kind.words} {name!r} is being changed by others; try again")

    async def remove(self, name: str, caller: Caller) -> dict[str, Any]:
        """What a deletion answers. Raises LusidError 404."""
        await self.get(name)
        try:
            at = await self._engine.undefine(self._home, self.kind.row, name, VERSION, actor=caller.user)
        except PeltonError as error:
            if error.code is not Code.NOT_FOUND:
                raise
            raise LusidError(f"{self.kind.noun}NotFound", f"there is no {self.kind.words} {name[:200]!r}") from None
        return deleted(at)

    async def _define(self, name: str, body: Envelope, caller: Caller, must_be_new: bool = False, seen: int = 0) -> Entity:
        row = await self._engine.define(
            self._home,
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
        row = await self._engine.definition(self._home, self.kind.row, name)
        if row is not None and row.language != LANGUAGE:
            message = f"the name {name[:200]!r} belongs to a {self.kind.row} that was defined in another language; choose another"
            raise LusidError(f"{self.kind.noun}AlreadyExists", message)


def deleted(at: int) -> dict[str, Any]:
    """What a deletion answers. `at`: microseconds, from when on the thing is gone."""
    return {"effectiveFrom": NEVER_BEFORE, "asAt": print_moment(at), "links": []}


def _raw(value: Any) -> Raw:
    return Raw(msgspec.json.encode(value))


def path_name(path: dict[str, str]) -> str:
    """The name of what a path's scope and code stand for. Raises LusidError when they are none."""
    return decode.convert({"scope": path["scope"], "code": path["code"]}, ResourceId).name
