"""The `pelton` command."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import click

from pelton import __version__
from pelton.cli.apply import apply
from pelton.cli.completion import completion
from pelton.cli.data import backup, check, restore
from pelton.cli.demo import demo
from pelton.cli.handlers import handlers
from pelton.cli.look import dead_letters, events, explain
from pelton.cli.operations import gc, health, work
from pelton.cli.options import settings
from pelton.cli.output import FAILED, LOST, MISUSED, fail
from pelton.cli.processes import processes
from pelton.cli.run_acts import ACTING, signal, start
from pelton.cli.runs import run, runs
from pelton.cli.secrets import secrets
from pelton.server.config import ConfigError, load, printable


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="pelton")
def main() -> None:
    """Pelton: events in, durable work, events out."""


@main.command()
def version() -> None:
    """Print the version."""
    click.echo(f"pelton {__version__}")


@main.command()
@settings
@click.option("--config", "file", type=click.Path(path_type=Path), default=None, metavar="FILE",
              help="Settings file. Default: pelton.toml in the working directory, if it exists.")  # fmt: skip
@click.option("--print-config", is_flag=True, help="Print the effective settings and exit.")
def serve(file: Path | None, print_config: bool, **given: Any) -> None:
    """Run the server.

    Settings come from the command line, the environment and pelton.toml, in this order of precedence.
    SIGTERM or SIGINT stops the server after it has completed the requests in progress.
    """
    try:
        config = load(given, os.environ, file)
    except ConfigError as error:
        fail(str(error), MISUSED)
    if print_config:
        for name, value in printable(config):
            click.echo(f"{name} = {value}")
        return
    from pelton.server.lifecycle import ServerLost, StartFailed, serve_forever  # noqa: PLC0415 - only this command needs the server

    try:
        serve_forever(config)
    except ServerLost as error:
        fail(str(error), LOST)
    except StartFailed as error:
        fail(str(error), FAILED)
    sys.stderr.flush()


COMMANDS = (
    demo,
    apply,
    events,
    explain,
    dead_letters,
    runs,
    run,
    start,
    signal,
    *ACTING,
    processes,
    handlers,
    work,
    gc,
    health,
    secrets,
    backup,
    restore,
    check,
    completion,
)
for _command in COMMANDS:
    main.add_command(_command)
