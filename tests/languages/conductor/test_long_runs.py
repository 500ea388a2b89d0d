"""Looking at a run of many tasks takes as long as it takes; nobody else waits for it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.languages.conductor.api import Api, step
from tests.patience import unsearched

ITERATIONS = 5_000
LONGEST = 0.25  # seconds of work that may hold up the loop at once; it takes about a tenth of that


class Stalls:
    """The most work for which nothing else ran."""

    def __init__(self) -> None:
        self.longest = 0.0
        self.turns = 0

    async def measure(self) -> None:
        before = time.thread_time()
        while True:
            await asyncio.sleep(0)
            now = time.thread_time()
            self.longest, self.turns, before = max(self.longest, now - before), self.turns + 1, now


@asynccontextmanager
async def stalling(stalls: Stalls) -> AsyncIterator[None]:
    measuring = asyncio.ensure_future(stalls.measure())
    try:
        yield
    finally:
        measuring.cancel()


async def test_others_go_on_while_a_long_run_is_looked_at(api: Api) -> None:
    body = step("INLINE", "i", inputParameters={"expression": "1"})
    run = await api.run(
        [
            step("DO_WHILE", "d", loopCondition=f"$.d.iteration < {ITERATIONS}", loopOver=[body]),
            step("WAIT", "w", inputParameters={}),
        ]
    )
    await api.until(run, lambda found: any(task["referenceTaskName"] == "w" for task in found["tasks"]))
    for path in (f"/workflow/{run}", f"/workflow/{run}/tasks?status=COMPLETED&start=4000", f"/tasks/{run}-1"):
        stalls = Stalls()
        with unsearched():
            async with stalling(stalls):
                answer = await api.call("GET", path)
        assert answer.status == 200
        assert stalls.turns >= 5, path
        assert stalls.longest < LONGEST, path
    loop = (await api.get(run))["tasks"][0]
    assert loop["outputData"]["iteration"] == ITERATIONS
    assert len(loop["outputData"]) == ITERATIONS + 1
