"""The queues through which waiting tasks are completed in the original, one for each status, and settings of event queues. Here a
message to such a queue is a report, made at once; settings are kept for those who read them, and change nothing."""

from __future__ import annotations

from typing import Any

import msgspec

from pelton.errors import Code, PeltonError
from pelton.kernel.model.signals import Report
from pelton.kernel.model.state import OpenStep
from pelton.languages.conductor import decode, status_names
from pelton.languages.conductor.http.api_context import ConductorApi
from pelton.languages.conductor.model import LANGUAGE
from pelton.languages.conductor.runs.identifiers import split_reference
from pelton.runtime.caller import Caller
from pelton.transport.http.asgi import Request, Response, Router, empty, json_response

STATUSES = ("COMPLETED", "FAILED")
KIND = "event-queue"
_OVER = frozenset({Code.ENDED, Code.STEP_ENDED, Code.NO_STEP})


class WaitQueueRoutes:
    def __init__(self, api: ConductorApi) -> None:
        self.api = api
        self.engine = api.engine

    def add_to(self, router: Router) -> None:
        router.add("GET", "/queue", self.names)
        router.add("GET", "/queue/size", self.sizes)
        router.add("POST", "/queue/update/{wf}/{ref}/{status}", self.update)
        router.add("POST", "/queue/update/{wf}/task/{task}/{status}", self.update_task)
        router.add("GET", "/event/queue/config", self.all_settings)
        one = "/event/queue/config/{type}/{name}"
        router.add("GET", one, self.settings)
        router.add("PUT", one, self.set)
        router.add("DELETE", one, self.remove)

    # ---- waiting tasks

    async def names(self, request: Request) -> Response:
        return json_response({status: f"conductor:{status}" for status in STATUSES})

    async def sizes(self, request: Request) -> Response:
        """Nothing ever waits in them."""
        return json_response({f"conductor:{status}": 0 for status in STATUSES})

    async def update(self, request: Request) -> Response:
        """A message for a task that is not open is dropped, as in the original."""
        status, output = _status(request), decode.decode_map(await request.body(), "the task's output")
        found = await self.api.view(request.caller, request.path["wf"])
        slot, it = split_reference(request.path["ref"], found.process.nodes)
        step = await self.engine.newest(request.caller, found.run.key, slot, it)
        if isinstance(step, OpenStep):
            await self._report(request.caller, step, status, output)
        return empty()

    async def update_task(self, request: Request) -> Response:
        status, output = _status(request), decode.decode_map(await request.body(), "the task's output")
        found, step = await self.api.step(request.caller, request.path["task"])
        if self.engine.codec.run_id(found.run.key) != request.path["wf"]:
            raise PeltonError(Code.NOT_FOUND, f"Task not found for taskId: {request.path['task'][:200]}")
        if isinstance(step, OpenStep):
            await self._report(request.caller, step, status, output)
        return empty()

    async def _report(self, caller: Caller, step: OpenStep, status: int, output: dict[str, Any]) -> None:
        [done] = await self.engine.report(caller, [(step.run, Report(n=step.n, status=status, output=output))])
        if done.error is not None and done.error.code not in _OVER:
            raise done.error

    # ---- settings

    async def all_settings(self, request: Request) -> Response:
        rows = [row async for row in self.engine.each_definition(request.caller, KIND)]
        return json_response({row.name: msgspec.Raw(row.body) for row in rows if row.language == LANGUAGE})

    def _name(self, request: Request) -> str:
        return f"{request.path['type']}:{request.path['name']}"

    async def settings(self, request: Request) -> Response:
        """{} where there are none."""
        row = await self.engine.definition(request.caller, KIND, self._name(request))
        return json_response(msgspec.Raw(row.body if row is not None and row.language == LANGUAGE else b"{}"))

    async def set(self, request: Request) -> Response:
        given = decode.decode_map(await request.body(), "the settings")
        await self.engine.define(request.caller, KIND, LANGUAGE, self._name(request), 1, msgspec.json.encode(given))
        return empty()

    async def remove(self, request: Request) -> Response:
        """It is no error when there are none."""
        name = self._name(request)
        if await self.api.owns(request.caller, KIND, name):
            await self.engine.undefine(request.caller, KIND, name, 1)
        return empty()


def _status(request: Request) -> int:
    text = request.path["status"]
    status = status_names.REPORTED.get(text)
    if text not in STATUSES or status is None:
        raise PeltonError(Code.INVALID, f"There is no queue for handling {text[:100]} status")
    return status
