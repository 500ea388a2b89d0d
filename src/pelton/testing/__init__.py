"""What tests of Pelton, and of programs built on it, stand on: a store in memory, and stores that misbehave on purpose.

Called by tests only: nothing in Pelton imports it. May import every other room.
"""

from pelton.store.memory.store import MemoryStore
from pelton.testing.losing_store import LosingStore, losing

__all__ = ["LosingStore", "MemoryStore", "losing"]
