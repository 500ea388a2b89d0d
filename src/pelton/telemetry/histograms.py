"""Histograms for hot paths: an observation is a bisection and two additions, a fifth of what a metrics library needs for it.
They are turned into metrics when somebody asks. One thread (the event loop's) observes and reads.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Hashable, Mapping
from typing import Generic, TypeVar

OTHER = "other"  # stands for the values of a label beyond those that are told apart
MOST_VALUES = 100  # of a label whose values users choose

K = TypeVar("K", bound=Hashable)

# Upper bounds, in seconds: of what is done at once, and of what may wait for hours.
DURATIONS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
WAITS = (0.005, 0.025, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 86400.0)
ATTEMPTS = (1.0, 2.0, 3.0, 5.0, 10.0)


class Histogram:
    """`counts`: how many values were at most `bounds[i]` and above the bound before; the last, how many were above all."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...] = DURATIONS) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    @property
    def count(self) -> int:
        return sum(self.counts)


class Histograms(Generic[K]):
    """A histogram for each value of a label, or for each tuple of values. Beyond `most` of them, all others share that of
    `other`."""

    __slots__ = ("_bounds", "_by", "_most", "_other")

    def __init__(self, other: K, bounds: tuple[float, ...] = DURATIONS, most: int = MOST_VALUES) -> None:
        self._bounds = bounds
        self._by: dict[K, Histogram] = {}
        self._most = most
        self._other = other

    def of(self, label: K) -> Histogram:
        found = self._by.get(label)
        if found is not None:
            return found
        if len(self._by) >= self._most and label != self._other:
            return self.of(self._other)
        found = self._by[label] = Histogram(self._bounds)
        return found

    @property
    def by(self) -> Mapping[K, Histogram]:
        return self._by
