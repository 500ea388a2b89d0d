"""What must be true at the end, whatever was killed: everything acknowledged is there, once, and has ended.

`faults` looks from outside only: through the API, and at what was received.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field

from tests.crash.ledger import Ledger
from tests.crash.traffic import ORDER, SOURCE, WAITING

from pelton.client import AsyncClient
from pelton.models import DeadLetterView, EventView, RunDetail, RunHead, StepView

STILL_SECONDS = 60.0  # without an update of any task, while runs are open: then they will not end any more
CLOCKS = 5  # milliseconds that the server's clock and ours may differ on one machine
AT_ONCE = 16  # requests
STEPS = {ORDER: {"own", "polled", "leave"}, WAITING: {"wait", "own"}}
MOST_FAULTS = 20  # that are told of each kind


@dataclass
class Seen:
    """All that the server knows. Steps by run."""

    runs: dict[str, RunDetail] = field(default_factory=dict)
    steps: dict[str, list[StepView]] = field(default_factory=dict)
    events: dict[str, EventView] = field(default_factory=dict)
    dead: list[DeadLetterView] = field(default_factory=list)


async def ended(client: AsyncClient, ledger: Ledger) -> list[RunHead]:
    """Waits until no run is open, for as long as work goes on. Gives some of those that still are when nothing moves."""
    done, since = -1, time.monotonic()
    while (await client.runs(live=True, limit=1)).runs:
        if ledger.acknowledged() != done:
            done, since = ledger.acknowledged(), time.monotonic()
        elif time.monotonic() - since > STILL_SECONDS:
            return (await client.runs(live=True, limit=10)).runs
        await asyncio.sleep(0.05)
    return []


async def seen(client: AsyncClient) -> Seen:
    found = Seen()
    room = asyncio.Semaphore(AT_ONCE)

    async def look(run: str) -> None:
        async with room:
            found.runs[run] = await client.run(run)
            found.steps[run] = (await client.steps(run)).steps

    async with asyncio.TaskGroup() as group:
        async for run in _runs(client):
            group.create_task(look(run))
    after = "0"
    while page := (await client.events(after=after, limit=1_000)).events:
        found.events.update((each.id, each) for each in page if each.source == SOURCE)
        after = page[-1].key
    found.dead = (await client.dead_letters()).dead_letters
    return found


async def _runs(client: AsyncClient) -> AsyncIterator[str]:
    before = ""
    while True:
        page = await client.runs(before=before, limit=500)
        for each in page.runs:
            yield each.id
        before = page.before
        if not before:
            return


def faults(ledger: Ledger, found: Seen) -> list[str]:
    """Empty when every promise was kept."""
    told: list[str] = []
    for check in (_causes, _events, _runs_ended, _updates, _messages):
        kind = list(check(ledger, found))
        told += kind[:MOST_FAULTS]
        if len(kind) > MOST_FAULTS:
            told.append(f"... and {len(kind) - MOST_FAULTS} more of that kind")
    return told


def _causes(ledger: Ledger, found: Seen) -> Iterator[str]:
    """Each cause has one run, the acknowledged one; nothing else runs."""
    made: dict[str, list[str]] = defaultdict(list)
    for run, detail in found.runs.items():
        made[detail.correlation].append(run)
    for name, run in {**ledger.started, **ledger.keyed}.items():
        if made.get(name) != [run]:
            yield f"start {name} was acknowledged as run {run}: there are {made.get(name, [])}"
    for name, runs in ledger.events.items():
        if made.get(name, []) != runs or len(runs) != 1:
            yield f"event {name} was acknowledged with runs {runs}: there are {made.get(name, [])}"
    for name in ledger.sent:
        if len(made.get(name, [])) != 1:
            yield f"message {name} was sent once and started {len(made.get(name, []))} runs"
    known = ledger.started.keys() | ledger.keyed.keys() | ledger.events.keys() | ledger.sent
    for name, runs in made.items():
        if name not in known and (name not in ledger.asked or len(runs) != 1):
            yield f"nobody asked for the runs {runs} of {name!r}, or for one only"


def _events(ledger: Ledger, found: Seen) -> Iterator[str]:
    for name in [*ledger.events, *ledger.paid]:
        event = found.events.get(name)
        if event is None:
            yield f"event {name} was acknowledged and is not there"
        elif [each.verdict for each in event.decisions] != ["fired"] or len(event.effects) != 1:
            yield f"event {name} has the decisions {event.decisions} and the effects {event.effects}"


def _runs_ended(ledger: Ledger, found: Seen) -> Iterator[str]:
    """Every run is complete, and each of its steps was completed once."""
    for run, detail in found.runs.items():
        head = detail.run
        if head.status != "COMPLETED":
            yield f"run {run} of {head.process} is {head.status}: {detail.reason}"
            continue
        completed = Counter(step.slot for step in found.steps[run] if step.status == "COMPLETED")
        if completed != Counter(STEPS.get(head.process, {"own", "polled"})):
            yield f"run {run} of {head.process} has completed the steps {dict(completed)}"
        strange = {step.status for step in found.steps[run]} - {"COMPLETED", "TIMED_OUT"}
        if strange:
            yield f"run {run} has steps that are {strange}, though workers only complete, or are silent"
    for event, run in ledger.paid.items():
        steps = found.steps.get(run, [])
        outputs = [step.output["token"] for step in steps if step.slot == "wait"]
        if outputs != [event]:
            yield f"run {run} was ended by event {event}: its wait says {outputs}"


def _updates(ledger: Ledger, found: Seen) -> Iterator[str]:
    """An acknowledged update is in, or came after the end of the task. A completed task has an output that was sent for it."""
    steps = {step.id: step for every in found.steps.values() for step in every}
    for task, updates in ledger.told.items():
        step = steps.get(task)
        if step is None:
            yield f"task {task} was updated and is not there"
        elif step.status != "COMPLETED" and step.ended > updates[0].at + CLOCKS:
            yield f"task {task} was completed at {updates[0].at}, acknowledged, and {step.status} at {step.ended}"
    for step in steps.values():
        if step.slot == "polled" and step.status == "COMPLETED":
            token = (step.output or {}).get("token")
            if token not in ledger.tried.get(step.id, ()):
                yield f"task {step.id} is complete with {step.output}, which nobody sent"


def _messages(ledger: Ledger, found: Seen) -> Iterator[str]:
    """Each run that publishes was heard of, under one id, which no other run has."""
    owners: dict[str, str] = {}
    for run, detail in found.runs.items():
        if detail.run.process == ORDER:
            names = ledger.left.get(run, Counter())
            if len(names) != 1:
                yield f"run {run} left the message ids {dict(names)}"
            for name in names:
                if owners.setdefault(name, run) != run:
                    yield f"message id {name} left for the runs {owners[name]} and {run}"
    for run in ledger.left.keys() - found.runs.keys():
        yield f"a message left for the run {run}, which is not there"
    for letter in found.dead:
        yield f"dead letter: {letter}"
