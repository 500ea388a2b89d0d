"""What every test shares: workers, the event loop of production, and randomness that is fixed unless a run explores.

A plain run is the same every time: hypothesis takes the same examples, and `rng` has a fixed seed. To look elsewhere:

    uv run pytest --hypothesis-profile=explore tests/kernel

takes other examples, ten times as many (`tests.exploring.examples`), keeps those that fail in .hypothesis, and draws a seed for
`rng`, which the header shows. What it finds becomes an `@example`, or a test with its own name.
"""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.database import DirectoryBasedExampleDatabase
from hypothesis.internal.conjecture import providers
from tests.exploring import EXPLORE, FACTOR

pytest_plugins = ["tests.sqs_server"]

SEED = "PELTON_TEST_SEED"
MOST_WORKERS = 4  # each starts its own servers, and collects all tests
EXPLORE_SECONDS = 1_800  # of one test, instead of `timeout` in pyproject.toml
FEWEST_FILES = 12  # fewer are run sooner than a worker has started

# No deadline, and no complaint of slowness: a shared machine is slow now and then, and time is bounded by pytest's own limit.
# The blob printed on a failure repeats that example on any machine.
always: dict[str, Any] = {"deadline": None, "print_blob": True, "suppress_health_check": [HealthCheck.too_slow]}
finds = DirectoryBasedExampleDatabase(Path(__file__).parents[1] / ".hypothesis" / "examples")
settings.register_profile("fixed", max_examples=100, derandomize=True, database=None, **always)
settings.register_profile(EXPLORE, max_examples=100 * FACTOR, derandomize=False, database=finds, **always)
settings.load_profile("fixed")


def explores(config: pytest.Config) -> bool:
    return bool(config.getoption("--hypothesis-profile") == EXPLORE)


@pytest.hookimpl(tryfirst=True)  # before pytest-timeout reads its option
def pytest_configure(config: pytest.Config) -> None:
    if explores(config) and config.option.timeout is None:
        config.option.timeout = EXPLORE_SECONDS
    # In the environment, so that the workers of pytest-xdist, and the servers that tests start, have the same ones.
    os.environ.setdefault(SEED, str(secrets.randbits(32)) if explores(config) else "1")
    if not explores(config):
        os.environ.setdefault("PYTHONHASHSEED", "1")  # the order of sets
        # Else it tries numbers and texts that it finds in the modules loaded so far, which depend on the tests before.
        providers._get_local_constants = lambda: providers._local_constants


def pytest_report_header(config: pytest.Config) -> str:
    if explores(config):
        return f"randomness: explores; {SEED}={os.environ[SEED]} repeats what is not hypothesis"
    return f"randomness: fixed; --hypothesis-profile={EXPLORE} looks elsewhere"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What was skipped has not been tested: said last, in red, with the reasons."""
    reasons = Counter(str(report.longrepr[2]) for report in terminalreporter.stats.get("skipped", []))
    if reasons:
        terminalreporter.section("NOT TESTED", red=True, bold=True)
        for reason, count in reasons.items():
            terminalreporter.line(f"{count} skipped: {reason}", red=True)


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """One for each core for many files; none for few, and where someone wants to look on."""
    option = config.option
    if option.collectonly or option.keyword or option.capture == "no" or option.trace or getattr(option, "lf", False):
        return 0
    if any("::" in argument for argument in config.args):
        return 0
    paths = [config.invocation_params.dir / argument for argument in config.args]
    files = sum(len(list(path.rglob("test_*.py"))) if path.is_dir() else 1 for path in paths)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return 0 if files < FEWEST_FILES or cores == 1 else min(cores, MOST_WORKERS)


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
