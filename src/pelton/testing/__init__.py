"""Helpers for tests of Pelton and of programs built on it: a server in this process, a store and queues in memory, a clock
that the test controls, and a store that loses races on purpose. `docs/testing.md` shows how to use them.

Called by tests only: nothing in Pelton imports it. May import every other room.
"""

from pelton.store.memory.store import MemoryStore
from pelton.testing.clock import VirtualClock, settle
from pelton.testing.connector import MemoryConnector
from pelton.testing.losing_store import LosingStore, losing
from pelton.testing.server import RunningServer, running_server

__all__ = [
    "LosingStore",
    "MemoryConnector",
    "MemoryStore",
    "RunningServer",
    "VirtualClock",
    "losing",
    "running_server",
    "settle",
]
