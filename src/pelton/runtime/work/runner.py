"""Built-in operations: the server's own workers, for queues whose name starts with "@".

Work on these queues is claimed like any other, with a lease that is renewed while the operation runs. So it survives a crash, and
is then done again: an operation must be idempotent. Each operation has its own concurrency and time limit.

Invariants:
* Every item claimed here is reported, or goes back to its queue.
* An item that is withdrawn (its step ended in another way) is cancelled.
* A failure is a report with a reason that the definition's author can understand; the traceback goes to the log.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

import msgspec

from pelton.connectors.port import Permanent
from pelton.errors import PeltonError
from pelton.kernel.model.signals import Report
from pelton.kernel.model.state import Failure, OpenStep, StepStatus
from pelton.runtime.api import USUAL, ClaimRequest, Operation, WorkItem
from pelton.runtime.secrets.redaction import redacted_report
from pelton.runtime.services import Backoff, Clock, CommitPort, OwnedTasks, final, log, say, sleep

RENEW = 10_000  # milliseconds: a third of the lease
WAIT = 60_000  # milliseconds of one long poll
REPORT_TRIES = 8


class Leases(Protocol):
    """The part of the work queue that is used here."""

    def release(self, rows: Sequence[OpenStep]) -> None: ...
    async def extend_all(self, rows: Sequence[OpenStep]) -> int: ...


class Runner:
    """One operation."""

    __slots__ = ("concurrency", "done", "failed", "free", "limit", "name", "operation", "timed_out")

    def __init__(self, name: str, operation: Operation, concurrency: int, limit: int) -> None:
        self.name = name
        self.operation = operation
        self.concurrency = concurrency
        self.limit = limit
        self.free = asyncio.Semaphore(concurrency)
        self.done = 0
        self.failed = 0
        self.timed_out = 0


class Execution:
    """One item in progress. `reporting`: the operation is done, and its report is being committed."""

    __slots__ = ("item", "reporting", "task", "withdrawn")

    def __init__(self, item: WorkItem) -> None:
        self.item = item
        self.task: asyncio.Task[None] | None = None
        self.reporting = False
        self.withdrawn = False


class Operations:
    """`claim` returns leased items with their context; `instance` is the worker's name (that of the work queue)."""

    def __init__(
        self,
        claim: Callable[[ClaimRequest], Awaitable[list[WorkItem]]],
        leases: Leases,
        committer: CommitPort,
        clock: Clock,
        *,
        instance: str = "",
        backoff: Backoff | None = None,
    ) -> None:
        self._claim = claim
        self._leases = leases
        self._committer = committer
        self._clock = clock
        self.instance = instance
        self._backoff = backoff or Backoff(200, 30_000)
        self._runners: dict[str, Runner] = {}
        self._jobs: dict[tuple[int, int], Execution] = {}
        self._running = False
        self._stopping = False
        self._pollers = OwnedTasks("operations")
        self._tasks = OwnedTasks("operations")

    # ---- life

    def register(self, name: str, operation: Operation, *, concurrency: int = USUAL[0], limit: int = USUAL[1]) -> None:
        """`name` without the "@". `limit`: milliseconds that one item may take. Raises ValueError if the name is taken."""
        if name in self._runners:
            raise ValueError(f"the operation {name!r} already exists")
        runner = self._runners[name] = Runner(name, operation, concurrency, limit)
        if self._running:
            self._pollers.keep(self._poll(runner), name, lambda: not self._running)

    async def start(self) -> None:
        self._running = True
        self._stopping = False
        self._pollers.keep(self._renew(), "renewal of leases", lambda: not self._running)
        for runner in self._runners.values():
            self._pollers.keep(self._poll(runner), runner.name, lambda: not self._running)

    async def stop(self, grace: float = 5.0) -> None:
        """Items in progress may finish within so many seconds; the others go back to their queues."""
        self._running = False
        self._stopping = True
        await self._pollers.stop()
        await self._tasks.stop(grace)

    def withdrawn(self, run: int, n: int) -> None:
        """The step has ended, so work on it may stop. (WorkQueue.on_gone)"""
        job = self._jobs.get((run, n))
        if job is not None and not job.reporting and job.task is not None:
            job.withdrawn = True
            job.task.cancel()

    def stats(self) -> dict[str, int]:
        found = {"running": len(self._jobs), "failures": self._pollers.failures + self._tasks.failures}
        for name, runner in self._runners.items():
            found[f"{name}_done"] = runner.done
            found[f"{name}_failed"] = runner.failed
            found[f"{name}_timed_out"] = runner.timed_out
        return found

    # ---- work

    async def _poll(self, runner: Runner) -> None:
        failures = 0
        while self._running:
            await runner.free.acquire()
            count = 1
            while count < runner.concurrency and not runner.free.locked():
                await runner.free.acquire()
                count += 1
            items: list[WorkItem] = []
            request = ClaimRequest(queues=["@" + runner.name], count=count, wait=WAIT, worker=self.instance)
            asked = self._clock.now()
            try:
                items = await self._claim(request)
                failures = 0
                if not items and self._clock.now() - asked < WAIT // 2:
                    failures = 1  # answered early with nothing: the queue is closing, so asking at once would only spin
            except Exception as error:
                failures += 1
                log.warning("no work to be had", operation=runner.name, error=say(error))
            finally:
                for _ in range(count - len(items)):
                    runner.free.release()
            for item in items:
                job = Execution(item)
                self._jobs[(item.step.run, item.step.n)] = job
                job.task = self._tasks.spawn(self._work(runner, job), runner.name)
                job.task.add_done_callback(lambda _, job=job: self._over(runner, job))  # type: ignore[misc]
            if failures:
                await sleep(self._clock, self._backoff.delay(failures))

    def _over(self, runner: Runner, job: Execution) -> None:
        runner.free.release()
        key = (job.item.step.run, job.item.step.n)
        if self._jobs.get(key) is job:
            del self._jobs[key]

    async def _work(self, runner: Runner, job: Execution) -> None:
        step = job.item.step
        try:
            report = await self._perform(runner, job.item)
            job.reporting = True
            await self._report(step, report)
        except asyncio.CancelledError:
            if not job.withdrawn:
                self._leases.release([step])
            raise

    async def _perform(self, runner: Runner, item: WorkItem) -> Report:
        step = item.step
        seconds = runner.limit / 1000
        try:
            async with asyncio.timeout(seconds):
                report = await runner.operation(item)
        except TimeoutError:
            runner.timed_out += 1
            reason = f"the operation {runner.name!r} took longer than {seconds:g} seconds"
            return _failed(step, StepStatus.FAILED, reason, Failure(kind="timed out", message=reason))
        except Exception as error:
            runner.failed += 1
            trace = error if not item.withheld else None  # its text may have the value of a secret
            log.warning("operation failed", operation=runner.name, run=step.run, n=step.n, exc_info=trace)
            for_good = isinstance(error, Permanent) or (isinstance(error, PeltonError) and final(error))
            text = say(error)
            reason = text if text != type(error).__name__ else f"the operation {runner.name!r} failed: {text}"
            status = StepStatus.FAILED_FOR_GOOD if for_good else StepStatus.FAILED
            report = _failed(step, status, reason, Failure(message=reason, retriable=not for_good))
            return redacted_report(report, item.withheld)
        runner.done += 1
        if item.withheld:
            report = redacted_report(report, item.withheld)
        if not report.n and not report.slot:
            report = msgspec.structs.replace(report, n=step.n, attempt=step.attempt)
        return msgspec.structs.replace(report, strict=False)

    async def _report(self, step: OpenStep, report: Report) -> None:
        for tried in range(1, REPORT_TRIES + 1):
            try:
                await asyncio.shield(self._committer.submit(step.run, report))
                return
            except Exception as error:
                log.warning("report not taken", run=step.run, n=step.n, error=say(error), tried=tried)
                if final(error):
                    return
            await sleep(self._clock, self._backoff.delay(tried))
        self._leases.release([step])

    async def _renew(self) -> None:
        while self._running:
            await sleep(self._clock, RENEW)
            rows = [job.item.step for job in self._jobs.values()]
            if rows:
                try:
                    await self._leases.extend_all(rows)
                except Exception as error:
                    log.warning("leases not renewed", error=say(error))


def _failed(step: OpenStep, status: StepStatus, reason: str, failure: Failure) -> Report:
    return Report(n=step.n, attempt=step.attempt, status=status, reason=reason, failure=failure, strict=False)
