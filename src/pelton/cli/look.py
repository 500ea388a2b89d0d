"""`pelton events`, `pelton explain` and `pelton dead-letters`: inspecting what a server did."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial

import click

from pelton.cli.following import persistent
from pelton.cli.options import remote
from pelton.cli.output import MISUSED, clean, fail, fail_client, moment, print_json, shortened, table
from pelton.client.client import Client
from pelton.client.errors import ClientError, RequestRefused
from pelton.models import DecisionView, EffectView, EventView, RunHead, StepView

FOLLOW_WAIT = 20_000  # milliseconds of one long poll
DATA_SHOWN = 60  # characters of an event's data in a list
MAX_RUNS = 20  # runs per event that are shown with their steps

Touched = dict[str, tuple[RunHead, list[StepView]] | None]
"""Runs by id, with their steps; None for a run that has since been removed."""


def connect(server: str, key: str) -> Client:
    try:
        return Client(server, key=key)
    except ValueError as error:
        fail(f"--server: {error}", MISUSED)


@click.command()
@remote
@click.option("--type", "type_", default="", metavar="TYPE", help="Only events of this type.")
@click.option("--state", default="", type=click.Choice(["", "matched", "unmatched", "held", "failed"]), metavar="STATE",
              help="Only events in this state: matched, unmatched, held or failed.")  # fmt: skip
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 1000), help="Maximum number to list.")
@click.option("--follow", is_flag=True, help="Keep printing new events until interrupted.")
def events(server: str, key: str, as_json: bool, type_: str, state: str, limit: int, follow: bool) -> None:
    """List events and their outcomes, newest last."""
    with connect(server, key) as client:
        try:
            found, newest = _listed(client, type_, state, limit)
            for event in found:
                _show(event, as_json)
            if not found and not follow and not as_json:
                click.echo(f"no events{f' of type {clean(type_)}' if type_ else ''}{f' in state {state}' if state else ''}")
            if follow:
                _follow(client, type_, state, newest, as_json, {event.key for event in found})
        except ClientError as error:
            fail_client(error)
        except KeyboardInterrupt:
            return


def _follow(client: Client, type_: str, state: str, after: str, as_json: bool, shown: set[str]) -> None:
    """`shown`: some of them may lie beyond `after`, which does not pass what is still being recorded."""
    while True:
        page = persistent(partial(client.events, type=type_, state=state, after=after, limit=100, wait=FOLLOW_WAIT))
        for event in page.events:
            if event.key not in shown:
                _show(event, as_json)
        after = page.after


def _listed(client: Client, type_: str, state: str, limit: int) -> tuple[list[EventView], str]:
    """The newest events that match, oldest first, however far back they are; and where following starts: after the newest event,
    whether or not it is shown."""
    found: list[EventView] = []
    page = client.events(type=type_, state=state, limit=limit)
    newest = page.after
    while True:
        found += page.events
        if len(found) >= limit or not page.before:
            return found[::-1], newest
        page = client.events(type=type_, state=state, limit=limit - len(found), before=page.before)


def _show(event: EventView, as_json: bool) -> None:
    if as_json:
        print_json(event)
        return
    outcome = ", ".join(_effect(effect) for effect in event.effects) or _decisions(event)
    click.echo(f"{moment(event.received)}  {event.key}  {clean(event.type)}  {_about(event)}  {event.state}: {outcome}")


def _about(event: EventView) -> str:
    """What an event was about: its subject, such as a path, its own id, and its data, shortened."""
    subject = f"{shortened(event.subject, 80)} " if event.subject else ""
    data = "" if event.data is None else f" {shortened(event.data, DATA_SHOWN)}"
    return f"{subject}({shortened(event.id, 80)}){data}"


def _effect(effect: EffectView) -> str:
    run = f" run {effect.run}" if effect.run else ""
    detail = f" ({clean(effect.detail)})" if effect.detail else ""
    return f"{clean(effect.handler)} {effect.outcome}{run}{detail}"


def _decisions(event: EventView) -> str:
    found = [f"{clean(each.handler)} {each.verdict}" for each in event.decisions]
    return ", ".join(found) or "no matching handler"


@click.command()
@remote
@click.argument("event_id", metavar="EVENT_ID")
@click.option(
    "--source", default="", metavar="SOURCE", help="The event's source, if EVENT_ID is its id rather than Pelton's key."
)
@click.option("--handler", default="", metavar="NAME", help="Only this handler.")
@click.option("--all", "every", is_flag=True, help="Handlers for other types of events too.")
def explain(server: str, key: str, as_json: bool, event_id: str, source: str, handler: str, every: bool) -> None:
    """Show what an event matched, what it did not match and why, and what it caused."""
    others = 0
    with connect(server, key) as client:
        try:
            if handler:
                event = client.event(event_id, source)
                event.decisions = [client.decision(event_id, handler, source=source)]
                event.effects = [each for each in event.effects if each.handler == handler]
            else:
                event = client.explain(event_id, source=source)
                others = 0 if every else _leave_out_other_types(event)
            runs = {} if as_json else _runs(client, event)
        except ClientError as error:
            fail_client(error)
    if as_json:
        print_json(event)
        return
    for line in explanation(event, runs):
        click.echo(line)
    if others:
        click.echo(f"handlers for other types of events: {others} (--all lists them)")


def _leave_out_other_types(event: EventView) -> int:
    """How many decisions are left out."""
    kept = [each for each in event.decisions if each.verdict != "type differs"]
    left_out = len(event.decisions) - len(kept)
    event.decisions = kept
    return left_out


def _runs(client: Client, event: EventView) -> Touched:
    """The runs that the event affected, with their steps."""
    found: Touched = {}
    for effect in event.effects:
        run = effect.run
        if run and run not in found and len(found) < MAX_RUNS:
            try:
                found[run] = (client.run(run).run, client.steps(run, limit=100).steps)
            except RequestRefused as error:
                if error.status != 404:
                    raise
                found[run] = None  # removed since
    return found


def explanation(event: EventView, runs: Touched) -> Iterator[str]:
    """The lines of `pelton explain`."""
    yield f"event {event.key}"
    yield f"  {clean(event.type)} from {clean(event.source)}, id {clean(event.id)}, {moment(event.received)}"
    if event.subject:
        yield f"  subject {clean(event.subject)}"
    if event.data is not None:
        yield f"  data {shortened(event.data)}"
    yield f"  {event.state}"
    if not event.decisions:
        yield "no handler listens to events of this type"
    for decision in event.decisions:
        yield from _decision(decision)
        for effect in event.effects:
            if effect.handler == decision.handler:
                yield from _caused(effect, runs)


def _decision(decision: DecisionView) -> Iterator[str]:
    detail = f": {clean(decision.detail)}" if decision.detail else ""
    yield f"handler {clean(decision.handler)}: {decision.verdict}{detail}"
    for part in decision.trace:
        if isinstance(part, list) and len(part) >= 3:
            expression, value, result, *more = part
            depth = more[0] if more and isinstance(more[0], int) else 0
            seen = clean(json.dumps(value, ensure_ascii=False))  # a text in quotes, so that "150" is not taken for 150
            yield f"    {'  ' * min(depth, 20)}{clean(expression)}  saw {seen}  gives {clean(result)}"
        else:
            yield f"    {clean(part)}"


def _caused(effect: EffectView, runs: Touched) -> Iterator[str]:
    detail = f": {clean(effect.detail)}" if effect.detail else ""
    step = f" step {effect.step}" if effect.step else ""
    run = effect.run
    yield f"  {clean(effect.action)} -> {effect.outcome}{f' run {run}' if run else ''}{step}{detail}"
    shown = runs.get(run)
    if shown is None:
        return
    head, steps = shown
    yield f"    run of {clean(head.process)} version {head.version}: {head.status}"
    for each in steps:
        waits = f", waits for {each.waits_for}" if each.waits_for else ""
        reason = f" ({clean(each.reason)})" if each.reason else ""
        yield f"      {each.n:>3}  {clean(each.slot)}  {each.status}{waits}{reason}"


@click.command("dead-letters")
@remote
@click.option("--redeliver", type=int, default=None, metavar="NUMBER", help="Deliver this dead letter again.")
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1, 1000), help="Maximum number to list.")
@click.option("--after", default=0, type=click.IntRange(0), metavar="NUMBER", help="Only dead letters with higher numbers.")
def dead_letters(server: str, key: str, as_json: bool, redeliver: int | None, limit: int, after: int) -> None:
    """List messages that could not be delivered or received, or deliver one again."""
    with connect(server, key) as client:
        try:
            if redeliver is not None:
                answer = client.redeliver(redeliver)
                print_json(answer) if as_json else click.echo(f"dead letter {redeliver} has been queued for delivery again")
                return
            page = client.dead_letters(after, limit)
        except ClientError as error:
            fail_client(error)
    if as_json:
        print_json(page)
        return
    letters = page.dead_letters
    if not letters:
        click.echo("no dead letters")
        return
    rows = [[each.number, moment(each.at), each.direction, each.address, each.tries, each.reason] for each in letters]
    table(["number", "when", "way", "address", "tries", "reason"], rows)
    if page.after:
        click.echo(f"more: --after {page.after}")
