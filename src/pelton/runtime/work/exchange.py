"""The workers' side of the engine: claiming work, reporting on it, and both in one exchange.

An exchange is one commit: its reports come before the leases in the next batch, and its poller is in line before the reports
create anything, so that the work that follows is handed out by the commit that creates it. A report that repeats an earlier
one because its response was lost gets that response again (see `replies`).

Callers pass their namespace; they cannot reach queues of other namespaces or the server's own ("@...").
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

from msgspec.structs import replace

from pelton.errors import Code, PeltonError
from pelton.kernel.model.process import Work
from pelton.kernel.model.reads import StepKey
from pelton.kernel.model.signals import Report
from pelton.kernel.model.state import START, Failure, OpenStep, Run, Step, StepStatus, worker_of
from pelton.runtime.api import ClaimRequest, ReportResult, WorkItem
from pelton.runtime.commit.committer import Committer
from pelton.runtime.commit.requests import SignalRequest
from pelton.runtime.names import queue_of
from pelton.runtime.secrets.redaction import withheld_of
from pelton.runtime.secrets.vault import Vault
from pelton.runtime.work.queue import WorkQueue
from pelton.runtime.work.replies import HandOut, Replies
from pelton.store.port import Store
from pelton.telemetry.spans import Span

Reports = Sequence[tuple[int, Report]]  # with the run of each
Exchanged = tuple[list[ReportResult], list[WorkItem]]


class Exchange:
    def __init__(self, store: Store, committer: Committer, work: WorkQueue, vault: Vault) -> None:
        self._store = store
        self._committer = committer
        self._work = work
        self._vault = vault
        self._replies = Replies()

    async def claim(self, ns: str, request: ClaimRequest) -> list[WorkItem]:
        return await self._items(await self._work.claim(_in_namespace(ns, request)))

    async def claim_built_in(self, request: ClaimRequest) -> list[WorkItem]:
        """Claims work for the server's own operations."""
        return await self._items(await self._work.claim(request))

    async def report(self, ns: str, reports: Reports) -> list[ReportResult]:
        results, future = self._begin_reports(ns, reports)
        await future
        worker = reports[0][1].worker if reports else ""
        if self._replies.know_any(reports, worker):
            earlier, _ = self._replies.settle(reports, results, worker)
            self._work.release(await self._still_out(earlier))
        return results

    async def exchange(self, ns: str, reports: Reports, request: ClaimRequest | None) -> Exchanged:
        if request is not None and reports and not request.queues:
            request = replace(request, queues=await self._queues_of(ns, reports))
        if request is None or (reports and not request.queues) or self._replies.know_any(reports, request.worker):
            return await self._exchange_apart(ns, reports, request)
        results, future = self._begin_reports(ns, reports)
        poller = self._work.poll(_in_namespace(ns, request))
        try:
            await future
            _, given = self._replies.settle(reports, results, request.worker)
            items = await self._items(await poller.result())
            given += [HandOut.of(item.step) for item in items]
            return results, items
        except BaseException:
            poller.cancel()
            raise

    async def _exchange_apart(self, ns: str, reports: Reports, request: ClaimRequest | None) -> Exchanged:
        """The reports first, then the claim: some of the reports may be repeats, or there is no claim."""
        results, future = self._begin_reports(ns, reports)
        await future
        worker = request.worker if request is not None else reports[0][1].worker if reports else ""
        earlier, given = self._replies.settle(reports, results, worker)
        rows = await self._still_out(earlier)
        if request is None:
            self._work.release(rows)
            return results, []
        if rows:
            items = await self._items(rows)
        else:
            items = await self.claim(ns, request) if request.queues else []
        given += [HandOut.of(item.step) for item in items]
        return results, items

    def release(self, items: Sequence[WorkItem]) -> None:
        self._work.release([item.step for item in items])

    # ---- reports

    def _begin_reports(self, ns: str, reports: Reports) -> tuple[list[ReportResult], asyncio.Future[None]]:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        results = [ReportResult(None, None, report.n) for _, report in reports]
        left = len(reports)
        spans = self._committer.workspace.spans
        began = time.time_ns() if spans.on else 0
        if not left:
            future.set_result(None)

        def ended(index: int) -> Callable[[SignalRequest], None]:
            def done(request: SignalRequest) -> None:
                nonlocal left
                if request.head is not None and request.head.trace and spans.on:
                    self._report_span(request.head, reports[index][1], began)
                results[index] = ReportResult(request.error, request.head, reports[index][1].n)
                left -= 1
                if not left and not future.done():
                    future.set_result(None)

            return done

        for index, (run, report) in enumerate(reports):
            request = SignalRequest(run, report, ended(index), ns)
            try:
                self._committer.enqueue(request)
            except PeltonError as error:
                request.failed(error)
        return results, future

    def _report_span(self, head: Run, report: Report, began: int) -> None:
        spans, end = self._committer.workspace.spans, time.time_ns()
        parent = spans.of_step(head.trace, head.key, report.n)
        spans.report(Span("report", spans.own(parent, "report", end), parent, began, end, "consumer", {"pelton.step": report.n}))

    async def _still_out(self, given: Sequence[HandOut]) -> list[OpenStep]:
        """The rows of those items that their worker still holds and has sent no heartbeat for."""
        rows = [await self._work.leased(each.run, each.n) for each in given]
        return [row for row, each in zip(rows, given, strict=True) if row is not None and HandOut.of(row) == each]

    async def _queues_of(self, ns: str, reports: Reports) -> list[str]:
        """The queues of the reported open work, except the server's own."""
        found: dict[str, None] = {}
        for run, report in reports:
            entry = self._committer.workspace.cache.peek(run)
            row: Any = entry.open.get(report.n) if entry is not None and not entry.stale else None
            head = entry.head if entry is not None and row is not None else await self._store.head(run)
            if head is None or head.ns != ns:
                continue
            if row is None:
                [row] = await self._store.read(head, [StepKey(report.n)])
            if isinstance(row, OpenStep) and row.queue and not row.queue.startswith("@"):
                found[row.queue] = None
        return list(found)

    # ---- items

    async def _items(self, rows: Sequence[OpenStep]) -> list[WorkItem]:
        try:
            items = [self._item(row) or await self._cold_item(row) for row in rows]
            for item in items:
                if item.run.trace:
                    self._trace(item)
            return [item for item in items if await self._fill(item)]
        except BaseException:
            self._work.release(rows)  # no one will have them
            raise

    def _trace(self, item: WorkItem) -> None:
        """The worker goes on with the trace of the run, below the span of the step."""
        step, spans = item.step, self._committer.workspace.spans
        item.trace = spans.of_step(item.run.trace, step.run, step.n)
        spans.moment("hand out", item.trace, step.polls, kind="producer", worker=worker_of(step.worker)[0])

    async def _fill(self, item: WorkItem) -> bool:
        """Puts the values of the secrets that its definition names into an item. False if one cannot be had: its step failed."""
        step = item.step
        node = item.process.nodes.get(step.slot)
        if not isinstance(node, Work) or node.secrets is None:
            return True
        try:
            values = await self._vault.values(item.run.ns, node.secrets.names)
            item.filled = node.secrets.fill(step.input, values)
        except PeltonError as error:
            await self._fail(step, error.message)
            return False
        item.withheld = withheld_of(values.values())
        return True

    async def _fail(self, step: OpenStep, reason: str) -> None:
        failure = Failure(message=reason, retriable=False)
        report = Report(
            n=step.n, attempt=step.attempt, status=StepStatus.FAILED_FOR_GOOD, reason=reason, failure=failure, strict=False
        )
        await self._committer.submit(step.run, report)

    def _item(self, row: OpenStep) -> WorkItem | None:
        entry = self._committer.workspace.cache.peek(row.run)
        if entry is None or entry.stale or entry.head is None or entry.process is None:
            return None
        start = entry.newest.get(START)
        return WorkItem(row, entry.head, entry.process, start) if isinstance(start, Step) else None

    async def _cold_item(self, row: OpenStep) -> WorkItem:
        head = await self._store.head(row.run)
        if head is None:
            raise PeltonError(Code.UNKNOWN_RUN, f"run {self._committer.workspace.codec.run_id(row.run)} was removed", "run")
        start = (await self._store.read(head, [StepKey(0)]))[0]
        return WorkItem(row, head, await self._committer.workspace.definitions.process(head.definition), start)


def _in_namespace(ns: str, request: ClaimRequest) -> ClaimRequest:
    for queue in request.queues:
        if queue.startswith("@"):
            raise PeltonError(Code.INVALID, f"queue {queue!r} is reserved for the server; use another queue", "queues")
    return replace(request, queues=[queue_of(ns, queue) for queue in request.queues])
