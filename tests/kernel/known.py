"""What the random stories leave out, in one place: it is drawn by no strategy, done by no action and asked of no run."""

from __future__ import annotations

# Feature → what goes wrong.
KNOWN: dict[str, str] = {}


def on(feature: str) -> bool:
    return feature not in KNOWN
