"""A durable delay as the work of a step.

The instant at which it ends is worked out when the item is first handed out, and kept as the step's output: a restart does not
make it longer. Until then the item is put back, to be handed out again when that instant has come.
"""

from __future__ import annotations

from pelton.kernel.model.signals import Report
from pelton.runtime.api import WorkItem

UNTIL = "until"  # the member of the step's output: epoch milliseconds


def end_of_sleep(item: WorkItem) -> int | None:
    """The instant at which a sleep that has begun ends (epoch milliseconds); None for one that has not."""
    output = item.step.output
    return output.get(UNTIL) if isinstance(output, dict) else None


def sleep_until(until: int, now: int) -> Report | None:
    """The report that puts the item back until the instant; None when it has come. Both in epoch milliseconds."""
    if until <= now:
        return None
    return Report(status=None, output={UNTIL: until}, again_after=until - now)
