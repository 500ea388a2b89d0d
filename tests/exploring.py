"""How many examples a property takes, by default and when a run explores (see tests/conftest.py)."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, settings

EXPLORE = "explore"
FACTOR = 10


def examples(count: int, *quiet: HealthCheck, **more: Any) -> settings:
    """Settings of a test: so many examples, ten times as many when exploring.

    `quiet`: what hypothesis is not to complain of. `more` as `hypothesis.settings` takes it.
    """
    factor = FACTOR if (settings.get_current_profile_name() or "").startswith(EXPLORE) else 1
    return settings(max_examples=count * factor, suppress_health_check=[HealthCheck.too_slow, *quiet], **more)
