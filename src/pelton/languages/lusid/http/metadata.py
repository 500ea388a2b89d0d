"""The service's metadata: its access-controlled resources, and its calls."""

from __future__ import annotations

from typing import Any

from pelton.transport.http.asgi import Request, Response, Router, json_response

APPLICATION = "Workflow"
_PARTS = (("scope", "Scope"), ("code", "Code"))
_RESOURCES: dict[str, tuple[str, tuple[str, ...]]] = {
    "TaskDefinition": ("Task definitions", ("Create", "Read", "Update", "Delete", "List")),
    "Task": ("Tasks, by their task definition", ("Create", "Read", "Update", "Delete", "List", "History")),
    "EventHandler": ("Event handlers", ("Create", "Read", "Update", "Delete", "List")),
    "Worker": ("Workers", ("Create", "Read", "Update", "Delete", "List", "Run")),
}


class MetadataRoutes:
    """`router`: the one whose calls are listed."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._patterns: list[tuple[str, str]] = []

    def add_to(self, router: Router) -> None:
        self._patterns = router.patterns
        router.add("GET", "/api/metadata/access/resources", self.resources)
        router.add("GET", "/api/metadata/endpoints", self.endpoints)

    async def resources(self, request: Request) -> Response:
        return json_response({"values": [_resource(name) for name in _RESOURCES], "links": []})

    async def endpoints(self, request: Request) -> Response:
        found = [
            {"httpMethod": method, "path": self._prefix + path}
            for method, path in sorted(self._patterns, key=lambda each: each[::-1])
        ]
        return json_response({"application": APPLICATION, "endpoints": found, "links": []})


def _resource(name: str) -> dict[str, Any]:
    words, activities = _RESOURCES[name]
    return {
        "application": APPLICATION,
        "name": name,
        "description": words,
        "actions": [
            {
                "description": f"{activity} {words[0].lower()}{words[1:]}",
                "action": {"scope": APPLICATION, "activity": activity, "entity": name},
                "limitedSet": [],
            }
            for activity in activities
        ],
        "identifierParts": [
            {"index": index, "name": part, "displayName": display, "description": f"{display} of the {name}", "required": True}
            for index, (part, display) in enumerate(_PARTS)
        ],
        "links": [],
    }
