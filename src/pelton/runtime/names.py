"""Names: queues by namespace as stored, the kind of name used for idempotency keys, and what the texts of events may contain."""

from __future__ import annotations

import re

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


# As CloudEvents has it: control characters, surrogates, and the code points that are never characters.
_DISALLOWED = re.compile(
    "[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef"
    + "".join(chr((plane << 16) + last) for plane in range(17) for last in (0xFFFE, 0xFFFF))
    + "]"
)


def disallowed(text: str) -> int | None:
    """The place of the first character that an event's id, source, type and subject may not have; None if all are allowed."""
    found = _DISALLOWED.search(text)
    return None if found is None else found.start()
