"""Names as the store keeps them: queues by namespace, and the kind of the names that are idempotency keys."""

from __future__ import annotations

KEY_KIND = "key"  # of idempotency keys among the names of a run
EXPECTED = "expected"  # arm of the timer that ends a placeholder run
SEPARATOR = "\x1f"  # between a namespace and a queue: no name has it


def queue_of(ns: str, queue: str) -> str:
    """The queue's name in the store: namespaces other than the default one have their own; the server's own are shared."""
    prefix = ns + SEPARATOR
    if ns == "default" or not queue or queue.startswith(("@", prefix)):
        return queue
    return prefix + queue


def shown_queue(queue: str) -> str:
    """The queue's name as callers of its namespace know it."""
    return queue.rpartition(SEPARATOR)[2]
