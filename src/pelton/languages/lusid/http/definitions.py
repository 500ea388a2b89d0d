"""Task definitions over HTTP."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from msgspec import UNSET

from pelton.errors import FieldProblem, PeltonError
from pelton.languages.lusid import decode
from pelton.languages.lusid.definitions.checks import check_definition, property_problem, value_of
from pelton.languages.lusid.entity import DEFINITIONS, Entity, property_values
from pelton.languages.lusid.errors import LusidError, invalid
from pelton.languages.lusid.forms import CreateTaskDefinition, PerpetualProperty, UpdateTaskDefinition
from pelton.languages.lusid.http.api_context import LusidContext, as_at
from pelton.languages.lusid.http.entities import Entities, deleted, path_name
from pelton.languages.lusid.http.listing import listed
from pelton.languages.lusid.member_names import DEFINITION_MEMBERS
from pelton.languages.lusid.times import print_moment
from pelton.transport import documents
from pelton.transport.http.asgi import Request, Response, Router, json_response
from pelton.transport.validation import describe

BASE = "/api/taskdefinitions"
ONE = BASE + "/{scope}/{code}"
PARTIAL, ATOMIC = "Partial", "Atomic"


class DefinitionRoutes:
    def __init__(self, context: LusidContext) -> None:
        self.context = context
        self.entities = Entities(context, DEFINITIONS)

    def add_to(self, router: Router) -> None:
        router.add("POST", BASE, self.create)
        router.add("GET", BASE, self.list)
        router.add("GET", ONE, self.get)
        router.add("PUT", ONE, self.update)
        router.add("DELETE", ONE, self.remove)
        router.add("POST", ONE + "/properties", self.upsert_properties)

    async def create(self, request: Request) -> Response:
        given = decode.decode(await request.body(), CreateTaskDefinition)
        check_definition(given)
        made = await self.entities.create(self.context.caller(request), given.id.name, value_of(given))
        return json_response(to_wire(made, None), 201)

    async def update(self, request: Request) -> Response:
        name = path_name(request.path)
        given = decode.decode(await request.body(), UpdateTaskDefinition)
        check_definition(given)
        identity = {"scope": request.path["scope"], "code": request.path["code"]}
        made = await self.entities.replace(self.context.caller(request), name, {"id": identity, **value_of(given)})
        return json_response(to_wire(made, None))

    async def get(self, request: Request) -> Response:
        found = await self.entities.get(request.caller, path_name(request.path), as_at(request))
        return json_response(to_wire(found, request.query.texts("propertyKeys")))

    async def remove(self, request: Request) -> Response:
        name = path_name(request.path)
        return json_response(deleted(await self.entities.remove(self.context.caller(request), name)))

    async def list(self, request: Request) -> Response:
        keys = request.query.texts("propertyKeys")
        return await listed(
            request,
            self.entities,
            lambda each: to_wire(each, keys),
            DEFINITION_MEMBERS,
            seen=seen_by_filters,
        )

    async def upsert_properties(self, request: Request) -> Response:
        """Sets properties, or deletes those whose value is null."""
        name = path_name(request.path)
        mode = request.query.text("successMode", PARTIAL)
        if mode not in (PARTIAL, ATOMIC):
            problem = FieldProblem("successMode", f"must be {PARTIAL} or {ATOMIC}, not {mode[:100]!r}", mode[:100])
            raise invalid([problem])
        wanted, failed = read_properties(documents.parse(await request.body()))
        if failed and mode == ATOMIC:
            raise invalid([FieldProblem(key, each["detail"]) for key, each in failed.items()])
        answer: dict[str, Any] = {"values": {key: decode.plain(each) for key, each in wanted.items()}, "failed": failed}
        if wanted:
            made = await self.entities.change(self.context.caller(request), name, lambda before: with_properties(before, wanted))
        else:
            made = await self.entities.get(request.caller, name)
        return json_response({**answer, "asAtDate": print_moment(made.row.since), "links": []})


def to_wire(entity: Entity, keys: Collection[str] | None) -> dict[str, Any]:
    """`keys`: the properties that were asked for; None = all."""
    value = dict(entity.value)
    properties: Mapping[str, Any] = value.pop("properties", None) or {}
    answer = {"id": value.pop("id"), "version": entity.version, **value}
    found = {key: each for key, each in properties.items() if keys is None or key in keys}
    if found:
        answer["properties"] = found
    return answer


def seen_by_filters(entity: Entity) -> dict[str, Any]:
    """All its properties by key, whichever are shown."""
    return {**to_wire(entity, ()), "properties": property_values(entity.value.get("properties") or {})}


# ---- properties


def read_properties(given: Any) -> tuple[dict[str, PerpetualProperty], dict[str, dict[str, Any]]]:
    """What can be set or deleted, and for each of the others what is wrong with it. Raises LusidError."""
    if not isinstance(given, dict):
        raise LusidError("InvalidRequest", f"the body must be an object with a member for each property, not {describe(given)}")
    wanted: dict[str, PerpetualProperty] = {}
    failed: dict[str, dict[str, Any]] = {}
    for key, each in given.items():
        try:
            read = decode.convert({"key": key} if each is None else each, PerpetualProperty)
            problem = property_problem(key, read)
        except PeltonError as error:
            problem = error.message
        else:
            if not problem:
                wanted[key] = read
                continue
        failed[key] = {"id": key, "type": "ValidationError", "detail": problem}
    return wanted, failed


def with_properties(value: Mapping[str, Any], wanted: Mapping[str, PerpetualProperty]) -> dict[str, Any]:
    properties = dict(value.get("properties") or {})
    for key, each in wanted.items():
        if each.value is UNSET:
            properties.pop(key, None)
        else:
            properties[key] = decode.plain(each)
    changed = {**value, "properties": properties}
    if not properties:
        del changed["properties"]
    return changed
