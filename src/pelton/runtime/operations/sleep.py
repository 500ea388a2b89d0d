"""A durable delay as the work of a step.

The instant at which it ends is computed when the item is first handed out, and stored as the step's output, so that a restart
does not extend it. Until then the item is put back, to be handed out again at that instant.
"""

from __future__ import annotations

from pelton.kernel.model.signals import Report
from pelton.runtime.api import WorkItem

UNTIL = "until"  # the member of the step's output: epoch milliseconds


def end_of_sleep(item: WorkItem) -> int | None:
    """When a sleep that has started ends (epoch milliseconds); None for one that has not started."""
    output = item.step.output
    return output.get(UNTIL) if isinstance(output, dict) else None


def sleep_until(until: int, now: int) -> Report | None:
    """The report that puts the item back until the instant; None if that has passed. Both in epoch milliseconds."""
    if until <= now:
        return None
    return Report(status=None, output={UNTIL: until}, again_after=until - now)
