"""The one error of Pelton: what a caller asked for cannot be done, why, and what would help. Imports nothing of Pelton.

A `Code` is a stable word for programs; it is stored in logs and sent on wires, so a value never changes. Texts are for people.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any


class Code(StrEnum):
    """Why nothing changed. Compare by identity."""

    # absent
    NOT_FOUND = "not found"
    UNKNOWN_PROCESS = "unknown process"
    UNKNOWN_RUN = "unknown run"
    UNKNOWN_STEP = "unknown step"
    NO_STEP = "no step"
    # conflicts with the present state
    EXISTS = "exists"
    CONFLICT = "conflict"
    ENDED = "ended"
    NOT_ENDED = "not ended"
    STEP_ENDED = "step ended"
    NOTHING_TO_RETRY = "nothing to retry"
    NOT_PAUSED = "not paused"
    GUARD = "guard"
    # the request itself is wrong
    INVALID = "invalid"
    EXPRESSION = "expression"
    TOO_LARGE = "too large"
    # not now
    BUSY = "busy"
    STOPPING = "stopping"
    UNAVAILABLE = "unavailable"
    # ours
    INTERNAL = "internal"


class PeltonError(Exception):
    """Something a caller asked for cannot be done; nothing changed.

    `field`: the part of the request that it is about, "" for the whole. `trace`: how a decision was reached, step by step.
    """

    def __init__(self, code: Code, message: str, field: str = "", trace: Sequence[Any] = ()) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.field = field
        self.trace = list(trace)


class Stopping(PeltonError):
    """The server takes no more work, because it is about to end."""

    def __init__(self) -> None:
        super().__init__(Code.STOPPING, "the server is stopping; try again on another node or in a moment")
