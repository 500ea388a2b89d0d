"""The OpenAPI document and the routes are one table, and the document is sound."""

from __future__ import annotations

import re
from typing import Any

import pytest
from tests.server.running import client, server

from pelton.cli.process import ServerProcess
from pelton.client import Client, RequestRefused

__all__ = ["client", "server"]  # fixtures


def refs(value: Any) -> set[str]:
    if isinstance(value, dict):
        own = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
        return own.union(*(refs(each) for each in value.values())) if value else own
    return set().union(*(refs(each) for each in value)) if isinstance(value, list) else set()


def test_every_reference_leads_somewhere(client: Client) -> None:
    found = client.request("GET", "/openapi.json")
    assert found["openapi"].startswith("3.1")
    names = {ref.removeprefix("#/components/schemas/") for ref in refs(found)}
    assert names
    assert names <= set(found["components"]["schemas"])


def test_operations_are_named_once_and_declare_their_parameters(client: Client) -> None:
    found = client.request("GET", "/openapi.json")
    ids = [operation["operationId"] for item in found["paths"].values() for operation in item.values()]
    assert len(ids) == len(set(ids))
    for path, item in found["paths"].items():
        for operation in item.values():
            declared = {each["name"] for each in operation.get("parameters", []) if each["in"] == "path"}
            assert declared == set(re.findall(r"{(\w+)}", path))


def test_every_path_of_the_document_is_served(client: Client, server: ServerProcess) -> None:
    found = client.request("GET", "/openapi.json")
    for path in found["paths"]:
        with pytest.raises(RequestRefused) as caught:
            client.request("PATCH", re.sub(r"{\w+}", "x", path))
        assert caught.value.status == 405, path
