"""`pelton runs` and `pelton run`: which runs there are, and all about one of them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import click

from pelton.cli.following import persistent
from pelton.cli.look import connect
from pelton.cli.options import remote
from pelton.cli.output import clean, coloured, fail_client, moment, print_json, shortened, table
from pelton.cli.run_filters import chosen, filters
from pelton.client.client import Client
from pelton.client.errors import ClientError
from pelton.models import (
    AttemptView,
    RunDetail,
    RunEventView,
    RunExplanation,
    RunFilterIn,
    RunHead,
    RunPage,
    RunWaitView,
    StepView,
)

LOOK_SECONDS = 1.0  # between two looks of --follow
MAX_STEPS = 1_000
MAX_TRIED = 50  # steps whose attempts are listed
MAX_REMEMBERED = 10_000  # runs whose state --follow remembers


@click.command()
@remote
@filters
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 1000), help="Maximum number to list.")
@click.option("--follow", is_flag=True, help="Keep printing runs as they start and change their state, until interrupted.")
def runs(server: str, key: str, as_json: bool, limit: int, follow: bool, **given: Any) -> None:
    """List runs, newest first; with --follow, newest last."""
    wanted = chosen(**given)
    with connect(server, key) as client:
        try:
            if follow:
                _follow(client, wanted, limit, as_json)
                return
            page = page_of(client, wanted, limit)
        except ClientError as error:
            fail_client(error)
        except KeyboardInterrupt:
            return
    if as_json:
        print_json(page)
        return
    if page.runs:
        rows = [
            [each.id, each.status, each.process, each.version, moment(each.created), moment(each.ended)] for each in page.runs
        ]
        table(["run", "state", "process", "version", "started", "ended"], rows, state=1)
    else:
        click.echo("no runs")
    if page.before:
        click.echo(f"more: --before {page.before}")


def page_of(client: Client, wanted: RunFilterIn, limit: int) -> RunPage:
    return client.runs(
        process=wanted.process,
        live=wanted.live,
        status=wanted.status,
        variables=wanted.variables,
        before=wanted.before,
        limit=limit,
        key=wanted.key,
        since=wanted.since,
        until=wanted.until,
        text=wanted.text,
    )


def _follow(client: Client, wanted: RunFilterIn, limit: int, as_json: bool) -> None:
    """Prints each run when it is first seen and whenever its state is another, the oldest first."""
    known: dict[str, tuple[str, int]] = {}
    page = page_of(client, wanted, limit)
    while True:
        for each in reversed(page.runs):
            state = (each.status, each.era)
            if known.pop(each.id, None) != state:
                print_json(each) if as_json else click.echo(_line(each))
            known[each.id] = state
        while len(known) > MAX_REMEMBERED:
            known.pop(next(iter(known)))
        time.sleep(LOOK_SECONDS)
        page = persistent(lambda: page_of(client, wanted, limit))


def _line(head: RunHead) -> str:
    state = coloured(head.status.ljust(10))
    return f"{moment(head.updated)}  {head.id}  {state}  {clean(head.process)} version {head.version}"


@click.command()
@click.argument("id", metavar="RUN")
@remote
def run(id: str, server: str, key: str, as_json: bool) -> None:
    """Show a run: its state and why it stands, its steps and their attempts, what it waits for, its variables and its events."""
    with connect(server, key) as client:
        try:
            detail, standing = client.run(id), client.explain_run(id)
            page = client.steps(id, limit=MAX_STEPS)
            attempts = _attempts(client, id, page.steps)
        except ClientError as error:
            fail_client(error)
    if as_json:
        tried = {str(number): found for number, found in attempts.items()}
        print_json(
            {"detail": detail, "standing": standing, "steps": page.steps, "attempts": tried, "more_steps": page.after >= 0}
        )
        return
    for line in _page(detail, standing, page.steps, attempts):
        click.echo(line)
    if page.after >= 0:
        click.echo(f"more steps than {MAX_STEPS}: /v1/runs/{detail.run.id}/steps?after={page.after}")


def _attempts(client: Client, id: str, steps: list[StepView]) -> dict[int, list[AttemptView]]:
    """Of steps that were tried more than once, or have failed; the newest first ones of them."""
    tried = [each for each in steps if each.queue or each.worker or each.attempt]
    return {each.n: client.attempts(id, each.n).attempts for each in tried[-MAX_TRIED:]}


def _page(
    detail: RunDetail, standing: RunExplanation, steps: list[StepView], attempts: dict[int, list[AttemptView]]
) -> Iterator[str]:
    head = detail.run
    yield f"run {head.id}"
    yield f"  {clean(head.process)} version {head.version}: {coloured(head.status)}" + (f", era {head.era}" if head.era else "")
    yield f"  started {moment(head.created)}, updated {moment(head.updated)}" + (
        f", ended {moment(head.ended)}" if head.ended else ""
    )
    for name, value in (("parent", head.parent), ("correlation", detail.correlation), ("event", detail.event)):
        if value:
            yield f"  {name} {clean(value)}"
    yield f"  {standing.why}" if standing.why.isprintable() else f"  {clean(standing.why)}"
    yield f"  input {shortened(detail.input)}"
    if head.ended:
        yield f"  output {shortened(detail.output)}"
    if detail.variables:
        yield "variables"
        for name in sorted(detail.variables):
            yield f"  {clean(name)} = {shortened(detail.variables[name])}"
    if steps:
        yield "steps"
    for step in steps:
        yield from _step(step, attempts.get(step.n, []))
    if standing.waits:
        yield "waits for"
    for wait in standing.waits:
        yield f"  {wait.n:>3}  {clean(wait.slot)}: {_wait(wait)}"
    for title, events in (("events in", standing.events_in), ("events out", standing.events_out)):
        if events:
            yield title
        yield from (_event(each) for each in events)


def _step(step: StepView, attempts: list[AttemptView]) -> Iterator[str]:
    reason = f" ({clean(step.reason)})" if step.reason else ""
    child = f", run {step.child}" if step.child else ""
    ended = f" to {moment(step.ended)}" if step.ended else ""
    iteration = f" [{step.iteration}]" if step.iteration else ""
    yield f"  {step.n:>3}  {clean(step.slot)}{iteration}  {step.status}{reason}{child}  {moment(step.opened)}{ended}"
    if len(attempts) > 1 or any(each.failure or each.worker for each in attempts):
        for each in attempts:
            worker = f" by {clean(each.worker)}" if each.worker else ""
            why = f": {clean(each.reason)}" if each.reason else ""
            yield f"         attempt {each.number}{worker} {each.outcome}{why}"


def _wait(wait: RunWaitView) -> str:
    parts = [wait.what, clean(wait.name)] if wait.name else [wait.what]
    if wait.key:
        parts.append(f"with key {clean(wait.key)}")
    if wait.at:
        parts.append(f"at {moment(wait.at)}")
    if wait.run:
        parts.append(f"{wait.run} {wait.status}")
    if wait.since:
        until = f" until {moment(wait.lease)}" if wait.lease else ""
        parts.append(f"held by {clean(wait.worker) or 'a worker without a name'} since {moment(wait.since)}{until}")
    elif wait.what == "work":
        parts.append(f"last asked for {moment(wait.polled)}" if wait.polled else "not asked for since the server started")
    return " ".join(parts)


def _event(event: RunEventView) -> str:
    step = f" step {event.n}" if event.n else ""
    return f"  {moment(event.at)}  {clean(event.name)} {event.state}{step}  {shortened(event.data)}"
