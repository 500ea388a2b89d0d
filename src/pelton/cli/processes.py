"""`pelton processes`: which there are, pausing and resuming them, and what stands at their nodes."""

from __future__ import annotations

import click

from pelton.cli.look import connect
from pelton.cli.options import remote
from pelton.cli.output import clean, fail_client, moment, print_json, table
from pelton.client.errors import ClientError
from pelton.models import ProcessView

NAME = click.argument("name", metavar="NAME")
WHY = click.option("--why", default="", metavar="TEXT", help="Why, for people.")


@click.group(invoke_without_command=True)
@remote
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1, 100), help="Maximum number to list.")
@click.option("--after", default="", metavar="NAME", help="Only processes with later names.")
@click.pass_context
def processes(context: click.Context, server: str, key: str, as_json: bool, limit: int, after: str) -> None:
    """List processes, pause or resume one, or show what stands at a node."""
    if context.invoked_subcommand is not None:
        return
    with connect(server, key) as client:
        try:
            page = client.processes(after, limit)
        except ClientError as error:
            fail_client(error)
    if as_json:
        print_json(page)
        return
    if not page.processes:
        click.echo("no processes")
        return
    rows = [[each.name, each.language, ", ".join(map(str, each.versions)), _live(each), _paused(each)] for each in page.processes]
    table(["name", "language", "versions", "live runs", "paused"], rows)
    if page.after and len(page.processes) == limit:
        click.echo(f"more: --after {clean(page.after)}")


@processes.command()
@NAME
@remote
@WHY
@click.option("--refuse", is_flag=True, help="Refuse new runs, instead of accepting them and letting them stand.")
def pause(name: str, server: str, key: str, as_json: bool, why: str, refuse: bool) -> None:
    """Pause a process: its live runs stand, and new ones stand before their first step."""
    with connect(server, key) as client:
        try:
            found = client.pause_process(name, why, "refuse" if refuse else "stand")
        except ClientError as error:
            fail_client(error)
    print_json(found) if as_json else click.echo(
        f"{clean(found.name)} is paused: {_paused(found)}; {_live(found)} live runs stand"
    )


@processes.command()
@NAME
@remote
@WHY
def resume(name: str, server: str, key: str, as_json: bool, why: str) -> None:
    """Resume a process: its runs go on, except those that are paused themselves."""
    with connect(server, key) as client:
        try:
            found = client.resume_process(name, why)
        except ClientError as error:
            fail_client(error)
    print_json(found) if as_json else click.echo(f"{clean(found.name)} is resumed; {_live(found)} live runs go on")


@processes.command()
@NAME
@click.argument("node", metavar="NODE")
@remote
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1, 1000), help="Maximum number to list.")
@click.option("--after", default="", metavar="PLACE", help="Go on from where the last list ended.")
def steps(name: str, node: str, server: str, key: str, as_json: bool, limit: int, after: str) -> None:
    """Show what stands at a node, over all runs of the process, the oldest run first."""
    with connect(server, key) as client:
        try:
            page = client.node_steps(name, node, after, limit)
        except ClientError as error:
            fail_client(error)
    if as_json:
        print_json(page)
        return
    click.echo(f"{page.count}{' or more' if page.more else ''} at {clean(node)}")
    if page.steps:
        rows = [[each.run, each.step.n, each.step.waits_for, moment(each.step.opened)] for each in page.steps]
        table(["run", "step", "waits for", "since"], rows)
    if page.after:
        click.echo(f"more: --after {clean(page.after)}")


def _live(process: ProcessView) -> str:
    return f"{process.live_runs}{' or more' if process.more_live_runs else ''}"


def _paused(process: ProcessView) -> str:
    pause = process.pause
    if pause is None:
        return "-"
    by = f" by {pause.by}" if pause.by else ""
    why = f" ({pause.why})" if pause.why else ""
    return f"since {moment(pause.since)}{by}{why}" + (", new runs are refused" if pause.new_runs == "refuse" else "")
