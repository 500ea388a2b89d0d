"""What handlers of every language can read of an event beside its data, as their `header`."""

from __future__ import annotations

from datetime import UTC, datetime

from pelton.kernel.expressions.base import JSON
from pelton.runtime.api import USER_ID
from pelton.runtime.rows import EventRow


def event_header(event: EventRow) -> dict[str, JSON]:
    """Members that an event does not have are left out; `attributes` is always there, with all extension attributes."""
    header: dict[str, JSON] = {"id": event.event_id, "source": event.source, "type": event.type}
    if event.subject:
        header["subject"] = event.subject
    if event.time and (printed := _printed(event.time)):
        header["time"] = printed
    if (user := event.attributes.get(USER_ID)) is not None:
        header["userId"] = user
    header["attributes"] = event.attributes
    return header


def _printed(milliseconds: int) -> str:
    """ "" for a time beyond what a calendar has."""
    try:
        return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):
        return ""
