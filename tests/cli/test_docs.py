"""The manual: generated pages are fresh, commands marked for running run, and nothing of the program is left out."""

from __future__ import annotations

import os
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from tests.server.running import fresh

from pelton.cli.main import main
from pelton.server.config import OPTIONS

ROOT = Path(__file__).resolve().parent.parent.parent
DOCS = ROOT / "docs"
BLOCK = re.compile(r"^```(\w+) ?([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_generated_pages_are_fresh() -> None:
    pages = runpy.run_path(str(DOCS / "reference.py"))["pages"]()
    for path, text in pages.items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name} is stale: uv run python docs/reference.py"


def test_every_command_and_option_is_in_the_manual() -> None:
    cli = (DOCS / "cli.md").read_text()
    for name in main.commands:
        assert f"## pelton {name}" in cli
    for option in OPTIONS:
        assert option.switch in cli
        assert option.variable in (DOCS / "operations.md").read_text()


def test_every_piece_of_python_in_the_manual_compiles() -> None:
    pages = [ROOT / "README.md", *DOCS.rglob("*.md")]
    found = [(page, text) for page in pages for kind, _, text in blocks(page) if kind == "python"]
    assert found
    for page, text in found:
        if page.name != "client.md" or not text.lstrip().startswith(("*", "close", "request")):
            compile(text, str(page), "exec")


def blocks(page: Path) -> list[tuple[str, str, str]]:
    return [match.groups() for match in BLOCK.finditer(page.read_text())]  # type: ignore[misc]  # three groups


@pytest.mark.slow
@pytest.mark.parametrize(
    ("page", "told"),
    [
        ("quickstart.md", ("greet_newcomers", "fired")),
        ("tasks.md", ("Checking", "importer")),
        ("client.md", ("[]",)),
        ("testing.md", ("paid: A-17",)),
        ("running.md", ("before-upgrade.db",)),
    ],
)
def test_the_page_works_as_written(tmp_path: Path, page: str, told: tuple[str, ...]) -> None:
    """Files are written, and commands run, in the order of the page; `pelton serve` runs beside them. `told`: what its last
    command says."""
    found = blocks(DOCS / page)
    for started in [text for _, mark, text in found if mark == "run=server"]:
        assert shlex.split(started)[:2] == ["pelton", "serve"]
    process = fresh(tmp_path / "data")
    scripts = Path(sys.executable).parent
    environment = {**os.environ, "PELTON_SERVER": process.address, "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}"}
    output = ""
    try:
        for _, mark, text in found:
            if mark.startswith("file="):
                (tmp_path / mark.removeprefix("file=")).write_text(text)
            elif mark == "run":
                done = subprocess.run(
                    ["sh", "-e", "-c", text],
                    cwd=tmp_path,
                    env=environment,
                    capture_output=True,
                    text=True,
                    timeout=90,
                    check=False,
                )
                assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
                output = done.stdout
        for each in told:
            assert each in output
    finally:
        assert process.stop() == 0
