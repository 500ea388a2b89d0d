"""`pelton handlers`: which there are, what they lately decided, and switching them on and off."""

from __future__ import annotations

import click

from pelton.cli.look import connect
from pelton.cli.options import remote
from pelton.cli.output import clean, coloured, fail_client, moment, print_json, table
from pelton.client.errors import ClientError
from pelton.models import HandlerView


@click.group(invoke_without_command=True)
@remote
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1, 1000), help="Maximum number to list.")
@click.option("--after", default="", metavar="NAME", help="Only handlers with later names.")
@click.option("--events", default=1000, show_default=True, type=click.IntRange(0, 10_000),
              help="Of how many of the newest events decisions are counted.")  # fmt: skip
@click.pass_context
def handlers(context: click.Context, server: str, key: str, as_json: bool, limit: int, after: str, events: int) -> None:
    """List handlers of all languages, or switch one on or off.

    How often a handler fired, and what it decided last, is counted from the newest events.
    """
    if context.invoked_subcommand is not None:
        return
    with connect(server, key) as client:
        try:
            page = client.handlers(after, limit, events)
        except ClientError as error:
            fail_client(error)
    if as_json:
        print_json(page)
        return
    if not page.handlers:
        click.echo("no handlers")
        return
    table(
        ["name", "state", "language", "events", "fired", "other", "failed", "last"],
        [_row(each) for each in page.handlers],
        state=1,
    )
    click.echo(f"decisions on the newest {page.events} events")
    if page.after:
        click.echo(f"more: --after {clean(page.after)}")


def _row(handler: HandlerView) -> list[object]:
    last = f"{handler.last} {moment(handler.last_at)}" if handler.last else "-"
    problem = f"ignored: {handler.problem}" if handler.problem else last
    return [
        handler.name,
        _state(handler),
        handler.language,
        ", ".join(handler.types),
        handler.fired,
        handler.other,
        handler.failed,
        problem,
    ]


def _state(handler: HandlerView) -> str:
    return "on" if handler.active else "off"


def _switch(name: str, active: bool, server: str, key: str, as_json: bool) -> None:
    with connect(server, key) as client:
        try:
            found = client.switch_handler(name, active)
        except ClientError as error:
            fail_client(error)
    print_json(found) if as_json else click.echo(f"{clean(found.name)} is {coloured(_state(found))}")


@handlers.command()
@click.argument("name", metavar="NAME")
@remote
def on(name: str, server: str, key: str, as_json: bool) -> None:
    """Switch a handler on."""
    _switch(name, True, server, key, as_json)


@handlers.command()
@click.argument("name", metavar="NAME")
@remote
def off(name: str, server: str, key: str, as_json: bool) -> None:
    """Switch a handler off: events no longer make it fire."""
    _switch(name, False, server, key, as_json)
