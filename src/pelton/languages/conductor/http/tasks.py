"""Tasks over HTTP: workers poll and report, others read and signal.

The four calls that workers make most often (poll, both updates, lease extension) are kept cheap: a report is one
commit, even if it asks for the next task. The engine recognises repeated reports.
"""

from __future__ import annotations

import re
import uuid

from pelton.errors import Category, Code, PeltonError
from pelton.kernel.model.signals import Report
from pelton.kernel.model.state import OpenStep, RunStatus
from pelton.languages.conductor import decode
from pelton.languages.conductor.http import waiting
from pelton.languages.conductor.http.api_context import ConductorApi, no_run
from pelton.languages.conductor.model import TaskResult
from pelton.languages.conductor.runs import reports, view
from pelton.languages.conductor.runs.blocking import find_wait
from pelton.languages.conductor.runs.identifiers import split_reference
from pelton.runtime.api import ClaimRequest, ReportResult, RunView, WorkItem
from pelton.runtime.caller import Caller
from pelton.transport.http.asgi import Request, Response, Router, empty, json_response, raw_json, text_response

MAX_POLL = 5_000  # milliseconds
MAX_BATCH = 1_000
MAX_NAME = 1_000
_OVER = frozenset({Code.ENDED, Code.STEP_ENDED})
_ABSENT = frozenset({Code.NOT_FOUND, Code.UNKNOWN_RUN, Code.UNKNOWN_STEP, Code.NO_STEP})
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|[\"\\/bfnrt])")
_ESCAPED = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


class ConductorTaskRoutes:
    def __init__(self, api: ConductorApi) -> None:
        self.api = api
        self.engine = api.engine
        self.codec = api.engine.codec

    def add_to(self, router: Router) -> None:
        router.add("GET", "/tasks/poll/{type}", self.poll, changes=True)
        router.add("GET", "/tasks/poll/batch/{type}", self.poll_batch, changes=True)
        router.add("POST", "/tasks", self.update)
        router.add("POST", "/tasks/update-v2", self.update_and_poll)
        router.add("POST", "/tasks/{wf}/{ref}/{status}", self.update_by_reference)
        router.add("POST", "/tasks/{wf}/{ref}/{status}/sync", self.update_by_reference_sync)
        router.add("POST", "/tasks/{wf}/{status}/signal", self.signal)
        router.add("POST", "/tasks/{wf}/{status}/signal/sync", self.signal_sync)
        router.add("GET", "/tasks/{id}", self.get)
        router.add("POST", "/tasks/{id}/log", self.log)
        router.add("GET", "/tasks/{id}/log", self.logs)
        router.add("GET", "/tasks/queue/sizes", self.sizes)
        router.add("GET", "/tasks/queue/size", self.size)
        router.add("GET", "/tasks/queue/all", self.all_sizes)
        router.add("GET", "/tasks/queue/polldata", self.poll_data)
        router.add("GET", "/tasks/queue/polldata/all", self.all_poll_data)

    # ---- polling

    async def _claim(self, request: Request, count: int, wait: int) -> list[WorkItem]:
        queue = request.path["type"]
        domain = request.query.text("domain")
        if domain:
            queue = f"{domain}:{queue}"
        if queue.startswith("@") or len(queue) > MAX_NAME:
            raise PeltonError(Code.INVALID, f"no worker may poll {queue[:100]!r}: names that begin with '@' are the server's own")
        asked = ClaimRequest(queues=(queue,), count=count, wait=0, worker=request.query.text("workerid"))
        items = await self.engine.claim(request.caller, asked)
        if not items and wait:
            asked.wait = wait
            items = await request.unless_gone(self.engine.claim(request.caller, asked))
        return items

    async def poll(self, request: Request) -> Response:
        items = await self._claim(request, 1, 100)
        if not items:
            return empty(204)
        return self._hand_out(items, view.item_view(self.codec, items[0], self.engine.now()))

    def _hand_out(self, items: list[WorkItem], tasks: object) -> Response:
        """An answer with tasks in it, which are free again if no one is there to get it."""
        response = raw_json(view.encode(tasks))
        response.undelivered = lambda: self.engine.release(items)
        return response

    async def poll_batch(self, request: Request) -> Response:
        query = request.query
        count = min(max(query.integer("count", 1, -(2**31), 2**31), 1), MAX_BATCH)
        timeout = query.integer("timeout", 100, 0)
        if timeout > MAX_POLL:
            raise PeltonError(
                Code.INVALID, f"Long Poll Timeout value cannot be more than {MAX_POLL // 1000} seconds: timeout is {timeout} ms"
            )
        items = await self._claim(request, count, timeout)
        now = self.engine.now()
        return self._hand_out(items, [view.item_view(self.codec, item, now) for item in items])

    # ---- reporting

    async def _result(self, request: Request) -> TaskResult:
        result = decode.decode(await request.body(), TaskResult)
        reports.check(result)
        return result

    def _place(self, result: TaskResult) -> tuple[int, int]:
        """Run and number of the task that a result is about. Raises PeltonError "not found"."""
        run = self.api.ids.parse_run_id(result.workflow_instance_id)
        if run is None:
            raise no_run(result.workflow_instance_id)
        place = self.api.ids.parse_step_id(result.task_id)
        if place is None or place[0] != run:
            raise PeltonError(Code.NOT_FOUND, f"No such task found by id: {result.task_id[:200]}")
        return place

    async def _log(self, caller: Caller, result: TaskResult, place: tuple[int, int]) -> None:
        if result.logs:
            await self.engine.log(caller, *place, reports.logs_of(result.logs, self.engine.now()))

    async def _extend(self, caller: Caller, place: tuple[int, int]) -> None:
        try:
            await self.engine.extend(caller, *place)
        except PeltonError as error:
            if error.code not in _OVER:
                raise

    def _check(self, done: ReportResult, result: TaskResult) -> None:
        """A report on a task that has ended is accepted and changes nothing; one on a task that never existed is an error."""
        error = done.error
        if error is None or error.code in _OVER:
            return
        if error.code in (Code.NOT_FOUND, Code.UNKNOWN_RUN):
            raise no_run(result.workflow_instance_id)
        if error.code in _ABSENT:
            raise PeltonError(Code.NOT_FOUND, f"No such task found by id: {result.task_id[:200]}")
        raise error

    async def update(self, request: Request) -> Response:
        result = await self._result(request)
        place = self._place(result)
        if result.extend_lease:
            await self._extend(request.caller, place)
            return text_response(result.task_id)
        [done] = await self.engine.report(request.caller, [(place[0], reports.report_of(result, place[1]))])
        self._check(done, result)
        await self._log(request.caller, result, place)
        return text_response(result.task_id)

    async def update_and_poll(self, request: Request) -> Response:
        """A report, answered with the next task of the same queue. One that comes too late is answered as if there were none: an
        error would make the client fall back to slower calls for good."""
        result = await self._result(request)
        try:
            place = self._place(result)
        except PeltonError:  # there is no such task
            return empty(204)
        if result.extend_lease:
            await self._extend(request.caller, place)
            return empty(204)
        report = reports.report_of(result, place[1])
        claim = ClaimRequest(worker=result.worker_id or "") if report.status is not None else None
        [done], items = await self.engine.exchange(request.caller, [(place[0], report)], claim)
        absent = done.error is not None and done.error.code in _ABSENT
        if done.error is not None and not absent and done.error.code not in _OVER:
            raise done.error
        if not done.repeated and not absent:
            await self._log(request.caller, result, place)
        if not items:
            return empty(204)
        return self._hand_out(items, view.item_view(self.codec, items[0], self.engine.now()))

    async def _report_slot(self, request: Request, found: RunView) -> str | None:
        """Reports on a task by its reference name; its id, or None when no such task is open."""
        status = reports.status_of(request.path["status"])
        output = decode.decode_map(await request.body(), "the task's output")
        slot, it = split_reference(request.path["ref"], found.process.nodes)
        worker = request.query.text("workerid")
        step = await self.engine.newest(request.caller, found.run.key, slot, it)
        if not isinstance(step, OpenStep):
            return None
        report = Report(n=step.n, status=status, output=output, worker=worker)
        [done] = await self.engine.report(request.caller, [(found.run.key, report)])
        if done.error is not None:
            if done.error.code in _OVER | _ABSENT:
                return None
            raise done.error
        return self.codec.step_id(found.run.key, done.n)

    async def update_by_reference(self, request: Request) -> Response:
        reports.status_of(request.path["status"])
        try:
            found = await self.api.view(request.caller, request.path["wf"])
        except PeltonError as error:
            if error.category is Category.ABSENT:
                return empty()
            raise
        task = await self._report_slot(request, found)
        return empty() if task is None else text_response(task)

    async def update_by_reference_sync(self, request: Request) -> Response:
        found = await self.api.view(request.caller, request.path["wf"])
        task = await self._report_slot(request, found)
        if task is None:
            raise PeltonError(
                Code.NOT_FOUND, f"Found no running task {request.path['ref'][:200]} of workflow {request.path['wf']} to update"
            )
        after = await self.api.view(request.caller, request.path["wf"])
        return raw_json(view.encode(await view.workflow_view(self.engine, request.caller, after)))

    # ---- signals

    async def _signal(self, request: Request) -> tuple[RunView, bool]:
        status = reports.status_of(request.path["status"])
        output = decode.decode_map(await request.body(), "the signal's output")
        found = await self.api.view(request.caller, request.path["wf"])
        if RunStatus(found.run.status).ended:
            return found, False
        blocked = await find_wait(self.engine, request.caller, found)
        if blocked is None:
            return found, False
        report = Report(n=blocked.step.n, status=status, output=output)
        [done] = await self.engine.report(request.caller, [(blocked.run.run.key, report)])
        if done.error is not None:
            if done.error.code in _OVER | _ABSENT:
                return found, False
            raise done.error
        return found, True

    async def signal(self, request: Request) -> Response:
        await self._signal(request)
        return empty()

    async def signal_sync(self, request: Request) -> Response:
        query = request.query
        strategy = waiting.strategy_of(query.text("returnStrategy", "TARGET_WORKFLOW"))
        milliseconds = query.integer("timeoutMillis", 5_000, 0, 300_000)
        found, done = await self._signal(request)
        if not done:
            raise PeltonError(Code.NOT_FOUND, f"Found no blocked task in workflow {request.path['wf']} to signal")
        seen = await request.unless_gone(waiting.wait(self.api, request.caller, found.run.key, (), milliseconds / 1000))
        return await waiting.answer(self.api, request.caller, seen, strategy, query.text("requestId") or str(uuid.uuid4()))

    # ---- reading

    async def get(self, request: Request) -> Response:
        found, step = await self.api.step(request.caller, request.path["id"])
        output = await view.output_of(self.engine, request.caller, step)
        return raw_json(view.encode(view.task_view(view.context_of(self.engine, found), step, output)))

    async def log(self, request: Request) -> Response:
        text = (await request.body()).decode("utf-8", "replace")
        _, step = await self.api.step(request.caller, request.path["id"])
        await self.engine.log(request.caller, step.run, step.n, [(self.engine.now(), log_text(text)[: reports.MAX_LOG])])
        return empty()

    async def logs(self, request: Request) -> Response:
        identity = request.path["id"]
        place = self.api.ids.parse_step_id(identity)
        rows = await self.engine.logs(request.caller, *place) if place is not None else []
        if not rows:
            return empty(204)
        return json_response([{"log": row.text, "taskId": identity, "createdTime": row.at} for row in rows])

    async def _sizes(self, caller: Caller) -> dict[str, int]:
        return await self.engine.queue_sizes(caller, handed_out=False)

    async def sizes(self, request: Request) -> Response:
        sizes = await self._sizes(request.caller)
        return json_response({name: sizes.get(name, 0) for name in request.query.texts("taskType")})

    async def size(self, request: Request) -> Response:
        domain, name = request.query.text("domain"), request.query.text("taskType")
        return json_response((await self._sizes(request.caller)).get(f"{domain}:{name}" if domain else name, 0))

    async def all_sizes(self, request: Request) -> Response:
        return json_response(await self._sizes(request.caller))

    async def poll_data(self, request: Request) -> Response:
        wanted = request.query.text("taskType")
        return json_response([each for each in self._polled(request.caller) if each["queueName"] == wanted])

    async def all_poll_data(self, request: Request) -> Response:
        return json_response(self._polled(request.caller))

    def _polled(self, caller: Caller) -> list[dict[str, str | int]]:
        found: list[dict[str, str | int]] = []
        for queue, worker, at in self.engine.polled(caller):
            if queue.startswith("@"):
                continue
            domain, colon, name = queue.rpartition(":")
            each: dict[str, str | int] = {"queueName": name, "workerId": worker, "lastPollTime": at}
            found.append({**each, "domain": domain} if colon else each)
        return found


def log_text(text: str) -> str:
    """A log line as its author wrote it: clients send it with JSON's escapes, but not as JSON. One pass, so that an escaped
    backslash does not start another escape."""
    if len(text) > 1 and text[0] == '"' == text[-1]:
        text = text[1:-1]
    return _ESCAPE.sub(_unescaped, text)


def _unescaped(found: re.Match[str]) -> str:
    escape = found[1]
    if len(escape) == 1:
        return _ESCAPED[escape]
    char = chr(int(escape[1:], 16))
    return found[0] if "\ud800" <= char <= "\udfff" else char
