"""The options by which runs are chosen, for the list and for what is done with many of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from pelton.cli.times import epoch_milliseconds
from pelton.models import RunFilterIn

F = TypeVar("F", bound=Callable[..., Any])

STATUSES = ("RUNNING", "PAUSED", "COMPLETED", "FAILED", "TIMED_OUT", "TERMINATED")
TIME = "an age such as 2h or 7d, or a time such as 2026-05-01T12:00"

OPTIONS = (
    click.option("--process", default="", metavar="NAME", help="Only runs of this process."),
    click.option("--state", default=None, type=click.Choice(STATUSES, case_sensitive=False), help="Only runs in this state."),
    click.option("--live/--ended", default=None, help="Only runs that have not ended, or that have."),
    click.option("--run-key", default="", metavar="KEY", help="Only runs with this idempotency key or correlation id."),
    click.option("--since", default="", callback=epoch_milliseconds, metavar="TIME",
                 help=f"Only runs started from then on: {TIME}."),
    click.option("--until", default="", callback=epoch_milliseconds, metavar="TIME", help="Only runs started before then."),
    click.option("--variable", "variables", multiple=True, metavar="NAME=VALUE",
                 help="Only runs with this value of a searchable variable. May be repeated."),
    click.option("--text", default="", metavar="TEXT", help="Only runs with this text in input, output, variables or reason."),
    click.option("--before", default="", metavar="RUN", help="Only runs older than this one."),
)  # fmt: skip


def filters(command: F) -> F:
    """Adds the options. The command gets them as keywords; see `chosen`."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


def json_or_text(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def pairs(given: Sequence[str], option: str) -> dict[str, Any]:
    """NAME=VALUE as members. Raises click's usage error."""
    found = {}
    for each in given:
        name, sign, value = each.partition("=")
        if not sign or not name:
            raise click.BadParameter(f"{each!r} has no value: give NAME=VALUE", param_hint=option)
        found[name] = json_or_text(value)
    return found


def chosen(
    *,
    process: str,
    state: str | None,
    live: bool | None,
    run_key: str,
    since: int,
    until: int,
    variables: Sequence[str],
    text: str,
    before: str,
) -> RunFilterIn:
    return RunFilterIn(process, live, state or "", run_key, since, until, pairs(variables, "--variable"), text, before)
