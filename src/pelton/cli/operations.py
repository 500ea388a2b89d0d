"""`pelton work`, `pelton gc` and `pelton health`: queues of work and who asks for it, what would be removed for its age, and
whether all is well."""

from __future__ import annotations

from collections.abc import Sequence

import click

from pelton.cli.look import connect
from pelton.cli.options import remote
from pelton.cli.output import FAILED, clean, fail, fail_client, moment, print_json, table
from pelton.cli.run_filters import pairs
from pelton.client.errors import ClientError
from pelton.models import QueueView

SHOWN = 5  # workers of a queue


@click.command()
@remote
def work(server: str, key: str, as_json: bool) -> None:
    """List queues of work: how much is ready, how much workers hold, and which workers ask for it and when they last did."""
    with connect(server, key) as client:
        try:
            page = client.queues()
        except ClientError as error:
            fail_client(error)
    if as_json:
        print_json(page)
        return
    if not page.queues:
        click.echo("no queues")
        return
    table(
        ["queue", "ready", "held", "asked for by"], [[each.queue, each.ready, each.held, _pollers(each)] for each in page.queues]
    )
    if page.more:
        click.echo(f"and more than these {len(page.queues)} queues")


def _pollers(queue: QueueView) -> str:
    if not queue.pollers:
        return "nobody since the server started"
    named = [f"{clean(each.worker) or '(without a name)'} at {moment(each.at)}" for each in queue.pollers[:SHOWN]]
    more = len(queue.pollers) - SHOWN
    return ", ".join(named) + (f", and {more} more" if more > 0 else "")


@click.command()
@remote
@click.option("--dry-run", is_flag=True, help="Only show what would go.")
@click.option("--keep", "kept", multiple=True, metavar="KIND=HOW",
              help="Suppose that a kind were kept so, such as runs=7d; else as in the settings. May be repeated.")  # fmt: skip
def gc(server: str, key: str, as_json: bool, dry_run: bool, kept: Sequence[str]) -> None:
    """Show what would be removed now for its age, by kind.

    Kinds are events, ids, runs, dead_letters, results, logs and bookmarks. The server itself removes what is due, once a second.
    """
    if not dry_run:
        raise click.UsageError("the server removes what is due by itself; --dry-run shows what that would be")
    supposed = {name: str(value) for name, value in pairs(kept, "--keep").items()}
    with connect(server, key) as client:
        try:
            found = client.retention(supposed)
        except ClientError as error:
            fail_client(error)
    if as_json:
        print_json(found)
        return
    table(
        ["kind", "kept", "to go"],
        [[each.kind, each.keep, f"{each.due}{' or more' if each.more else ''}"] for each in found.kinds],
    )


@click.command()
@remote
def health(server: str, key: str, as_json: bool) -> None:
    """Ask whether the server can commit: exit code 0 if so, 1 if not, 3 if there is no answer.

    For what looks after a container, among others. Needs no key.
    """
    with connect(server, key) as client:
        try:
            found = client.health()
        except ClientError as error:
            fail_client(error)
    if as_json:
        print_json(found)
    if not found.healthy:
        details = found.details
        reasons = (details.get("detail"), details.get("store", {}).get("unhealthy"), details.get("tasks", {}).get("failure"))
        fail(f"not healthy: {'; '.join(str(each) for each in reasons if each) or 'see --json'}", FAILED)
    if not as_json:
        click.echo("healthy")
