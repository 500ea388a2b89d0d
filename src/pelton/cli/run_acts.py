"""`pelton start`, `signal`, and what is done with one run or many: `retry`, `pause`, `resume`, `terminate`, `rerun`."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click
from msgspec import structs

from pelton.cli.look import connect
from pelton.cli.options import remote
from pelton.cli.output import FAILED, clean, coloured, fail, fail_client, print_json, progress, table
from pelton.cli.run_filters import chosen, filters, json_or_text, pairs
from pelton.client.client import Client
from pelton.client.errors import ClientError, RequestRefused
from pelton.models import JobResultView, RunAct, RunFilterIn, RunHead, RunJobOut

LOOK_SECONDS = 0.1  # between two looks at how far a job is
SHOWN = 20  # runs of a preview, and runs that a job could not act on

DATA = click.option("--data", default=None, metavar="JSON", help="JSON, @FILE for a file's content, or - for standard input.")
DONE: dict[RunAct, str] = {
    "retry": "retried",
    "pause": "paused",
    "resume": "resumed",
    "terminate": "terminated",
    "rerun": "run again",
}
HELP: dict[RunAct, str] = {
    "retry": "Try again what failed in runs that have failed, timed out or were terminated.",
    "pause": "Pause runs: they stand until they are resumed.",
    "resume": "Resume runs that were paused.",
    "terminate": "Terminate runs that have not ended.",
    "rerun": "Run finished runs again, from their start or from a step.",
}


def read_data(given: str | None, option: str) -> Any:
    """Raises click's usage error for what is no JSON."""
    if given is None:
        return None
    text = given
    try:
        if given == "-":
            text = sys.stdin.read()
        elif given.startswith("@"):
            text = Path(given[1:]).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise click.BadParameter(f"{given[1:]}: cannot be read: {error}", param_hint=option) from None
    found = json_or_text(text)
    if isinstance(found, str) and not text.lstrip().startswith('"'):
        raise click.BadParameter(f"{clean(text[:60])} is not JSON; a text needs quotes", param_hint=option)
    return found


@click.command()
@click.argument("process", metavar="PROCESS")
@remote
@click.option("--version", default=0, type=click.IntRange(0), help="Version of the process.  [default: the latest]")
@click.option("--input", "data", default=None, metavar="JSON", help="Its input: JSON, @FILE, or - for standard input.")
@click.option("--set", "members", multiple=True, metavar="NAME=VALUE", help="A member of its input. May be repeated.")
@click.option("--run-key", default="", metavar="KEY", help="Idempotency key: at most one run of the process has it.")
@click.option("--correlation", default="", metavar="ID", help="Correlation id.")
@click.option("--priority", default=0, type=click.IntRange(0, 99), help="Priority of its work.")
def start(
    process: str,
    server: str,
    key: str,
    as_json: bool,
    version: int,
    data: str | None,
    members: Sequence[str],
    run_key: str,
    correlation: str,
    priority: int,
) -> None:
    """Start a run of a process."""
    given = read_data(data, "--input")
    added = pairs(members, "--set")
    if added and given is not None and not isinstance(given, dict):
        raise click.BadParameter("only an object has members", param_hint="--set")
    whole = {**(given or {}), **added} if added else given if given is not None else {}
    with connect(server, key) as client:
        try:
            head = client.start_run(process, whole, version=version, key=run_key, correlation=correlation, priority=priority)
        except ClientError as error:
            fail_client(error)
    print_json(head) if as_json else click.echo(
        f"{head.id}  {coloured(head.status)}  {clean(head.process)} version {head.version}"
    )


@click.command()
@click.argument("run", metavar="RUN")
@click.argument("name", metavar="NAME")
@remote
@DATA
@click.option("--hold", is_flag=True, help="Keep it for a step to come when nothing waits for it yet.")
def signal(run: str, name: str, server: str, key: str, as_json: bool, data: str | None, hold: bool) -> None:
    """Give a run what it waits for: the trigger, the event or the step NAME."""
    given = read_data(data, "--data")
    with connect(server, key) as client:
        try:
            done = client.signal_run(run, name, given, hold=hold)
        except ClientError as error:
            fail_client(error)
    if as_json:
        print_json(done)
    else:
        how = "held" if done.held else f"taken as {'an' if done.as_what == 'event' else 'a'} {done.as_what}"
        click.echo(f"{clean(name)} {how}; the run is {coloured(done.run.status)}")


def acting(act: RunAct) -> click.Command:
    """The command that acts on runs so."""

    def command(
        ids: tuple[str, ...],
        server: str,
        key: str,
        as_json: bool,
        dry_run: bool,
        yes: bool,
        reason: str = "",
        step: int = 0,
        data: str | None = None,
        **given: Any,
    ) -> None:
        wanted = chosen(**given)
        by_filter = wanted != RunFilterIn()
        if by_filter == bool(ids):
            raise click.UsageError(f"give the runs to {act}, or options by which they are found, and not both")
        if step and len(ids) != 1:
            raise click.UsageError("a step is of one run: give one RUN with --step")
        replaced = read_data(data, "--input")
        if by_filter and as_json and not (yes or dry_run):
            raise click.UsageError("with --json nothing is asked: add --yes, or --dry-run")
        with connect(server, key) as client:
            try:
                if by_filter:
                    RunJob(client, act, wanted, reason, as_json).carry_out(dry_run, yes)
                else:
                    _each(client, act, ids, as_json, dry_run, reason=reason, step=step, input=replaced)
            except ClientError as error:
                fail_client(error)

    made: Callable[..., None] = filters(command)
    if act == "terminate":
        made = click.option("--reason", default="", metavar="TEXT", help="Why, as the run's reason.")(made)
    if act == "rerun":
        made = click.option("--step", default=0, type=click.IntRange(0), help="From the step with this number on.")(made)
        made = click.option("--input", "data", default=None, metavar="JSON", help="A new input, of the run or of that step.")(
            made
        )
    made = click.option("--yes", is_flag=True, help="Do not ask before acting on what options find.")(made)
    made = click.option("--dry-run", is_flag=True, help="Only show which runs.")(made)
    made = click.argument("ids", nargs=-1, metavar="[RUN]...")(remote(made))
    more = "Several are given by their ids, or by the options of `runs`: then it is a job of the server, for at most 10,000 runs."
    return click.command(act, help=f"{HELP[act]}\n\n{more}")(made)


def _each(client: Client, act: RunAct, ids: Sequence[str], as_json: bool, dry_run: bool, **given: Any) -> None:
    """Acts on each run by itself, and says for each what came of it. Exits with 1 when one was refused."""
    refused = 0
    for each in ids:
        try:
            head = client.run(each).run if dry_run else client.act_on_run(each, act, **given)
        except RequestRefused as error:
            refused += 1
            if as_json:
                print_json({"run": each, "done": False, "code": error.code, "detail": error.detail, "remedy": error.remedy})
            else:
                click.echo(f"pelton: {clean(each)}: {' '.join(str(error).split())}", err=True)
            continue
        if as_json:
            print_json({"run": head.id, "done": not dry_run, "status": head.status})
        else:
            click.echo(f"{head.id}  {coloured(head.status)}  {clean(head.process)}" + ("" if dry_run else f": {DONE[act]}"))
    if refused:
        sys.exit(FAILED)


class RunJob:
    """One act on all runs that a filter finds: shown first, and then done as a job."""

    def __init__(self, client: Client, act: RunAct, wanted: RunFilterIn, reason: str, as_json: bool) -> None:
        self._client = client
        self._act = act
        self._wanted = wanted
        self._reason = reason
        self._as_json = as_json

    def carry_out(self, dry_run: bool, yes: bool) -> None:
        found = self._client.act_on_runs(self._act, where=self._wanted, preview=True)
        if not self._as_json:
            self._show(found)
        if dry_run or not found.count:
            if self._as_json:
                print_json(found)
            return
        if not yes:
            try:
                click.confirm(f"{self._act} {_runs(found.count)}?", abort=True, err=True)
            except click.Abort:
                fail("nothing was done; add --yes to do it without being asked", FAILED)
        done = self._client.act_on_runs(self._act, where=self._wanted, reason=self._reason, newest=found.newest)
        failed = self._follow(done) if done.job else []
        if self._as_json:
            print_json({**structs.asdict(done), "failed": failed})
        else:
            self._say(done, failed)
        if failed:
            sys.exit(FAILED)

    def _show(self, found: RunJobOut) -> None:
        if not found.count:
            click.echo(f"no runs to {self._act}")
            return
        click.echo(f"{_runs(found.count)} to {self._act}" + (", and there may be more" if found.before else ""))
        table(["run", "state", "process", "version"], [_row(each) for each in found.runs[:SHOWN]], state=1)
        if found.count > SHOWN:
            click.echo(f"and {found.count - min(SHOWN, len(found.runs))} more")

    def _follow(self, done: RunJobOut) -> list[JobResultView]:
        """Waits until each run has a result; returns those of runs that were refused."""
        with progress(DONE[self._act], done.count, self._as_json) as bar:
            seen, results = 0, list[JobResultView]()
            while seen < done.count:
                results = list(self._results(done.job))
                bar.update(len(results) - seen)
                seen = len(results)
                if seen < done.count:
                    time.sleep(LOOK_SECONDS)
        return [each for each in results if each.outcome == "failed"]

    def _results(self, job: str) -> Iterator[JobResultView]:
        after = ""
        while True:
            page = self._client.job_results(job, after)
            yield from page.results
            after = page.last
            if not after:
                return

    def _say(self, done: RunJobOut, failed: Sequence[JobResultView]) -> None:
        click.echo(f"{_runs(done.count - len(failed))} {DONE[self._act]} (job {done.job})")
        for each in failed[:SHOWN]:
            click.echo(f"pelton: {each.run}: {clean(each.detail)}", err=True)
        if len(failed) > SHOWN:
            click.echo(f"pelton: and {len(failed) - SHOWN} more: /v1/jobs/{done.job}/results", err=True)
        if done.before:
            click.echo("there may be more runs: do it again")


def _runs(count: int) -> str:
    return "1 run" if count == 1 else f"{count} runs"


def _row(head: RunHead) -> list[Any]:
    return [head.id, head.status, head.process, head.version]


ACTING = tuple(acting(act) for act in DONE)
