"""The native API's requests as values, shared by the two clients, so that they cannot differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode
from uuid import uuid4

from msgspec import DecodeError, json

from pelton.client.errors import Refused, Unreachable

STRUCTURED = "application/json"
BATCHED = "application/cloudevents-batch+json"


class Ask(NamedTuple):
    """`seconds`: how long the server may take on purpose, on top of the client's own patience."""

    method: str
    path: str
    body: bytes = b""
    content_type: str = "application/json"
    seconds: float = 0.0

    @property
    def repeatable(self) -> bool:
        """Whether asking twice does what asking once does. Events carry ids, so a repeat of them is known."""
        return self.method != "POST" or self.path == "/v1/events"


def segment(text: str) -> str:
    return quote(text, safe="")


def _query(path: str, **values: Any) -> str:
    given = {name: value for name, value in values.items() if value not in {"", None}}
    return f"{path}?{urlencode(given)}" if given else path


def health() -> Ask:
    return Ask("GET", "/health")


def event(type: str, source: str, data: Any, id: str, subject: str, attributes: Mapping[str, Any]) -> Ask:
    found: dict[str, Any] = {**attributes, "specversion": "1.0", "type": type, "source": source, "data": data}
    found["id"] = id or uuid4().hex
    if subject:
        found["subject"] = subject
    return Ask("POST", "/v1/events", json.encode(found), STRUCTURED)


def events(batch: Sequence[Mapping[str, Any]]) -> Ask:
    return Ask("POST", "/v1/events", json.encode([{"specversion": "1.0", "id": uuid4().hex, **each} for each in batch]), BATCHED)


def event_page(type: str, state: str, after: str, before: str, limit: int, wait: int) -> Ask:
    path = _query("/v1/events", type=type, state=state, after=after, before=before, limit=limit, wait=wait or None)
    return Ask("GET", path, seconds=wait / 1000)


def one_event(key: str, source: str) -> Ask:
    return Ask("GET", _query(f"/v1/events/{segment(key)}", source=source))


def explain(key: str, source: str, handler: str) -> Ask:
    return Ask("GET", _query(f"/v1/events/{segment(key)}/explain", source=source, handler=handler))


def held(limit: int) -> Ask:
    return Ask("GET", _query("/v1/held", limit=limit))


def dead_letters(after: int, limit: int) -> Ask:
    return Ask("GET", _query("/v1/dead-letters", after=after or None, limit=limit))


def redeliver(number: int) -> Ask:
    return Ask("POST", f"/v1/dead-letters/{number}/redeliver")


def runs(process: str, live: bool | None, before: str, limit: int) -> Ask:
    said = None if live is None else str(live).lower()
    return Ask("GET", _query("/v1/runs", process=process, live=said, before=before, limit=limit))


def run(id: str) -> Ask:
    return Ask("GET", f"/v1/runs/{segment(id)}")


def steps(id: str, after: int, limit: int) -> Ask:
    return Ask("GET", _query(f"/v1/runs/{segment(id)}/steps", after=after if after >= 0 else None, limit=limit))


def answered(status: int, content_type: str, body: bytes) -> Any:
    """The value of a good answer: JSON, or text. Raises Refused for any other, Unreachable for what is no server of ours."""
    found: Any = body.decode(errors="replace")
    if "json" in content_type:
        try:
            found = json.decode(body)
        except (DecodeError, UnicodeDecodeError) as error:
            raise Unreachable(f"the answer is not what it says: {error}") from None
    if status >= 300:
        raise Refused(status, found)
    return found if body else None
