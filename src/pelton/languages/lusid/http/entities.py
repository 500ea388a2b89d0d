"""Definitions, handlers, workers and other entities with a scope and a code, with this API's errors for missing or existing
ones."""

from __future__ import annotations

from typing import Any

from pelton.languages.lusid import decode
from pelton.languages.lusid.entity import Entity, Kind
from pelton.languages.lusid.errors import LusidError
from pelton.languages.lusid.forms import ResourceId
from pelton.languages.lusid.http.api_context import LusidContext
from pelton.languages.lusid.names import LANGUAGE
from pelton.languages.lusid.times import NEVER_BEFORE, print_moment
from pelton.runtime.rows import DefinitionRow
from pelton.transport.named import NamedThings


class Entities(NamedThings[Entity]):
    """The things of one kind. `name` is scope/code."""

    def __init__(self, context: LusidContext, kind: Kind) -> None:
        super().__init__(context.engine, kind.row, LANGUAGE, Entity)
        self.kind = kind

    def unreadable(self, row: DefinitionRow, why: str) -> dict[str, Any]:
        scope, slash, code = row.name.partition("/")
        return {"id": {"scope": scope, "code": code} if slash else row.name, "displayName": row.name, "description": why}

    def absent(self, name: str, at: int) -> LusidError:
        when = f" as at {print_moment(at)}" if at else ""
        return LusidError(f"{self.kind.noun}NotFound", f"there is no {self.kind.words} {name[:200]!r}{when}")

    def taken(self, name: str, foreign: bool) -> LusidError:
        if foreign:
            message = f"the name {name[:200]!r} belongs to a {self.kind.row} that was defined in another language; choose another"
        else:
            message = f"{self.kind.words} {name[:200]!r} exists already; update it, or choose another code"
        return LusidError(f"{self.kind.noun}AlreadyExists", message)


def deleted(at: int) -> dict[str, Any]:
    """What a deletion answers. `at`: microseconds, from when on the thing is gone."""
    return {"effectiveFrom": NEVER_BEFORE, "asAt": print_moment(at), "links": []}


def path_name(path: dict[str, str]) -> str:
    """The name of what a path's scope and code stand for. Raises PeltonError when they are none."""
    return decode.convert({"scope": path["scope"], "code": path["code"]}, ResourceId).name
