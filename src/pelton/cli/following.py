"""Going on where a server restarts: `--follow` asks again until there is an answer."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import click

from pelton.client.errors import RequestRefused, Unreachable

T = TypeVar("T")

FIRST_PAUSE = 0.2  # seconds; doubled each time
LONGEST_PAUSE = 5.0


def persistent(ask: Callable[[], T]) -> T:
    """The answer, however long the server is away. Says once on standard error that it is, and once that it is back. Raises
    RequestRefused for what another try would not cure."""
    pause = FIRST_PAUSE
    while True:
        try:
            answer = ask()
        except (Unreachable, RequestRefused) as error:
            if isinstance(error, RequestRefused) and not error.retryable:
                raise
            if pause == FIRST_PAUSE:
                click.echo(f"pelton: {' '.join(str(error).split())}; trying again until the server answers", err=True)
            time.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)
            continue
        if pause != FIRST_PAUSE:
            click.echo("pelton: the server is back", err=True)
        return answer
