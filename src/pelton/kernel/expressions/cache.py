"""Compiled forms that are remembered while they are in use, and compiled again when they are needed later.

A compiled form is many times the size of its source: a handler's condition takes some 6 kB for 40 characters. So objects that may
be numerous keep the source and ask for the form. The latest forms are remembered, large ones apart, so that a few of those
neither crowd out all others nor fill the memory.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TypeVar

V = TypeVar("V")

LARGE = 500  # characters
SMALL_KEPT = 4_096
LARGE_KEPT = 64


def remembered(make: Callable[[str], V], large_from: int = LARGE) -> Callable[[str], V]:
    """`make`, remembering its latest answers by their source. What it raises is not remembered. `large_from`: characters beyond
    which a source is a large one."""
    small, large = lru_cache(SMALL_KEPT)(make), lru_cache(LARGE_KEPT)(make)
    return lambda source: small(source) if len(source) <= large_from else large(source)
