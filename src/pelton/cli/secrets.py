"""`pelton secrets`: setting, listing and removing secrets of a running server, and encrypting all of them with a new key."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import click

from pelton.cli.data import DATA, store_file
from pelton.cli.look import connect
from pelton.cli.options import remote
from pelton.cli.output import FAILED, MISUSED, clean, fail, fail_client, moment, print_json, table
from pelton.client.errors import ClientError
from pelton.errors import PeltonError
from pelton.server.config import ConfigError, load
from pelton.store.port import StoreBusy, StoreFailed

NAME = click.argument("name", metavar="NAME")


@click.group()
def secrets() -> None:
    """Secrets: what tasks and connections name, and only they get the value of."""


@secrets.command("set")
@NAME
@remote
@click.option("--source", default="", metavar="SOURCE",
              help="Where the server reads the value whenever it is needed: env:NAME (the variable PELTON_SECRET_NAME of its "
                   "environment) or file:PATH (below --secrets-dir).")  # fmt: skip
def set_(name: str, server: str, key: str, as_json: bool, source: str) -> None:
    """Set a secret. The value is asked for, or read from standard input; a line end at its end is left out."""
    value = "" if source else _value()
    with connect(server, key) as client:
        try:
            found = client.set_secret(name, value, source)
        except ClientError as error:
            fail_client(error)
    print_json(found) if as_json else click.echo(f"{clean(found.name)} is set")


def _value() -> str:
    if sys.stdin.isatty():
        value: str = click.prompt("Value", hide_input=True, confirmation_prompt=True)
        return value
    return sys.stdin.read().removesuffix("\n").removesuffix("\r")


@secrets.command("list")
@remote
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1, 1000), help="Maximum number to list.")
@click.option("--after", default="", metavar="NAME", help="Only secrets with later names.")
def list_(server: str, key: str, as_json: bool, limit: int, after: str) -> None:
    """List secrets: when each was set and by whom, never its value."""
    with connect(server, key) as client:
        try:
            page = client.secrets(after, limit)
        except ClientError as error:
            fail_client(error)
    if as_json:
        print_json(page)
        return
    if not page.secrets:
        click.echo("no secrets")
        return
    rows = [[each.name, moment(each.set_at), each.set_by or "-", each.source or "encrypted"] for each in page.secrets]
    table(["name", "set", "by", "kept"], rows)
    if page.after:
        click.echo(f"more: --after {clean(page.after)}")


@secrets.command()
@NAME
@remote
def remove(name: str, server: str, key: str, as_json: bool) -> None:
    """Remove a secret. Steps that need it fail, with a reason that names it."""
    with connect(server, key) as client:
        try:
            found = client.remove_secret(name)
        except ClientError as error:
            fail_client(error)
    print_json(found) if as_json else click.echo(f"{clean(found.name)} is removed")


@secrets.command()
@click.option("--old-key-file", "old", required=True, type=click.Path(path_type=Path), metavar="FILE",
              help="The key that the secrets are encrypted with.")  # fmt: skip
@click.option("--secrets-key-file", "new", default="", metavar="FILE",
              help="The new key.  [env: PELTON_SECRETS_KEY_FILE, or the key itself in PELTON_SECRETS_KEY]")  # fmt: skip
@DATA
def rotate(old: Path, new: str, data: Path | None) -> None:
    """Encrypt all secrets with a new key. The server must be stopped; start it with the new key.

    If this is interrupted, call it again: what has been done stays done. The values of the secrets stay the same.
    """
    from pelton.runtime.secrets.vault import rotate as rotated  # noqa: PLC0415 - only this command needs the store
    from pelton.server.ends import secrets_cipher  # noqa: PLC0415
    from pelton.store.sqlite.store import SqliteStore  # noqa: PLC0415

    path = store_file(data)
    try:
        former = secrets_cipher(str(old), {})
        cipher = secrets_cipher(new or load({}, os.environ).secrets_key_file, os.environ)
    except ConfigError as error:
        fail(str(error), MISUSED)
    if cipher is None or former is None:
        fail("there is no new key: give --secrets-key-file FILE, or PELTON_SECRETS_KEY in the environment", MISUSED)
    if not path.exists():
        fail(f"{path} does not exist: give the server's directory as --data", FAILED)

    async def work() -> tuple[int, int]:
        store = SqliteStore(path)
        await store.open()
        try:
            return await rotated(store, [former], cipher)
        finally:
            await store.close()

    try:
        sealed, already = asyncio.run(work())
    except (StoreBusy, StoreFailed) as error:
        fail(f"{error}; is the server running? Stop it first", FAILED)
    except PeltonError as error:
        fail(error.message, FAILED)
    click.echo(f"{sealed} secrets encrypted with the new key, {already} had been before")
