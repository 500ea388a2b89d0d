"""Variables that runs are found by: what of them has changed follows from what a draft has written.

A process names its searchable variables; those of every thread count. The texts stay when the run ends, so that it is found then
too. Cost: one read for each searchable variable that is written; none for a process that names none.
"""

from __future__ import annotations

from typing import Any

from msgspec import json

from pelton.kernel.machine.draft import Draft
from pelton.kernel.model.transition import UNSET, MakeFindable

PREFIX = "var:"  # of the names of such attributes, apart from those of records
END = "\x1f"  # after the value's text and before the thread's number: two threads may have the same value
MOST = 250  # characters of a value that are searched


def search_text(value: Any) -> str:
    """A value as it is searched: a text as it is, anything else as JSON."""
    text = value if isinstance(value, str) else json.encode(value, order="sorted").decode()
    return text.replace(END, " ")[:MOST] + END


def settle_search(draft: Draft) -> None:
    """Adds the effects by which the run is found under its new values."""
    searchable = draft.process.searchable
    for (no, name), value in draft.variables.items():
        if name not in searchable:
            continue
        known = None if draft.created or no >= draft.first_thread else draft.reads.var(no, name)
        old = search_text(known[0]) + str(no) if known is not None else None
        new = search_text(value) + str(no) if value is not UNSET else None
        if old == new:
            continue
        if old is not None:
            draft.effects.append(MakeFindable(PREFIX + name, old, False))
        if new is not None:
            draft.effects.append(MakeFindable(PREFIX + name, new, True))
