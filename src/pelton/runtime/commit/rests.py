"""What one unit of work rests on beside the runs that it touches: where other servers write to the same store, and where what it
goes by is on its way there; and names that no run may have, whoever writes."""

from __future__ import annotations

from pelton.runtime.commit.group_builder import GroupBuilder
from pelton.store.group import Lookup


class Rests:
    """Conditions of a unit's group. `bool`: whether there are any."""

    __slots__ = ("_all", "defined", "handlers", "lookups", "names", "pauses", "records")

    def __init__(self) -> None:
        self.handlers: dict[str, int] = {}  # namespace → counter of the handlers that were asked
        self.defined: dict[str, int] = {}  # namespace → counter of the definitions that were bound
        self.records: dict[int, int] = {}  # run → since when the record that was found is good
        self.lookups: dict[Lookup, int] = {}  # attribute → revision of what was found by it
        self.names: set[tuple[str, str, str, str]] = set()  # that no live run has
        self.pauses: dict[tuple[str, str], int] = {}  # namespace and process → epoch of the pause that was asked for
        self._all = (self.handlers, self.defined, self.records, self.lookups, self.names, self.pauses)

    def __bool__(self) -> bool:
        return any(self._all)

    def clear(self) -> None:
        if any(self._all):
            for each in self._all:
                each.clear()

    def fill(self, builder: GroupBuilder) -> None:
        group = builder.group
        for names, mine in ((self.handlers, group.handlers), (self.defined, group.defined)) if self else ():
            mine.extend(each for each in names.items() if each not in mine)
        if self.records:
            group.records.extend(self.records.items())
        if self.lookups:
            group.lookups.extend(self.lookups.items())
        for name, epoch in self.pauses.items():
            group.pause_epochs.append((*name, epoch))
        if self.names:
            group.unnamed.extend(self.names)
