"""Documents for `pelton apply`."""

from __future__ import annotations

from typing import Any

import pytest
from tests.languages.lusid.api import INTAKE, ON_FILE, SLEEPER, changed, update_of

from pelton.cli.apply import NotUnderstood, detect


def test_each_kind_is_known_by_its_members() -> None:
    for document, kind, path in (
        (INTAKE, "task definition", "/workflow/api/taskdefinitions"),
        (ON_FILE, "event handler", "/workflow/api/eventhandlers"),
        (SLEEPER, "worker", "/workflow/api/workers"),
    ):
        found = detect(document, "test")
        name = f"{document['id']['scope']}/{document['id']['code']}"
        assert (found.language, found.kind, found.name) == ("lusid", kind, name)
        assert found.requests == (("POST", path, document), ("PUT", f"{path}/{name}", update_of(document)))
    found = detect({"id": "ScanDone", "bodySchema": []}, "test")
    assert (found.kind, found.requests[1][1]) == ("event type", "/notification/api/eventtypes/ScanDone")


@pytest.mark.parametrize(
    ("document", "says"),
    [
        (changed(INTAKE, "transitions.0.toState", "Old"), r"transitions\[0\].toState"),
        (changed(ON_FILE, "status", "On"), "status"),
        (changed(SLEEPER, "workerConfiguration.type", "Nap"), "workerConfiguration.type"),
        ({"id": {"scope": "a", "code": "b"}}, "not a document of any supported language"),
        ({"id": 5, "states": []}, "not a document of any supported language"),
    ],
)
def test_what_is_wrong_is_said(document: Any, says: str) -> None:
    with pytest.raises(NotUnderstood, match=says):
        detect(document, "test")
