"""How long finished data is kept, and the small steps in which it goes.

A `Keep` is a limit on age, on number, or both; whichever is reached first decides. The runtime asks the store for one `Sweep` at
a time: the oldest rows of one kind beyond the limit, at most `limit` of them, in a transaction of its own.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple, get_args

Kind = Literal["events", "ids", "runs", "dead_letters", "results", "logs", "bookmarks"]
KINDS: tuple[Kind, ...] = get_args(Kind)

UNITS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 7 * 86_400_000, "y": 365 * 86_400_000}
MOST_AGE = 100 * UNITS["y"]
MOST_ROWS = 10**12

_AGE = re.compile(r"([0-9]{1,15})([smhdwy])")
_ROWS = re.compile(r"[0-9]{1,13}")


class Keep(NamedTuple):
    """`age`: milliseconds, `rows`: a number; None = without that limit. Neither: kept for ever."""

    age: int | None = None
    rows: int | None = None

    @property
    def nothing(self) -> bool:
        return self.age == 0 or self.rows == 0

    @property
    def forever(self) -> bool:
        return self.age is None and self.rows is None


def parse_keep(text: str) -> Keep:
    """An age such as `30d` (units s, m, h, d, w, y), a number such as `1000000`, both as `30d,1000000`, `0` for none, or
    `forever`. Raises ValueError saying what is wrong."""
    if text.strip() == "forever":
        return Keep()
    age: int | None = None
    rows: int | None = None
    for part in text.split(","):
        word = part.strip()
        if found := _AGE.fullmatch(word):
            if age is not None:
                raise ValueError("it has two ages")
            age = int(found[1]) * UNITS[found[2]]
            if age > MOST_AGE:
                raise ValueError("an age may be at most 100y")
        elif _ROWS.fullmatch(word):
            if rows is not None:
                raise ValueError("it has two numbers")
            rows = int(word)
            if rows > MOST_ROWS:
                raise ValueError(f"a number may be at most {MOST_ROWS}")
        else:
            raise ValueError(f"{word!r} is neither an age nor a number")
    return Keep(age, rows)


def keep_text(keep: Keep) -> str:
    """The setting as people write it; `parse_keep` reads it back."""
    parts = []
    if keep.age is not None:
        unit = next((u for u in ("d", "h", "m", "s") if keep.age % UNITS[u] == 0), "s")
        parts.append(f"{keep.age // UNITS[unit]}{unit}")
    if keep.rows is not None:
        parts.append(str(keep.rows))
    return ",".join(parts) or "forever"


class Sweep(NamedTuple):
    """Rows that go: those from before `before` (epoch milliseconds; 0 = no limit on age; of events and ids those with keys
    below `below`), and the oldest of more than `rows` (-1 = no limit on their number); at most `limit`.

    `remember`: with events, whether their ids stay known, so that a repeat is still recognised. `used`: with bookmarks, the
    (namespace, source) pairs in use: only what belongs to others grows old."""

    kind: Kind
    now: int
    before: int
    below: int
    rows: int
    limit: int
    remember: bool = True
    used: tuple[tuple[str, str], ...] = ()


class Swept(NamedTuple):
    """`removed`: rows (of runs: runs). `more`: there may be more to remove at once. `runs`: keys of the runs that went.
    `kept`: how many of the kind are left; -1 = not counted."""

    removed: int
    more: bool
    runs: tuple[int, ...] = ()
    kept: int = -1
