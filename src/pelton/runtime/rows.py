"""The stored rows that the runtime's callers may see, and how long they are kept, re-exported so that no language imports the
store."""

from pelton.store.portions import FEW, MANY, next_count
from pelton.store.retention import KINDS as KEEP_KINDS
from pelton.store.retention import Keep, Kind, keep_text, parse_keep
from pelton.store.rows import (
    EVENT_STATES,
    DeadLetter,
    DefinitionRow,
    Delivery,
    EventRow,
    HeldRow,
    KeptRow,
    LogRow,
    PauseRow,
    QueueLimit,
    ResultRow,
    SecretRow,
)
from pelton.store.run_query import RunQuery
from pelton.store.salvage import UNREADABLE

__all__ = [
    "EVENT_STATES",
    "FEW",
    "KEEP_KINDS",
    "MANY",
    "UNREADABLE",
    "DeadLetter",
    "DefinitionRow",
    "Delivery",
    "EventRow",
    "HeldRow",
    "Keep",
    "KeptRow",
    "Kind",
    "LogRow",
    "PauseRow",
    "QueueLimit",
    "ResultRow",
    "RunQuery",
    "SecretRow",
    "keep_text",
    "next_count",
    "parse_keep",
]
