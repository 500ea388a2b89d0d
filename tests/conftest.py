"""What every test shares: the event loop of production, and randomness that can be repeated."""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import sys
from collections.abc import Callable, Mapping

import pytest
from hypothesis import settings

pytest_plugins = ["tests.sqs_server"]

SEED = "PELTON_TEST_SEED"

# No deadline: a shared machine is slow now and then, and time is bounded by pytest's own limit. The blob printed on a
# failure repeats that example on any machine. Not derandomized, in CI either: each run looks somewhere else.
settings.register_profile("pelton", deadline=None, print_blob=True, derandomize=False)
settings.load_profile("pelton")


def pytest_configure(config: pytest.Config) -> None:
    # In the environment, so that the workers of pytest-xdist have the same one.
    os.environ.setdefault(SEED, str(secrets.randbits(32)))


def pytest_report_header(config: pytest.Config) -> str:
    return f"randomness: repeat with {SEED}={os.environ[SEED]}"


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    if sys.platform == "win32":
        return {"asyncio": asyncio.new_event_loop}
    import uvloop

    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> random.Random:
    """Randomness that depends on the run's seed and the test's name only, not on which tests ran before."""
    return random.Random(f"{os.environ[SEED]}/{request.node.nodeid}")
