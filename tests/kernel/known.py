"""What the random stories leave out, in one place: it is drawn by no strategy, done by no action and asked of no run."""

from __future__ import annotations

READS_ALL = "Every open row of the run is read."
ROUNDS = "One fact is asked for in each round."

# Feature → what goes wrong.
KNOWN: dict[str, str] = {
    # What costs more in a wide run.
    "an event to one of many waits": READS_ALL,
    "an event with a key to one of many waits": READS_ALL,
    "an event that one wait takes, beside many others": READS_ALL,
    "an event that nobody waits for": READS_ALL,
    "a trigger, beside many other waits": READS_ALL,
    "a variable that one wait reads, beside many others": READS_ALL,
    "the end of one of many threads": READS_ALL,
    "the end of one of many threads that are joined": READS_ALL,
    "the failure of one of many threads that are joined, which is forgiven": READS_ALL,
    "the end of one of many threads that an end waits for": READS_ALL,
    "a report in a thread of many branches that halts": READS_ALL,
    "a report in one of many threads that halt": READS_ALL,
    "a pause of one of many threads": READS_ALL,
    "a fragment that is compiled once": "The fragment of a dynamic fork is compiled for every signal.",
    "a variable that many waits read": ROUNDS,
}


def on(feature: str) -> bool:
    return feature not in KNOWN
