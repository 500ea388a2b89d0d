"""Whose an event is: handlers may act as that user, so it must be the user whose call brought the event."""

from __future__ import annotations

from pelton.errors import Code, PeltonError
from pelton.runtime.api import USER_ID, EventIn
from pelton.runtime.caller import Caller


def attribute(event: EventIn, caller: Caller, where: str = "") -> None:
    """Makes the event its caller's. One that claims to be another user's is refused, unless the caller may forward events.
    `where`: what precedes the name of the attribute in a refusal. Raises PeltonError."""
    claimed = event.attributes.get(USER_ID)
    if claimed is None:
        if caller.user:
            event.attributes[USER_ID] = caller.user
        return
    field = f"{where}{USER_ID}"
    if not isinstance(claimed, str):
        raise PeltonError(Code.INVALID, "must be a user's name", field, value=claimed, remedy="put it in quotes, or omit it")
    if claimed == caller.user or caller.forwards:
        return
    whose = f"posted with the token of {caller.user!r}" if caller.user else "posted with a key that is no user's"
    raise PeltonError(
        Code.FORBIDDEN,
        f"an event {whose} cannot be another user's: its user is the caller",
        field,
        value=claimed,
        remedy=f"omit {USER_ID}, or post it with a key that the server was given as --forwarder",
    )
