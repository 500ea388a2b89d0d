"""The demo, as a newcomer runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pelton.cli.demo import examples

pytest_plugins = ["tests.sqs_server"]


def demo(tmp_path: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pelton.cli", "demo", *arguments],
        cwd=tmp_path,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )


@pytest.mark.slow
def test_the_demo_runs_through(tmp_path: Path) -> None:
    done = demo(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    for says in ("COMPLETED after", "handler start_event_testing: fired", "handler start_event_testing: false", "still one run"):
        assert says in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_demo_runs_through_a_real_queue(tmp_path: Path, sqs_endpoint: str) -> None:
    done = demo(tmp_path, "--sqs-endpoint", sqs_endpoint)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the queue sqs:pelton-demo-" in done.stdout


def test_a_server_that_cannot_start_fails_the_demo_with_a_reason(tmp_path: Path) -> None:
    done = demo(tmp_path, PELTON_DURABILITY="odd")
    assert done.returncode == 1
    assert "the demo failed" in done.stderr
    assert "PELTON_DURABILITY" in done.stderr


def test_the_examples_are_understood() -> None:
    assert [definition.name for definition in examples()] == ["event_testing", "start_event_testing", "complete_task_event"]
    assert "sqs:queue" in str(examples("sqs:queue")[0].requests)
