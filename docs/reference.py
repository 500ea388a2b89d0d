"""Writes the pages that are made from the program: docs/cli.md, and the table of options in docs/operations.md.

    uv run python docs/reference.py

`--check` changes nothing, and fails when a page is stale; the tests do that.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from pelton.cli.main import main
from pelton.server.config import OPTIONS

DOCS = Path(__file__).resolve().parent
BEGIN = "<!-- options: written by docs/reference.py -->\n"
END = "<!-- end of options -->\n"


def options_table() -> str:
    lines = ["| Option | Environment | Default | Meaning |", "|---|---|---|---|"]
    for option in OPTIONS:
        default = f"`{option.default}`" if option.default not in {"", (), False} else "off" if option.kind == "flag" else "none"
        meaning = option.help.replace("|", "\\|")
        choices = f" ({', '.join(option.choices)})" if option.choices else ""
        lines.append(f"| `{option.switch}` | `{option.variable}` | {default} | {meaning}{choices} |")
    return "\n".join(lines) + "\n"


def operations() -> str:
    text = (DOCS / "operations.md").read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}{options_table()}{END}{after}"


def commands(command: click.Command, context: click.Context) -> Iterator[tuple[str, str]]:
    """(full name, help text) of a command and all below it."""
    yield context.command_path, command.get_help(context)
    if isinstance(command, click.Group):
        for name in sorted(command.commands):
            inner = command.commands[name]
            yield from commands(
                inner, click.Context(inner, info_name=name, parent=context, max_content_width=110, terminal_width=110)
            )


def cli() -> str:
    root = click.Context(main, info_name="pelton", terminal_width=110, **main.context_settings)
    parts = ["# The command line\n\nWritten by `docs/reference.py` from the program itself.\n"]
    parts += [f"## {name}\n\n```text\n{text}\n```\n" for name, text in commands(main, root)]
    return "\n".join(parts)


def pages() -> dict[Path, str]:
    return {DOCS / "operations.md": operations(), DOCS / "cli.md": cli()}


if __name__ == "__main__":
    stale = [path for path, text in pages().items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    if "--check" in sys.argv:
        sys.exit(f"stale: {', '.join(path.name for path in stale)}; run docs/reference.py" if stale else 0)
    for path in stale:
        path.write_text(pages()[path], encoding="utf-8")
