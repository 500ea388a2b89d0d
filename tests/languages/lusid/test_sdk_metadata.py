"""ApplicationMetadataApi of the official client."""

from __future__ import annotations

from lusid_workflow import models
from tests.languages.lusid.official import Official


def test_access_controlled_resources(official: Official) -> None:
    found = official.metadata.list_access_controlled_resources()
    assert isinstance(found, models.ResourceListOfAccessControlledResource)
    by_name = {each.name: each for each in found.values}
    assert {"TaskDefinition", "Task", "EventHandler", "Worker"} <= set(by_name)
    handlers = by_name["EventHandler"]
    assert "Create" in [each.action.activity for each in handlers.actions]
    assert [each.name for each in handlers.identifier_parts] == ["scope", "code"]


def test_endpoints(official: Official) -> None:
    found = official.metadata.list_api_endpoints()
    assert isinstance(found, models.ServiceApiEndpoints)
    assert found.application == "Workflow"
    assert ("PUT", "/workflow/api/eventhandlers/{scope}/{code}") in [(each.http_method, each.path) for each in found.endpoints]
