"""A campaign: load, kills at random moments, restarts on the same file, and the proof at the end.

Every random choice comes from one seed. What cannot be repeated is what the machine makes of it: the seed gives the same kind of
campaign, not the same interleaving.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import apsw
from aiobotocore.session import get_session
from tests.crash.ledger import Ledger
from tests.crash.proof import ended, faults, seen
from tests.crash.traffic import Traffic
from tests.crash.victim import Broken, Victim
from tests.patience import happens
from tests.sqs_server import CREDENTIALS

from pelton.client import AsyncClient
from pelton.client.errors import ClientError

STARTING = 0.2  # share of kills that come while the server starts
WRITER = 0.15  # share of kills that hit the writer process alone
FRESH = 0.3  # seconds after the start in which a server counts as recovering
PROOF_SECONDS = 400.0  # for what is left to be done at the end; the machine may be busy with much else
LONGEST = 2.0  # seconds of life that a server is given at most
QUICK_SQS = f"{Path(__file__).with_name('quick_sqs.py')}:app"  # for SqsServer
USUAL_START = 1.0  # seconds, for kills while it starts
ENOUGH = 6  # starts and events of each kind that are acknowledged at least
EXIT_SECONDS = 60.0  # for a server without its writer to recover or to end


class Kill(NamedTuple):
    """`phase`: starting | recovering | load | draining. `age`: seconds since the start of the process."""

    target: str
    phase: str
    age: float
    under_way: int
    acknowledged: int
    after: str = ""  # what became of a server that lost its writer

    def line(self, number: int) -> str:
        after = f", then it {self.after}" if self.after else ""
        return (
            f"{number:4} {self.target:6} {self.phase:10} {self.age:5.2f} s old, {self.under_way:3} requests under way, "
            f"{self.acknowledged:6} acknowledged{after}"
        )


@dataclass
class Report:
    seed: int
    kills: list[Kill] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0

    def text(self) -> str:
        phases = Counter((kill.target, kill.phase) for kill in self.kills)
        lines = [f"seed {self.seed}, {len(self.kills)} kills in {self.seconds:.0f} s"]
        lines += [f"{count:5} of the {target} in phase {phase}" for (target, phase), count in sorted(phases.items())]
        lines += [f"{count:7} {what}" for what, count in self.counts.items()]
        lines += self.faults or ["nothing was lost, nothing happened twice"]
        return "\n".join(lines)


class Campaign:
    def __init__(self, directory: Path, sqs: str, kills: int, seed: int, told: bool = False) -> None:
        """`told`: print each kill as it happens."""
        self.report = Report(seed)
        self.ledger = Ledger()
        self.victim = Victim(directory, sqs)
        self._sqs = sqs
        self._kills = kills
        self._told = told
        self._rng = random.Random(seed)
        self._spawned = 0.0

    async def run(self) -> Report:
        began = time.monotonic()
        mark = f"{self._rng.getrandbits(32):08x}"
        async with get_session().create_client(
            "sqs",
            region_name=CREDENTIALS["AWS_REGION"],
            endpoint_url=self._sqs,
            aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        ) as sqs:
            traffic = Traffic(self.victim.url, sqs, f"in-{mark}", f"out-{mark}", random.Random(self._rng.random()), self.ledger)
            try:
                await self._spawn()
                await self.victim.wait_ready()
                await traffic.define()
                traffic.start()
                await self._killing(traffic)
                await self._prove(traffic)
                await self.victim.stop()
                self.report.faults += self._file()
            finally:
                await self.victim.abandon()
                with suppress(TimeoutError):
                    await traffic.stop()
        self.report.seconds = time.monotonic() - began
        return self.report

    async def _spawn(self) -> None:
        self._spawned = time.monotonic()
        await self.victim.spawn()

    async def _killing(self, traffic: Traffic) -> None:
        """The last sixth of the kills comes when nothing new is asked for any more."""
        draining = self._kills - max(1, self._kills // 6)
        for number in range(self._kills):
            if number == draining:
                await self._enough()
                traffic.stop_asking()
            traffic.trouble()
            if number and self._rng.random() < STARTING:
                await asyncio.sleep(self._rng.uniform(0, USUAL_START))
                await self._kill("draining" if number >= draining else "", "server")
            else:
                await self.victim.wait_ready()
                ready = time.monotonic()
                await asyncio.sleep(self._rng.uniform(0, LONGEST) * self._rng.choice((0.1, 1.0, 1.0)))
                phase = "draining" if number >= draining else "recovering" if time.monotonic() - ready < FRESH else "load"
                await self._kill(phase, "writer" if self._rng.random() < WRITER else "server")
        await self.victim.wait_ready()
        traffic.stop_asking()

    async def _enough(self) -> None:
        """However slow the machine is, some of each kind must have come to the server."""
        await self.victim.wait_ready()
        kinds = (self.ledger.started, self.ledger.keyed, self.ledger.events, self.ledger.paid)
        await happens(lambda: all(len(each) > ENOUGH for each in kinds), "some of each kind are acknowledged")

    async def _kill(self, phase: str, target: str) -> None:
        """`phase` "": whatever the server is at, which is mostly starting."""
        phase = phase or ("recovering" if self.victim.ready.is_set() else "starting")
        age, under_way, after = time.monotonic() - self._spawned, self.ledger.under_way, ""
        if target == "writer":
            after = await self.without_writer()
        else:
            await self.victim.kill()
        self.report.kills.append(Kill(target, phase, age, under_way, self.ledger.acknowledged(), after))
        if self._told:
            print(self.report.kills[-1].line(len(self.report.kills)), flush=True)
        if after != "recovered":
            await self._spawn()

    async def without_writer(self) -> str:
        """Kills the writer: the server must work again with a new one, or say what happened and end by itself, not with 0."""
        old = await self.victim.kill_writer()
        deadline = time.monotonic() + EXIT_SECONDS
        async with AsyncClient(self.victim.url, seconds=2.0) as client:
            while time.monotonic() < deadline:
                if self.victim.process.returncode is not None:
                    if self.victim.process.returncode == 0:
                        raise Broken(self.victim.said("the server lost its writer and ended as if all were well"))
                    return f"ended with {self.victim.process.returncode}"
                with suppress(ClientError):
                    await client.post_event("crash:poke", "crash-writer")  # a new writer is started when it is needed
                    if (await client.health()).healthy and self.victim.writer() not in {0, old}:
                        return "recovered"
                await asyncio.sleep(0.02)  # another process's end: there is nothing to wait on
        raise Broken(self.victim.said(f"the server lost its writer {old}, and neither recovered nor ended"))

    async def _prove(self, traffic: Traffic) -> None:
        async with AsyncClient(self.victim.url) as client:
            async with asyncio.timeout(PROOF_SECONDS):
                await traffic.asked()
                await traffic.taken()
            left = await ended(client, self.ledger)
            await traffic.stop()
            await self._delivered(client)
            await traffic.drained()
            found = await seen(client)
        self.report.faults += [f"run {run.id} of {run.process} has not ended" for run in left]
        self.report.faults += faults(self.ledger, found)
        ledger = self.ledger
        self.report.counts = {
            "runs": len(found.runs),
            "starts acknowledged": len(ledger.started) + len(ledger.keyed),
            "starts without an answer": len(ledger.asked),
            "events acknowledged": len(ledger.events) + len(ledger.paid),
            "events and keyed starts sent again": ledger.repeats,
            "messages sent to the queue": len(ledger.sent),
            "updates of tasks acknowledged": sum(map(len, ledger.told.values())),
            "attempts that timed out": sum(step.status == "TIMED_OUT" for steps in found.steps.values() for step in steps),
            "messages left": sum(sum(names.values()) for names in ledger.left.values()),
            "of them repeats": sum(sum(names.values()) - len(names) for names in ledger.left.values()),
            "answers of 429 or 5xx": sum(ledger.refusals.values()),
        }

    async def _delivered(self, client: AsyncClient) -> None:
        """Waits until nothing is on its way out."""
        async with asyncio.timeout(PROOF_SECONDS):
            while (await _outbox(client)) > 0:  # noqa: ASYNC110 - another process's state
                await asyncio.sleep(0.05)

    def _file(self) -> list[str]:
        """What SQLite says of the file."""
        [path] = list(self.victim.data.rglob("*.db"))
        db = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
        try:
            said = [str(row[0]) for row in db.execute("PRAGMA integrity_check").fetchall()]
        finally:
            db.close()
        return [] if said == ["ok"] else [f"integrity check: {line}" for line in said[:10]]


async def _outbox(client: AsyncClient) -> int:
    health: dict[str, Any] = (await client.health()).details
    found: Any = health["outbox"]["kept"]
    return int(found)
