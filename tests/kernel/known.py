"""What the random stories leave out, in one place: it is drawn by no strategy, done by no action and asked of no run."""

from __future__ import annotations

# Feature → what goes wrong.
KNOWN: dict[str, str] = {
    "variables that fail to evaluate": "A thread whose variables fail to evaluate stays: alive, without a token.",
    "cancel on a halt": "What is cancelled by a halt leaves what is inside it behind: rows of a scope, the thread of a call.",
    "pauses of threads that do not exist": "Pausing a thread that does not exist makes one.",
    "repeating times that are delivered twice": "A repeating time that is delivered twice counts twice.",
    "per-thread handlers that fail": "A join on threads waits for ever when the handler of a failed thread fails.",
    "dynamic forks": "The fragment of a dynamic fork replaces that of another thread or of an earlier iteration.",
    "halts that wait": "A halting thread does not notice that what it let finish has failed or is tried again.",
    "threads below threads that have ended": "A thread whose parent has ended is not halted when the run is paused.",
    "little fuel": "A run that ends in the transition in which its fuel runs out is to be continued even so.",
}


def on(feature: str) -> bool:
    return feature not in KNOWN
