"""SQL from files: blocks that start with `-- name: x`, one statement each."""

from __future__ import annotations

from pathlib import Path

HERE = Path(__file__).parent


def load(file: str) -> dict[str, str]:
    """Name → statement, without comments and line breaks. Raises ValueError, naming file and block, if a name is used twice."""
    found: dict[str, str] = {}
    for block in (HERE / file).read_text("utf-8").split("-- name: ")[1:]:
        name, _, text = block.partition("\n")
        lines = (line.split("-- ")[0].strip() for line in text.splitlines())
        if name in found:
            raise ValueError(f"{file} has two blocks named {name!r}")
        found[name.strip()] = " ".join(line for line in lines if line)
    return found
