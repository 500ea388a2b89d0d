"""Built-in operations report what they came to, whatever it is, and leave no work behind."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.patience import PATIENCE
from tests.runtime.work.test_queue import Place
from tests.runtime.world import work

from pelton.connectors.port import Permanent
from pelton.errors import Code, PeltonError
from pelton.kernel.model.signals import Report, Signal
from pelton.kernel.model.state import Run, Step, StepStatus
from pelton.runtime.api import ClaimRequest, WorkItem
from pelton.runtime.work.queue import BUILT_IN_LEASE
from pelton.runtime.work.runner import Operations
from pelton.testing.clock import settle


class Shop(Place):
    def __init__(self) -> None:
        super().__init__()
        self.operations = Operations(self.claim, self.work, self.committer, self.clock, instance="me")
        self.work.on_gone = self.operations.withdrawn
        self.active = 0
        self.most = 0
        self.go = asyncio.Event()
        self.cancelled: list[int] = []
        self.operations.register("do", self.do, concurrency=3, limit=200)

    async def claim(self, request: ClaimRequest) -> list[WorkItem]:
        rows = await self.work.claim(request)
        return [WorkItem(row, Run(row.run, "default", 1), None, Step(row.run, 0, "$start", 1)) for row in rows]  # type: ignore[arg-type]

    async def do(self, item: WorkItem) -> Report:
        self.active += 1
        self.most = max(self.most, self.active)
        try:
            what = item.step.input
            if isinstance(what, Exception):
                raise what
            if what == "wait":
                await self.go.wait()
            return Report(output={"did": what})
        except asyncio.CancelledError:
            self.cancelled.append(item.step.run)
            raise
        finally:
            self.active -= 1

    def order(self, run: int, what: Any = None) -> None:
        self.offer(work(run, queue="@do", input=what))

    def reports(self) -> dict[int, Report]:
        return {run: signal for run, signal, _ in self.committer.signals if isinstance(signal, Report)}


@pytest.fixture
async def shop() -> Shop:
    shop = Shop()
    await shop.work.start()
    await shop.operations.start()
    await settle()
    return shop


async def test_what_an_operation_returns_is_reported_for_its_step_and_attempt(shop: Shop) -> None:
    shop.offer(work(1, n=4, queue="@do", input="x", attempt=2))
    await settle(100)
    report = shop.reports()[1]
    assert (report.n, report.attempt, report.status, report.output) == (4, 2, StepStatus.COMPLETED, {"did": "x"})
    assert not report.strict


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (ValueError("no\n such  host"), StepStatus.FAILED, "no such host"),
        (KeyError(), StepStatus.FAILED, "the operation 'do' failed: KeyError"),
        (Permanent("refused"), StepStatus.FAILED_FOR_GOOD, "refused"),
        (PeltonError(Code.INVALID, "bad input"), StepStatus.FAILED_FOR_GOOD, "bad input"),
        (PeltonError(Code.BUSY, "later"), StepStatus.FAILED, "later"),
    ],
)
async def test_a_failure_is_a_report_that_people_can_read(shop: Shop, error: Exception, status: StepStatus, reason: str) -> None:
    shop.order(1, error)
    await settle(100)
    report = shop.reports()[1]
    assert (report.status, report.reason) == (status, reason)
    assert "Traceback" not in report.reason


async def test_an_operation_that_takes_too_long_has_failed(shop: Shop) -> None:
    reported = asyncio.Event()
    shop.committer.on_signal = lambda run, signal, group: reported.set
    shop.order(1, "wait")
    async with asyncio.timeout(PATIENCE):
        await reported.wait()
    report = shop.reports()[1]
    assert report.reason == "the operation 'do' took longer than 0.2 seconds"
    assert report.failure is not None
    assert report.failure.kind == "timed out"


async def test_so_many_at_once_and_no_more_are_claimed_than_can_be_done(shop: Shop) -> None:
    for run in range(1, 11):
        shop.order(run, "wait")
    await settle(200)
    assert shop.most == 3
    assert sum(1 for row in shop.store.open.values() if row.lease) == 3
    shop.go.set()
    await settle(400)
    assert len(shop.reports()) == 10
    assert shop.most == 3


async def test_work_goes_back_when_the_server_stops(shop: Shop) -> None:
    shop.order(1, "wait")
    await settle(100)
    assert shop.store.open[1, 1].lease
    await shop.operations.stop(0.01)
    await settle()
    assert shop.cancelled == [1]
    assert not shop.store.open[1, 1].lease
    assert not shop.reports()
    assert shop.operations.stats()["running"] == 0


async def test_withdrawn_work_is_cancelled_and_not_reported(shop: Shop) -> None:
    shop.order(1, "wait")
    await settle(100)
    shop.end(1)
    await settle(100)
    assert shop.cancelled == [1]
    assert not shop.reports()
    shop.order(2, "x")
    await settle(100)
    assert 2 in shop.reports(), "its place is free again"


async def test_a_long_operation_keeps_its_lease(shop: Shop) -> None:
    slow = asyncio.Event()

    async def wait(item: WorkItem) -> Report:
        await slow.wait()
        return Report()

    shop.operations.register("slow", wait)
    shop.offer(work(1, queue="@slow"))
    await settle(100)
    await shop.clock.advance(4 * BUILT_IN_LEASE)
    assert shop.store.open[1, 1].polls == 1
    slow.set()
    await settle(100)
    assert 1 in shop.reports()
    await shop.operations.stop()


async def test_a_report_that_cannot_be_committed_is_tried_again_and_then_the_work_goes_back(shop: Shop) -> None:
    tried = 0

    def refuse(run: int, signal: Signal) -> Exception | None:
        nonlocal tried
        tried += 1
        return PeltonError(Code.UNAVAILABLE, "disk full") if run == 1 and tried < 4 else None

    shop.committer.refuse = refuse
    shop.order(1, "x")
    await shop.clock.advance(10_000)
    assert tried == 4
    assert shop.reports()[1].output == {"did": "x"}
    shop.committer.refuse = lambda run, signal: PeltonError(Code.UNKNOWN_RUN, "gone")
    shop.order(2, "x")
    await shop.clock.advance(1_000)
    assert shop.operations.stats()["running"] == 0


async def test_a_name_is_registered_once(shop: Shop) -> None:
    with pytest.raises(ValueError, match="already exists"):
        shop.operations.register("do", shop.do)


async def test_claims_that_fail_are_repeated(shop: Shop) -> None:
    shop.store.broken = True

    async def quick(item: WorkItem) -> Report:
        return Report()

    shop.operations.register("quick", quick)
    await shop.clock.advance(1_000)
    shop.store.broken = False
    shop.offer(work(1, queue="@quick"))
    await shop.clock.advance(60_000)
    assert 1 in shop.reports()
