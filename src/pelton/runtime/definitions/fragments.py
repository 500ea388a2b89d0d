"""Fragments as this process knows them: what dynamic forks make of a value, compiled once for all runs, steps and signals that
have it. Bounded by number, and by the text of the values; what has not been used for longest goes first.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from typing import Any

from pelton.kernel.expressions.base import Invalid
from pelton.kernel.model.process import Acquired, Fragment, Process
from pelton.kernel.model.reads import FragmentKey, FragmentsKey

FRAGMENTS_KEPT = 1_000
TEXT_KEPT = 16 << 20  # characters


class FragmentCache:
    def __init__(self) -> None:
        self._fragments: OrderedDict[tuple[int, str, str], Fragment | str] = OrderedDict()
        self._text = 0

    def compiled(self, process: Process, node: str, value: str) -> Fragment | str:
        """The nodes that a fork makes of a value (JSON text), or why there are none."""
        key = (process.definition, node, value)
        found = self._fragments.get(key)
        if found is not None:
            self._fragments.move_to_end(key)
            return found
        if process.fragment is None:
            return f"process {process.name!r} cannot fork dynamically"
        try:
            found = process.fragment(node, json.loads(value)).finish()
        except Invalid as error:
            found = error.message
        self._fragments[key] = found
        self._text += len(value)
        while len(self._fragments) > FRAGMENTS_KEPT or (self._text > TEXT_KEPT and len(self._fragments) > 1):
            self._text -= len(self._fragments.popitem(last=False)[0][2])
        return found

    def answer(self, process: Process, key: Any, row: Any) -> Any:
        """What the kernel reads for a key where the store has `row`; rows of other keys stay what they are."""
        if type(key) is FragmentKey:
            fragment = self.compiled(process, row[0], json.dumps(row[1])) if row is not None else ""
            return None if isinstance(fragment, str) else Acquired(fragment, row[2])
        if type(key) is FragmentsKey:
            made = [(n, node, self.compiled(process, node, json.dumps(value))) for n, node, value in row]
            return [(n, node, fragment) for n, node, fragment in made if not isinstance(fragment, str)]
        return row
