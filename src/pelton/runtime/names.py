"""Names as stored: queues by namespace, and the kind of name used for idempotency keys."""

from __future__ import annotations

from pelton.runtime.caller import NAMESPACE

KEY_KIND = "key"  # of idempotency keys among the names of a run
EXPECTED = "expected"  # arm of the timer that ends a placeholder run
SEPARATOR = "\x1f"  # between a namespace and a queue: no namespace has it


def queue_of(ns: str, queue: str) -> str:
    """The queue's name in the store: it starts with the namespace. Exceptions: the server's own queues, which all namespaces
    share, and those of the default namespace, unless they look like another's. A name in the store's form is unchanged."""
    prefix = ns + SEPARATOR
    if not queue or queue.startswith(("@", prefix)) or (ns == NAMESPACE and SEPARATOR not in queue):
        return queue
    return prefix + queue


def shown_queue(queue: str) -> str:
    """The queue's name as shown to callers in its namespace."""
    return queue.partition(SEPARATOR)[2] or queue
