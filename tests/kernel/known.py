"""What the random stories leave out, in one place: it is drawn by no strategy, done by no action and asked of no run."""

from __future__ import annotations

# Feature → what goes wrong.
KNOWN: dict[str, str] = {
    # What costs more in a wide run.
    "the end of one of many threads that an end waits for": "A join looks at all its threads when it completes.",
    "a fragment that is compiled once": "The fragment of a dynamic fork is compiled for every signal.",
}


def on(feature: str) -> bool:
    return feature not in KNOWN
