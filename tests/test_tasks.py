"""The developer's tasks: each is in the manual, CI runs the same ones, and the interpreters that they use are those found."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

from tests import pythons

ROOT = Path(__file__).resolve().parent.parent
TASKS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["poe"]["tasks"]


def test_every_task_says_what_it_does() -> None:
    assert not [name for name, task in TASKS.items() if not task.get("help")]


def test_every_task_is_in_the_manual() -> None:
    manual = (ROOT / "docs" / "contributing.md").read_text()
    assert not [name for name in TASKS if f"`poe {name}`" not in manual]


def test_ci_runs_tasks_that_there_are() -> None:
    lines = (ROOT / ".ci" / "run").read_text().splitlines()
    used = [line.removeprefix("check uv run poe ").split()[0] for line in lines if line.startswith("check uv run poe ")]
    assert {"lint", "types"} <= set(used) <= TASKS.keys()


def test_this_python_is_found_and_no_other_in_its_place() -> None:
    own = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert own in pythons.supported()
    assert pythons.find(own) == Path(sys.executable)
    assert pythons.find("3.0") is None
