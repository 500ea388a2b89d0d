"""Public ids of the native API. A malformed id is the same 404 as one that does not exist."""

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
    return PeltonError(Code.UNKNOWN_RUN, "no such run", "id", value=text, remedy="/v1/runs lists them")


def event_place(engine: Engine, field: str, text: str) -> int:
    """The key of the event that a page starts from; "0" is before all events. Raises PeltonError."""
    if text == "0":
        return 0
    key = engine.codec.parse_event_id(text)
    if key is None:
        raise bad(field, "is not an event key", "use a key listed by /v1/events, or 0 for the beginning", text)
    return key
