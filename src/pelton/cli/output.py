"""What the commands print: lines for people, or JSON for programs. An error is one line on standard error."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NoReturn

import click
from msgspec import to_builtins

from pelton.client.errors import ClientError, RequestRefused

FAILED = 1  # exit code: the request was refused, or failed
MISUSED = 2  # exit code: invalid options or files (click uses the same)
UNREACHABLE = 3  # exit code: no server responded
LOST = 4  # exit code: the server ended because it could not go on


def fail(message: str, code: int = FAILED) -> NoReturn:
    click.echo(f"pelton: {' '.join(message.split())}", err=True)
    sys.exit(code)


def fail_client(error: ClientError) -> NoReturn:
    if isinstance(error, RequestRefused):
        fail(str(error), FAILED)
    fail(f"{error}; is the server running? Start it with `pelton serve`, or set --server URL", UNREACHABLE)


def print_json(value: Any) -> None:
    """Prints a struct or plain data as one line of JSON."""
    click.echo(json.dumps(to_builtins(value), ensure_ascii=False, sort_keys=False))


def moment(milliseconds: int) -> str:
    if not milliseconds:
        return "-"
    return datetime.fromtimestamp(milliseconds / 1000).astimezone().isoformat(sep=" ", timespec="milliseconds")[:23]


COLOURS = {
    "RUNNING": "green",
    "PAUSED": "yellow",
    "COMPLETED": "blue",
    "FAILED": "red",
    "TIMED_OUT": "red",
    "TERMINATED": "magenta",
    "on": "green",
    "off": "yellow",
}
"""Of states, where they are printed to a terminal."""


def colours() -> bool:
    """Whether standard output is a terminal, and nobody has asked for no colours."""
    return not os.environ.get("NO_COLOR") and sys.stdout.isatty()


def coloured(text: str) -> str:
    """A state in its colour on a terminal, unless NO_COLOR is set; elsewhere the text alone."""
    colour = COLOURS.get(text.strip())
    if colour is None or not colours():
        return text
    return click.style(text, fg=colour)


def table(head: Sequence[str], rows: Sequence[Sequence[Any]], state: int = -1) -> None:
    """Prints columns as wide as their widest cell; the last one is not padded. `state`: the column that has states."""
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [max([len(title), *(len(row[at]) for row in cells)]) for at, title in enumerate(head)]
    for number, row in enumerate([list(head), *cells]):
        padded = [value.ljust(width) for value, width in zip(row, widths, strict=True)]
        if padded:
            padded[-1] = padded[-1].rstrip()
        if number and state >= 0:
            padded[state] = coloured(padded[state])
        click.echo("  ".join(padded).rstrip())


def progress(label: str, length: int, quiet: bool) -> Any:
    """A bar on standard error, for what takes time: shown on a terminal only. Use as a context manager; `update(steps)`."""
    hidden = quiet or not sys.stderr.isatty()
    return click.progressbar(length=length, label=label, file=sys.stderr, hidden=hidden)


def shortened(value: Any, most: int = 100) -> str:
    """Data on one line, cut to a length, without control characters."""
    text = clean(value)
    return text if len(text) <= most else text[: most - 1] + "…"


def _cell(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = "".join(character if character.isprintable() else "\ufffd" for character in text)  # no escape codes from outside
    return text if len(text) <= 100 else text[:99] + "…"


def clean(text: Any) -> str:
    """Untrusted text on one line, without control characters."""
    return _cell(text if isinstance(text, str) else json.dumps(text, ensure_ascii=False))
