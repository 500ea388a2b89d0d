"""Searches over HTTP: pages of workflows and tasks, with how many there are."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from functools import partial
from typing import Any

import msgspec

from pelton.errors import Code, PeltonError
from pelton.kernel.model.state import OpenStep, Step
from pelton.languages.conductor import decode, status_names
from pelton.languages.conductor.http.api_context import ConductorApi
from pelton.languages.conductor.runs import view
from pelton.languages.conductor.search import grammar, tasks, workflows
from pelton.languages.conductor.search.summaries import task_summary, workflow_summary
from pelton.languages.conductor.search.tasks import FoundTask, TaskSearch
from pelton.languages.conductor.search.workflows import SearchQuestion, WorkflowSearch
from pelton.runtime.api import RunView
from pelton.transport.http.asgi import Request, Response, Router, json_response
from pelton.transport.pages import shown_later

MAX_SIZE = 5_000
MAX_BYTES = 64 * 2**20  # of one answer
MOST_IDS = 1_000

_encode = msgspec.json.Encoder().encode


class SearchRoutes:
    def __init__(self, api: ConductorApi) -> None:
        self.api = api
        self.engine = api.engine
        self.workflows = WorkflowSearch(api.engine, api.ids, api.language)
        self.tasks = TaskSearch(api.engine, api.ids, self.workflows)

    def add_to(self, router: Router) -> None:
        router.add("GET", "/workflow/search", self.search)
        router.add("GET", "/workflow/search-v2", self.search_whole)
        router.add("GET", "/workflow/search-by-tasks", self.search_by_tasks)
        router.add("GET", "/workflow/search-by-tasks-v2", self.search_by_tasks_whole)
        router.add("POST", "/workflow/bulk/search", self.search_ids)
        router.add("GET", "/tasks/search", self.search_tasks)
        router.add("GET", "/tasks/search-v2", self.search_tasks_whole)

    # ---- workflows

    async def search(self, request: Request) -> Response:
        found = await self.workflows.find(request.caller, question_of(request, "searchWorkflows", workflows.FIELDS))
        return await self._summaries(request, found.total, found.runs)

    async def search_whole(self, request: Request) -> Response:
        found = await self.workflows.find(request.caller, question_of(request, "searchWorkflowsV2", workflows.FIELDS))
        return await self._whole(request, found.total, found.runs)

    async def search_by_tasks(self, request: Request) -> Response:
        asked = question_of(request, "searchWorkflowsByTasks", tasks.FIELDS)
        return await self._summaries(request, *await self.tasks.find_workflows(request.caller, asked))

    async def search_by_tasks_whole(self, request: Request) -> Response:
        asked = question_of(request, "searchWorkflowsByTasksV2", tasks.FIELDS)
        return await self._whole(request, *await self.tasks.find_workflows(request.caller, asked))

    async def _summaries(self, request: Request, total: int, runs: list[RunView]) -> Response:
        page = _Page()
        for run in runs:
            await page.add(await shown_later(run, partial(workflow_summary, self.engine, request.caller), self._bare_run))
        return page.answer(total)

    async def _whole(self, request: Request, total: int, runs: list[RunView]) -> Response:
        """Their tasks are read one workflow at a time, as in the original."""
        page = _Page()

        async def whole(run: RunView) -> Any:
            return await view.workflow_view(self.engine, request.caller, run, include_tasks=False)

        for run in runs:
            await page.add(await shown_later(run, whole, self._bare_run))
        return page.answer(total)

    def _bare_run(self, run: RunView, why: str) -> dict[str, Any]:
        """What can be shown of a workflow that cannot be shown whole."""
        codec, process = self.engine.codec, run.process
        return {
            "workflowId": codec.run_id(run.run.key),
            "workflowType": process.name,
            "workflowName": process.name,
            "version": process.version,
            "workflowVersion": process.version,
            "status": status_names.RUN_STATUS[status_names.known_status(run.run.status)],
            "reasonForIncompletion": why,
        }

    async def search_ids(self, request: Request) -> Response:
        ids = list(dict.fromkeys(decode.decode_texts(await request.body(), "the workflow ids")))
        if not ids:
            raise PeltonError(Code.INVALID, "WorkflowIds list cannot be null.")
        if len(ids) > MOST_IDS:
            raise PeltonError(Code.INVALID, f"Cannot process more than {MOST_IDS} workflows. Please use multiple requests.")
        include = request.query.boolean("includeTasks", True)
        page, failed = _Page(), dict[str, str]()
        for identity in ids:
            try:
                run = await self.api.view(request.caller, identity)
            except PeltonError as error:
                failed[identity] = error.message
            else:
                await page.add(await view.workflow_view(self.engine, request.caller, run, include))
        return json_response({"bulkErrorResults": failed, "bulkSuccessfulResults": page.rows})

    # ---- tasks

    async def search_tasks(self, request: Request) -> Response:
        total, found = await self.tasks.find(request.caller, question_of(request, "searchTasks", tasks.FIELDS))
        page = _Page()

        async def summary(task: FoundTask) -> Any:
            return await task_summary(self.engine, request.caller, task.context, await self._step(request, task))

        for task in found:
            await page.add(await shown_later(task, summary, bare_task))
        return page.answer(total)

    async def search_tasks_whole(self, request: Request) -> Response:
        total, found = await self.tasks.find(request.caller, question_of(request, "searchTasksV2", tasks.FIELDS))
        page = _Page()
        for task in found:
            await page.add(await shown_later(task, partial(self._task, request), bare_task))
        return page.answer(total)

    async def _task(self, request: Request, task: FoundTask) -> view.Task:
        step = await self._step(request, task)
        return view.task_view(task.context, step, await view.output_of(self.engine, request.caller, step))

    async def _step(self, request: Request, task: FoundTask) -> OpenStep | Step:
        """With its input and output."""
        return await self.engine.step(request.caller, task.step.run, task.step.n) or task.step


def bare_task(task: FoundTask, why: str) -> dict[str, Any]:
    return view.bare_task(task.context, task.step, why)


class _Page:
    """Results as text, so that what they take is known."""

    def __init__(self) -> None:
        self.rows: list[msgspec.Raw] = []
        self._bytes = 0

    async def add(self, row: Any) -> None:
        text = _encode(row)
        self._bytes += len(text)
        if self._bytes > MAX_BYTES:
            raise PeltonError(
                Code.TOO_LARGE,
                f"the results have more than {MAX_BYTES // 2**20} MB",
                field="size",
                remedy="ask for fewer at a time",
            )
        self.rows.append(msgspec.Raw(text))
        if len(self.rows) % 50 == 0:
            await asyncio.sleep(0)  # reads do not wait

    def answer(self, total: int) -> Response:
        return json_response({"totalHits": total, "results": self.rows})


def question_of(request: Request, operation: str, fields: Collection[str]) -> SearchQuestion:
    query = request.query
    size = query.integer("size", 100)
    if size > MAX_SIZE:
        raise PeltonError(
            Code.INVALID, f"{operation}.size: Cannot return more than {MAX_SIZE} workflows. Please use pagination.", "size"
        )
    text = query.text("freeText")
    return SearchQuestion(
        conditions=grammar.parse(query.text("query")),
        text=text if grammar.limits(text) else "",
        sort=grammar.parse_sort(query.text("sort"), fields),
        start=query.integer("start", 0),
        size=size,
        top_level=query.boolean("topLevelOnly", False),
    )
