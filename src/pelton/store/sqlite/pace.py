"""How long one step in the removal of old data may take in the writer process, which makes it between commits.

A step gets a share of the time since the step before: a quarter, and nothing for which a commit would wait noticeably. While the
steps of a kind leave more to be removed, one after another, more comes than goes: then the share grows, up to a half, and the
steps with it. So removal keeps pace with what comes, and is gentle where little comes.
"""

from __future__ import annotations

import time
from collections.abc import Callable

SHARE, SHARE_MOST = 0.25, 0.5  # of the writer's time
LEAST, USUAL, MOST = 0.002, 0.008, 0.024  # seconds of one step: at least, at most, and at most when removal lags far behind
FAR = 40  # steps in a row that left more, after which share and step are as large as they get


class Pace:
    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock`: seconds."""
        self._clock = clock
        self._ended = self._until = clock()
        self._behind: dict[str, int] = {}  # by kind: steps in a row that left more

    def begin(self) -> None:
        """A step begins."""
        far = min(1.0, max(self._behind.values(), default=0) / FAR)
        share = SHARE + (SHARE_MOST - SHARE) * far
        now = self._clock()
        time_due = (now - self._ended) * share / (1 - share)
        self._until = now + min(max(time_due, LEAST), USUAL + (MOST - USUAL) * far)

    def over(self) -> bool:
        """Whether the step has had its time."""
        return self._clock() >= self._until

    def end(self, kind: str, more: bool) -> None:
        """The step has ended. `more`: of its kind there is more to remove."""
        self._ended = self._clock()
        if more:
            self._behind[kind] = self._behind.get(kind, 0) + 1
        else:
            self._behind.pop(kind, None)
