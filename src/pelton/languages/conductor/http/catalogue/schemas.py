"""Schemas over HTTP: kept by name and version, for those who check data by them."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from pelton.errors import Code, PeltonError
from pelton.languages.conductor import decode
from pelton.languages.conductor.http.api_context import ConductorApi
from pelton.languages.conductor.model import LANGUAGE, CamelForm, Text
from pelton.runtime.caller import Caller
from pelton.runtime.rows import DefinitionRow
from pelton.transport.http.asgi import Request, Response, Router, empty, json_response

KIND = "schema"
MAX_NAME = 500


class SchemaDef(CamelForm):
    name: str = ""
    version: int = 1
    type: str = "JSON"
    data: dict[str, Any] | UnsetType = UNSET
    external_ref: Text = UNSET
    created_by: Text = UNSET
    updated_by: Text = UNSET
    owner_app: Text = UNSET
    create_time: int = 0
    update_time: int = 0


class SchemaRoutes:
    def __init__(self, api: ConductorApi) -> None:
        self.api = api
        self.engine = api.engine

    def add_to(self, router: Router) -> None:
        router.add("POST", "/schema", self.save)
        router.add("GET", "/schema", self.all)
        router.add("GET", "/schema/{name}", self.get)
        router.add("GET", "/schema/{name}/{version}", self.get)
        router.add("DELETE", "/schema/{name}", self.remove_all)
        router.add("DELETE", "/schema/{name}/{version}", self.remove)

    async def _rows(self, caller: Caller, name: str = "") -> list[DefinitionRow]:
        rows = [row async for row in self.engine.each_definition(caller, KIND)]
        return [row for row in rows if row.language == LANGUAGE and name in ("", row.name)]

    async def save(self, request: Request) -> Response:
        given = decode.decode_list(await request.body(), SchemaDef)
        new = request.query.boolean("newVersion", False)
        for each in given:
            if not each.name.strip() or len(each.name) > MAX_NAME:
                raise PeltonError(Code.INVALID, f"Schema name cannot be null or empty, nor have over {MAX_NAME} letters", "name")
            if each.type not in ("JSON", "AVRO", "PROTOBUF"):
                raise PeltonError(Code.INVALID, f"type must be JSON, AVRO or PROTOBUF, not {each.type[:100]!r}", "type")
            if not 0 < each.version < 2**31:
                raise PeltonError(Code.INVALID, "version must be from 1 to 2147483647", "version")
        for each in given:
            if new:
                each.version = 1 + max((row.version for row in await self._rows(request.caller, each.name)), default=0)
            each.create_time = each.update_time = 0
            body = msgspec.json.encode(each)
            actor = each.updated_by or each.created_by or ""
            await self.engine.define(request.caller, KIND, LANGUAGE, each.name, each.version, body, actor=actor)
        return empty()

    async def all(self, request: Request) -> Response:
        short = request.query.boolean("short", False)
        found = [_shown(row) for row in await self._rows(request.caller)]
        if short:
            return json_response([{"name": each.name, "version": each.version} for each in found])
        return json_response(found)

    async def get(self, request: Request) -> Response:
        """The latest when no version is named."""
        name, version = request.path["name"], _version(request)
        row = await self.engine.definition(request.caller, KIND, name, version)
        if row is None or row.language != LANGUAGE:
            raise _unknown(name, version)
        return json_response(_shown(row))

    async def remove(self, request: Request) -> Response:
        name, version = request.path["name"], _version(request)
        if not await self.api.owns(request.caller, KIND, name, version):
            raise _unknown(name, version)
        await self.engine.undefine(request.caller, KIND, name, version)
        return empty()

    async def remove_all(self, request: Request) -> Response:
        name = request.path["name"]
        rows = await self._rows(request.caller, name)
        if not rows:
            raise _unknown(name, 0)
        for row in rows:
            await self.engine.undefine(request.caller, KIND, name, row.version)
        return empty()


def _shown(row: DefinitionRow) -> SchemaDef:
    found = decode.decode(row.body, SchemaDef)
    found.create_time = found.update_time = row.since // 1000
    return found


def _version(request: Request) -> int:
    text = request.path.get("version", "0")
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise PeltonError(Code.INVALID, f"version must be a whole number, not {text[:100]!r}")
    return int(text)


def _unknown(name: str, version: int) -> PeltonError:
    return PeltonError(Code.NOT_FOUND, f"No such schema found by name: {name[:200]}, version: {version or 'null'}")
