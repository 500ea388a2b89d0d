"""The README offers two commands to a newcomer, and CI runs the one that tests."""

from __future__ import annotations

import os
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DEMO = "pip install uv && uv run pelton demo"
TESTS = "pip install uv && uv run pytest"


def test_the_readme_has_exactly_two_commands() -> None:
    shell = re.findall(r"^```sh\n(.*?)^```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    assert [block.strip() for block in shell] == [DEMO, TESTS]


def test_ci_runs_both_commands() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    lines = script.read_text().splitlines()
    assert f'demo_command="{DEMO.removeprefix("pip install uv && ")}"' in lines
    assert f'test_command="{TESTS.removeprefix("pip install uv && ")}"' in lines


def test_relative_links_lead_somewhere() -> None:
    for document in [ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\((?!https?://|#|mailto:)([^)#\s]+)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.relative_to(ROOT)} links to {target}"
