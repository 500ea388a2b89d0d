"""The stored rows that callers of the runtime get to see. They come from here, so that no language needs to know the store."""

from pelton.store.rows import DeadLetter, DefinitionRow, Delivery, EventRow, HeldRow, LogRow, ResultRow

__all__ = ["DeadLetter", "DefinitionRow", "Delivery", "EventRow", "HeldRow", "LogRow", "ResultRow"]
