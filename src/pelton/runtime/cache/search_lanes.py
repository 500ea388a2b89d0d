"""SearchLanes: the processes that events search, while such an event's group is not committed yet.

An event that searches rests on all records of a process: also on those that it did not find. Were its group lost, and performed
again after a later event had changed some of them, it would find what it must not. So from a search on, events for the process
share one group of each batch, and a batch with such a group is not sent before that is written which it is built on. When one is
lost, so are all behind it, and all are performed again in their order of arrival.
"""

from __future__ import annotations

from pelton.runtime.cache.shared import Shared

LaneName = tuple[str, str]  # namespace, process


class SearchLane(Shared):
    __slots__ = ("name",)

    def __init__(self, name: LaneName) -> None:
        super().__init__()
        self.name = name


class SearchLanes:
    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[LaneName, SearchLane] = {}

    def get(self, name: LaneName, searched: bool) -> SearchLane | None:
        """The lane of a process, if an event has searched it and is not committed yet, or `searched` now."""
        lane = self._known.get(name)
        if lane is None and searched:
            lane = self._known[name] = SearchLane(name)
        return lane if lane is not None and (searched or lane.pins) else None

    def settle(self, lane: SearchLane) -> None:
        """Called when no batch holds the lane any more."""
        if self._known.get(lane.name) is lane:
            del self._known[lane.name]
