"""A timer of a run that is delivered twice: its commit was written and reported as lost, or another node had it too."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.kernel.graphs import Graph, after, look, outside
from tests.runtime.living import Living, living

from pelton.kernel.model.process import Limit, Limits, Process
from pelton.kernel.model.signals import Report, TimerFired
from pelton.runtime.api import StartCommand
from pelton.runtime.caller import SERVER

HOUR = 3_600_000
ONCE = look(lambda c: (c.var("n") or 0) + 1, "$n")


def reminded() -> Process:
    graph = Graph("reminded").body("", n=0)
    arms = (outside(), after(HOUR, stays=True, every=HOUR, n=ONCE), after(HOUR, stays=True, n=ONCE))
    return (
        graph.wait("w", *arms, limits=Limits(total=Limit(2 * HOUR, "announce")), to="z")
        .assign("z", output=look(lambda c: c.var("n"), "$n"))
        .build()
    )


async def timers(at: Living) -> dict[str, tuple[int, int]]:
    return {row.arm: (row.epoch, row.due) for row in await at.store.timers(1 << 60, 100)}


@pytest.mark.parametrize("forget", [False, True])
async def test_it_counts_once_and_the_timer_that_followed_stays(tmp_path: Path, forget: bool) -> None:
    async with living(tmp_path, reminded) as at:
        run = (await at.engine.start(SERVER, StartCommand(process="reminded", input=1))).key
        await at.quiet()
        first = await timers(at)
        assert sorted(first) == ["1", "2", "total"]
        for arm, (epoch, _) in first.items():
            for _ in range(3):
                await at.engine.committer.submit(run, TimerFired(n=1, arm=arm, epoch=epoch))
                if forget:
                    await at.quiet()
                    at.forget()
        await at.quiet()
        left = await timers(at)
        assert sorted(left) == ["1"], "the one that repeats goes on"
        assert left["1"][0] > first["1"][0]
    async with living(tmp_path, reminded) as at:
        await at.engine.committer.submit(run, TimerFired(n=1, arm="1", epoch=first["1"][0]))
        await at.quiet()
        assert await timers(at) == left
        await at.engine.committer.submit(run, TimerFired(n=1, arm="1", epoch=left["1"][0]))
        await at.engine.signal(SERVER, run, Report(slot="w"))
        assert await at.ended(run) == 3, "two of the repeated one, one of the other"
