"""The stored rows that the runtime's callers may see, re-exported so that no language imports the store."""

from pelton.store.rows import DeadLetter, DefinitionRow, Delivery, EventRow, HeldRow, KeptRow, LogRow, PauseRow, ResultRow

__all__ = ["DeadLetter", "DefinitionRow", "Delivery", "EventRow", "HeldRow", "KeptRow", "LogRow", "PauseRow", "ResultRow"]
