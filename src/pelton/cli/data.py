"""`pelton backup`, `pelton restore` and `pelton check`: a copy of a server's data, the way back to it, and whether data is sound.
They work on the file itself."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import click

from pelton.cli.output import FAILED, MISUSED, fail, print_json, table
from pelton.server.config import ConfigError, load
from pelton.store.port import StoreFailed

DATA = click.option("--data", default=None, type=click.Path(path_type=Path), metavar="DIR",
                    help="Data directory of the server.  [env: PELTON_DATA]  [default: ./pelton-data]")  # fmt: skip


def store_file(data: Path | None) -> Path:
    """The store's file in the data directory that the option, the environment or pelton.toml names."""
    from pelton.store.sqlite.store import FILE  # noqa: PLC0415 - only these commands need it

    try:
        directory = load({"data": data}, os.environ).directory if data is None else data
    except ConfigError as error:
        fail(str(error), MISUSED)
    if directory is None:
        fail("the data is in memory only, so there is no file: give --data, or set the store to sqlite:DIR", MISUSED)
    return directory / FILE


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@DATA
def backup(file: Path, data: Path | None) -> None:
    """Copy a server's data to FILE, which must not exist.

    The server may be running: the copy is of one moment, and nothing waits for it. `pelton restore` goes back to it.
    """
    from pelton.store.sqlite.backup import back_up  # noqa: PLC0415

    source = store_file(data)
    try:
        size = back_up(source, file)
    except StoreFailed as error:
        fail(str(error), FAILED)
    click.echo(f"{file}: {size} bytes, a copy of {source}")


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@DATA
def restore(file: Path, data: Path | None) -> None:
    """Put the backup FILE in the place of a server's data.

    The server must not be running. The backup is copied and verified first. What was there is kept beside it, as
    pelton.db.before-restore.
    """
    from pelton.store.sqlite.restore import restore as put_back  # noqa: PLC0415

    target = store_file(data)
    try:
        done = asyncio.run(put_back(file, target))
    except StoreFailed as error:
        fail(str(error), FAILED)
    click.echo(f"{target}: {done.bytes} bytes, from {file}")
    if done.kept is not None:
        click.echo(f"{done.kept}: what was there before; delete it when it is no longer needed")


@click.command()
@click.argument("file", required=False, type=click.Path(path_type=Path))
@DATA
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
def check(file: Path | None, data: Path | None, as_json: bool) -> None:
    """Verify the backup FILE, or a server's data if none is given.

    Checks that the file is sound and that its rows agree with one another. The server may be running. Exits with 1 if there is a
    problem.
    """
    from pelton.store.sqlite import check as checking  # noqa: PLC0415

    path = file or store_file(data)
    try:
        found = checking.check(path)
    except StoreFailed as error:
        fail(str(error), FAILED)
    if as_json:
        print_json({"file": str(path), **found._asdict(), "sound": not found.problems})
    else:
        if found.rows:
            table(["ROWS", "OF"], [(count, name) for name, count in found.rows.items() if count])
        for problem in found.problems:
            click.echo(problem, err=True)
        if found.note:
            click.echo(found.note, err=True)
        verdict = f"{len(found.problems)} problems" if found.problems else "sound"
        click.echo(f"{path}: {verdict} ({found.bytes} bytes, schema {found.schema})")
    if found.problems:
        raise SystemExit(FAILED)
