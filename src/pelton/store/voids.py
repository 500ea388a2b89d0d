"""The step numbers that rewinds made void, which every store must skip when it reads a run's ended steps."""

from __future__ import annotations

from collections.abc import Sequence


class Voids:
    """The ranges of void numbers, sorted and merged."""

    __slots__ = ("ranges",)

    def __init__(self, ranges: Sequence[tuple[int, int]]) -> None:
        merged: list[tuple[int, int]] = []
        for low, high in sorted((low, high) for low, high in ranges if low < high):
            if merged and low <= merged[-1][1]:
                merged[-1] = merged[-1][0], max(high, merged[-1][1])
            else:
                merged.append((low, high))
        self.ranges = merged

    def low(self, n: int) -> int | None:
        """The start of the void range that contains n; None if n is not void."""
        for low, high in self.ranges:
            if low <= n < high:
                return low
        return None

    def gaps(self, low: int, high: int) -> list[tuple[int, int]]:
        """The non-void parts of [low, high), ascending."""
        left: list[tuple[int, int]] = []
        for start, end in self.ranges:
            if start > low:
                left.append((low, min(start, high)))
            low = max(low, end)
            if low >= high:
                break
        if low < high:
            left.append((low, high))
        return [(start, end) for start, end in left if start < end]
