"""Public ids of the native API. What does not exist and an id that is none are the same 404."""

from __future__ import annotations

from pelton.api.problems import Problem, bad
from pelton.runtime.api import Engine


def run_key(engine: Engine, text: str) -> int:
    """Raises Problem."""
    key = engine.codec.parse_run_id(text)
    if key is None:
        raise no_run(text)
    return key


def no_run(text: str) -> Problem:
    return Problem(404, "unknown run", "there is no such run", field="id", value=text, remedy="/v1/runs lists them")


def event_place(engine: Engine, field: str, text: str) -> int:
    """The key of an event that a page is counted from; "0" is before all. Raises Problem."""
    if text == "0":
        return 0
    key = engine.codec.parse_event_id(text)
    if key is None:
        raise bad(field, "is not the key of an event", "use a key that /v1/events shows, or 0 for the beginning", text)
    return key
