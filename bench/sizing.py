"""What a server keeps, in bytes: `uv run python -m bench.sizing [--count 20000]`.

Each row is a server on an empty directory with so many units of one kind, its data copied by `pelton backup` (which leaves out
free space) and compared with those of an empty one. From these it says what a day adds and what the default retention keeps, at
several rates. No times are measured, so other load on the machine does not matter.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
from bench import definitions, task_definitions
from bench.processes import Pelton
from bench.workloads import server

from pelton.client import Client
from pelton.models import ClaimIn, ReportIn
from pelton.store.retention import parse_keep

BATCH = 500
STEP = "sizing_step"
PLAIN, STEPPED = "sizing:plain", "sizing:stepped"
MADE = task_definitions.MAKE
DAY = 86_400
RATES = (0.1, 1.0, 10.0, 100.0)
KEPT_EVENTS, KEPT_IDS, KEPT_RUNS = "30d,1000000", "30d,2000000", "90d,1000000"  # the defaults


class Sizes(NamedTuple):
    """Bytes of one of each."""

    event: float
    run: float  # that ends at once
    stepped: float  # with one step of a worker
    task: float  # with three fields
    id: float  # of an event that is no longer kept


def body(number: int) -> dict[str, object]:
    """Some 150 bytes, as the data of many an event."""
    fields = {name: value for name, _, value in task_definitions.FIELDS[:3]}
    return {"n": number, "customer": f"customer-{number % 1000}", "note": "a line of text, as people write it", **fields}


def post(client: Client, kind: str, count: int) -> None:
    for first in range(0, count, BATCH):
        numbers = range(first, first + BATCH)
        client.post_events([{"type": kind, "source": "/sizing", "id": f"{each}", "data": body(each)} for each in numbers])


def plain(pelton: Pelton, count: int) -> None:
    with Client(pelton.url) as client:
        post(client, PLAIN, count)


def runs(pelton: Pelton, count: int) -> None:
    with Client(pelton.url) as client:
        post(client, definitions.START, count)
        settled(client)


def stepped(pelton: Pelton, count: int) -> None:
    with Client(pelton.url) as client:
        post(client, STEPPED, count)
        done, reports = 0, list[ReportIn]()
        while done < count:
            found = client.work("sizing", reports, ClaimIn(queues=[STEP], count=BATCH, wait=1_000))
            reports = [
                ReportIn(id=item.id, attempt=item.attempt, output={"total": 17, "currency": "EUR"}) for item in found.items
            ]
            done += len(reports)
        client.work("sizing", reports)
        settled(client)


def tasks(pelton: Pelton, count: int) -> None:
    with Client(pelton.url) as client:
        for path, document in (
            ("taskdefinitions", task_definitions.kept(3)),
            ("eventhandlers", task_definitions.makes(3)),
        ):
            client.request("POST", f"{task_definitions.WORKFLOW}/{path}", msgspec.json.encode(document))
        post(client, MADE, count)


def settled(client: Client) -> None:
    """Until no run is live."""
    while client.request("GET", "/v1/runs?live=true&limit=1")["runs"]:
        pass


def measured(
    made: Callable[[Pelton, int], None],
    count: int,
    *workflows: dict[str, object],
    handlers: Sequence[dict[str, object]] = (),
    options: Sequence[str] = (),
) -> float:
    """Bytes of one unit: what so many of them add to an empty server's data."""
    with server(*workflows, handlers=handlers, options=options) as pelton:
        empty = copied(pelton, "empty")
        made(pelton, count)
        return (copied(pelton, "full") - empty) / count


def copied(pelton: Pelton, name: str) -> int:
    """Bytes of a backup."""
    path = pelton.directory / name
    command = [sys.executable, "-m", "pelton.cli", "backup", str(path), "--data", str(pelton.data)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return Path(path).stat().st_size


def ids(pelton: Pelton, count: int) -> None:
    """Events that are gone when this returns, so that only their ids are kept."""
    with Client(pelton.url) as client:
        post(client, PLAIN, count)
        while client.health().details["retention"]["removed"].get("events", 0) < count:
            time.sleep(0.5)


def sizes(count: int) -> Sizes:
    run = definitions.starts("sizing", definitions.START, "bench_at_once")
    step = definitions.task(STEP, "step", inputParameters={"n": "${workflow.input.n}"})
    stepping = {**definitions.at_once(), "name": "sizing_stepped", "tasks": [step]}
    event = measured(plain, count)
    return Sizes(
        event=event,
        run=measured(runs, count, definitions.at_once(), handlers=[run]) - event,
        stepped=measured(stepped, count, stepping, handlers=[definitions.starts("stepping", STEPPED, "sizing_stepped")]) - event,
        task=measured(tasks, count) - event,
        id=measured(ids, count, options=("--keep-events", "0")),
    )


def most(keep: str, rate: float) -> float:
    """How many are kept at this rate, once it has lasted."""
    found = parse_keep(keep)
    by_age = rate * found.age / 1000 if found.age is not None else float("inf")
    return min(by_age, found.rows if found.rows is not None else float("inf"))


def table(found: Sizes) -> Iterator[str]:
    yield "| Events a second | Events a day | A day adds | Kept, once the defaults remove as much as comes |"
    yield "|---|---|---|---|"
    each = found.event + found.stepped
    for rate in RATES:
        known = max(0.0, most(KEPT_IDS, rate) - most(KEPT_EVENTS, rate)) * found.id
        kept = most(KEPT_EVENTS, rate) * found.event + most(KEPT_RUNS, rate) * found.stepped + known
        yield f"| {rate:g} | {rate * DAY:,.0f} | {shown(rate * DAY * each)} | {shown(kept)} |"


def shown(size: float) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:,.0f} MB"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.sizing", description="What a server keeps, in bytes.")
    parser.add_argument("--count", type=int, default=20_000, help="units of each kind, a multiple of 500")
    count = parser.parse_args().count // BATCH * BATCH
    found = sizes(count)
    print(f"{count:,} of each kind; the data of an event are {len(msgspec.json.encode(body(count)))} bytes of JSON")
    for name, size in found._asdict().items():
        print(f"{name:<8}{size:>8,.0f} bytes")
    print("\n".join(table(found)))


if __name__ == "__main__":
    main()
