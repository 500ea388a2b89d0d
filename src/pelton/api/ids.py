"""Public ids of the native API. What does not exist and an id that is none are the same 404."""

from __future__ import annotations

from pelton.api.problems import bad
from pelton.errors import Code, PeltonError
from pelton.runtime.api import Engine


def run_key(engine: Engine, text: str) -> int:
    """Raises PeltonError."""
    key = engine.codec.parse_run_id(text)
    if key is None:
        raise no_run(text)
    return key


def no_run(text: str) -> PeltonError:
    return PeltonError(Code.UNKNOWN_RUN, "there is no such run", "id", value=text, remedy="/v1/runs lists them")


def event_place(engine: Engine, field: str, text: str) -> int:
    """The key of an event that a page is counted from; "0" is before all. Raises PeltonError."""
    if text == "0":
        return 0
    key = engine.codec.parse_event_id(text)
    if key is None:
        raise bad(field, "is not the key of an event", "use a key that /v1/events shows, or 0 for the beginning", text)
    return key
