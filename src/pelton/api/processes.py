"""/v1/processes: processes as a whole. Definitions come and go through their language's API; here they are listed and paused."""

from __future__ import annotations

from typing import Any

from pelton.api.calls import Parameter, Route, answer, decoded
from pelton.api.ids import run_key
from pelton.api.problems import bad
from pelton.api.runs import bare_step, step_view
from pelton.kernel.model.state import OpenStep
from pelton.models import NodeStepPage, NodeStepView, PauseIn, PauseView, ProcessPage, ProcessView, ResumeIn
from pelton.runtime.api import Engine, ProcessInfo
from pelton.runtime.caller import Caller
from pelton.runtime.rows import PauseRow
from pelton.transport.http.asgi import Request, Response
from pelton.transport.pages import cut_page, shown_later, shown_row

NAME = Parameter("name", "The process's name")
NODE = Parameter("node", "The node's name, as in the definition")
AFTER_NAME = Parameter("after", "Only processes with later names: `after` of the previous page")
PAGE = Parameter("limit", "Maximum number to return", "integer", 100, low=1, high=100)
AFTER = Parameter("after", "`after` of the previous page")
LIMIT = Parameter("limit", "Maximum number to return", "integer", 100, low=1, high=1_000)
LONGEST_NAME = 512
MOST_COUNTED = 10_000  # runs of a process, steps at a node
MOST_LISTED = 1_000  # runs of each process in a list
PAGE_BYTES = 1 << 20  # after which a page of steps ends, with one step at least
READ = 16  # steps at a time, since each may be large


class ProcessRoutes:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/v1/processes", "listProcesses", "List processes by name, with their versions, how many "
                  "runs are live, and whether they are paused.", self.list,
                  parameters=(AFTER_NAME, PAGE), takes=None, gives=(ProcessPage,), statuses=(400,)),
            Route("GET", "/v1/processes/{name}", "getProcess", "Get a process.", self.get,
                  parameters=(NAME,), takes=None, gives=(ProcessView,), statuses=(404,)),
            Route("POST", "/v1/processes/{name}/pause", "pauseProcess", "Pause a process: its live runs stand, soon, and "
                  "new ones start and stand before their first step, or are refused.", self.pause,
                  parameters=(NAME,), takes=PauseIn, gives=(ProcessView,), statuses=(400, 404)),
            Route("POST", "/v1/processes/{name}/resume", "resumeProcess", "Resume a process: its runs go on, soon, except "
                  "those that an operator has paused.", self.resume,
                  parameters=(NAME,), takes=ResumeIn, gives=(ProcessView,), statuses=(400, 404, 409)),
            Route("GET", "/v1/processes/{name}/nodes/{node}/steps", "listStepsAtNode", "List what stands at a node, over all "
                  "runs of the process: open steps, and tokens that a pause keeps there. The oldest run first.", self.steps,
                  parameters=(NAME, NODE, AFTER, LIMIT), takes=None, gives=(NodeStepPage,), statuses=(400, 404)),
        ]  # fmt: skip

    async def list(self, request: Request) -> Response:
        limit = PAGE.number(request)
        found = await self._engine.processes(request.caller, after=request.query.text("after"), limit=limit)

        async def view(info: ProcessInfo) -> ProcessView:
            return await self._view(request.caller, info, MOST_LISTED)

        shown = cut_page([await shown_later(info, view, bare) for info in found])
        return answer(ProcessPage(shown, found[len(shown) - 1].name if shown else ""))

    async def get(self, request: Request) -> Response:
        return await self._one(request)

    async def _one(self, request: Request) -> Response:
        info = await self._engine.process_info(request.caller, name_of(request))
        return answer(await self._view(request.caller, info, MOST_COUNTED))

    async def _view(self, caller: Caller, info: ProcessInfo, most: int) -> ProcessView:
        live = await self._engine.count_live(caller, info.name, most)
        return ProcessView(info.name, info.language, info.versions, live, live == most, pause_view(info.pause))

    async def pause(self, request: Request) -> Response:
        given = await decoded(request, PauseIn) if await request.body() else PauseIn()
        await self._engine.pause_process(request.caller, name_of(request), why=given.why, refuse_new=given.new_runs == "refuse")
        return await self._one(request)

    async def resume(self, request: Request) -> Response:
        given = await decoded(request, ResumeIn) if await request.body() else ResumeIn()
        await self._engine.resume_process(request.caller, name_of(request), why=given.why)
        return await self._one(request)

    async def steps(self, request: Request) -> Response:
        process, node = name_of(request), request.path["node"]
        if len(node) > LONGEST_NAME:
            raise bad("node", f"a name has at most {LONGEST_NAME} characters", "shorten it", node)
        limit = LIMIT.number(request)
        place = self._place(request.query.text("after"))
        await self._engine.process_info(request.caller, process)
        count = await self._engine.count_at_node(request.caller, process, node, MOST_COUNTED)
        codec = self._engine.codec
        views: list[Any] = []

        def view(row: OpenStep) -> NodeStepView:
            return NodeStepView(codec.run_id(row.run), step_view(codec, row))

        def bare_view(row: OpenStep, reason: str) -> NodeStepView:
            return NodeStepView(codec.run_id(row.run), bare_step(codec, row, reason))

        size = 0
        more = True
        while more and len(views) < limit and size < PAGE_BYTES:
            wanted = min(READ, limit - len(views))
            rows = await self._engine.at_node(request.caller, process, node, place, wanted)
            more = len(rows) == wanted
            for row in rows:
                shown = shown_row(row, view, bare_view)
                size += len(bytes(shown))
                if views and size > PAGE_BYTES:
                    more = True
                    break
                views.append(shown)
                place = row.run, row.n
        after = f"{codec.run_id(place[0])}:{place[1]}" if more and views else ""
        return answer(NodeStepPage(views, count, count == MOST_COUNTED, after))

    def _place(self, text: str) -> tuple[int, int]:
        if not text:
            return 0, 0
        run, _, number = text.rpartition(":")
        digits = number.removeprefix("-")
        if not (digits.isascii() and digits.isdigit() and len(digits) < 19):
            raise bad("after", "is not where a page ended", "use `after` of the previous page", text)
        return run_key(self._engine, run), int(number)


def bare(info: ProcessInfo, _: str) -> ProcessView:
    return ProcessView(info.name, info.language, info.versions)


def name_of(request: Request) -> str:
    name = request.path["name"]
    if len(name) > LONGEST_NAME:
        raise bad("name", f"a name has at most {LONGEST_NAME} characters", "shorten it", name)
    return name


def pause_view(row: PauseRow | None) -> PauseView | None:
    return None if row is None else PauseView(row.since, row.by, row.why, "refuse" if row.refuses else "stand")
