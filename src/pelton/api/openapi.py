"""The OpenAPI 3.1 document of /v1, generated from the route table and the types of its bodies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import Struct
from msgspec.json import schema_components

from pelton.api.calls import MSGPACK, Parameter, Route
from pelton.api.problems import CONTENT_TYPE, TITLES, ProblemBody

_REF = "#/components/schemas/{name}"


def document(routes: Sequence[Route], version: str) -> dict[str, Any]:
    types: list[type[Struct]] = [ProblemBody]
    for route in routes:
        types += route.gives
        if isinstance(route.takes, type):
            types.append(route.takes)
    _, components = schema_components(types, ref_template=_REF)
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Pelton", "version": version, "summary": "Events in, durable work, events out."},
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"key": []}, {}],
    }


def _operation(route: Route) -> dict[str, Any]:
    good = "201" if 201 in route.statuses else "200"
    operation: dict[str, Any] = {
        "operationId": route.name,
        "summary": route.summary,
        "responses": {good: {"description": "Success", "content": {"application/json": {"schema": _one_of(route.gives)}}}},
    }
    if not route.gives:
        del operation["responses"][good]["content"]
    if isinstance(route.takes, type) and route.gives:
        operation["responses"][good]["content"][MSGPACK] = {"schema": _one_of(route.gives)}
    if good == "201":
        operation["responses"]["200"] = {**operation["responses"]["201"], "description": "A repeated event, or a batch"}
    for status in sorted({*route.statuses, 500} - {201}):
        schema = {"schema": {"$ref": _REF.format(name="ProblemBody")}}
        operation["responses"][str(status)] = {"description": TITLES[status], "content": {CONTENT_TYPE: schema}}
    if route.parameters:
        operation["parameters"] = [_parameter(each, route.path) for each in route.parameters]
    if isinstance(route.takes, type):
        schema = {"schema": {"$ref": _REF.format(name=route.takes.__name__)}}
        operation["requestBody"] = {"required": True, "content": {"application/json": schema, MSGPACK: schema}}
    elif route.takes:
        operation["requestBody"] = {"required": True, "content": {kind: {"schema": {}} for kind in route.takes}}
    return operation


def _one_of(types: Sequence[type[Struct]]) -> dict[str, Any]:
    refs = [{"$ref": _REF.format(name=each.__name__)} for each in types]
    return refs[0] if len(refs) == 1 else {"oneOf": refs}


def _parameter(each: Parameter, path: str) -> dict[str, Any]:
    in_path = "{" + each.name + "}" in path
    schema: dict[str, Any] = {"type": each.kind}
    if each.kind == "integer" and not in_path:
        schema.update(minimum=each.low, maximum=each.high, default=each.default)
    return {
        "name": each.name,
        "in": "path" if in_path else "query",
        "required": in_path,
        "description": each.help,
        "schema": schema,
    }
