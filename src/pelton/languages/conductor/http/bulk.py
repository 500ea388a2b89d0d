"""Several workflows in one request: operators' actions on a list of ids, and workflows by their correlation ids."""

from __future__ import annotations

from typing import Any

import msgspec

from pelton.errors import Code, PeltonError
from pelton.kernel.model.state import RunStatus
from pelton.languages.conductor import decode, status_names
from pelton.languages.conductor.http.api_context import ConductorApi, bulk
from pelton.languages.conductor.http.runs import WorkflowRoutes
from pelton.languages.conductor.runs import view
from pelton.languages.conductor.runs.starting import CORRELATION
from pelton.transport.bulk import apply_to_each, refusal
from pelton.transport.http.asgi import Handler, Request, Response, Router, json_response
from pelton.transport.http.errors import WebError

MOST = 1_000  # ids of one request, and workflows of one answer

_encode = msgspec.json.encode


class BulkRoutes:
    def __init__(self, api: ConductorApi, runs: WorkflowRoutes) -> None:
        self.api = api
        self.engine = api.engine
        self.runs = runs

    def add_to(self, router: Router) -> None:
        runs, base = self.runs, "/workflow/bulk"
        router.add("PUT", f"{base}/pause", self._each(runs.pause))
        router.add("PUT", f"{base}/resume", self._each(runs.resume))
        router.add("POST", f"{base}/restart", self._each(runs.restart))
        router.add("POST", f"{base}/retry", self._each(runs.retry))
        router.add("POST", f"{base}/terminate", self._each(runs.terminate))
        router.add("DELETE", f"{base}/remove", self._each(runs.remove))
        router.add("DELETE", f"{base}/terminate-remove", self._each(runs.terminate_remove))
        router.add("GET", "/workflow/{name}/correlated/{cid}", self.correlated)
        router.add("POST", "/workflow/{name}/correlated", self.correlated_ids)
        router.add("POST", "/workflow/correlated/batch", self.correlated_batch)

    # ---- operators

    def _each(self, act: Handler) -> Handler:
        """A handler that does to every id of the body what `act` does to the one in its path, with the same query."""

        async def all_of(request: Request) -> Response:
            ids = list(dict.fromkeys(decode.decode_texts(await request.body(), "the workflow ids")))
            if not ids:
                raise PeltonError(Code.INVALID, "WorkflowIds list cannot be null.")
            _check_count(len(ids))
            outcome = await apply_to_each(ids, lambda identity: act(request.about({"id": identity})), refusal=_refusal)
            return bulk(outcome.done, outcome.failed)

        return all_of

    # ---- by correlation

    async def _of(self, name: str, correlation: str, request: Request, room: int) -> list[msgspec.Raw]:
        """Workflows of a name and a correlation id, newest first."""
        closed = request.query.boolean("includeClosed", False)
        tasks = request.query.boolean("includeTasks", False)
        found: list[msgspec.Raw] = []
        for key in await self.engine.runs_named(request.caller, CORRELATION, name, correlation):
            run = await self.engine.view(request.caller, key)
            if run is None or run.process.language != self.api.language or run.run.status == RunStatus.EXPECTED:
                continue
            # A rerun may have given it another correlation id.
            if view.meta_of(run.start).correlation != correlation or (
                status_names.known_status(run.run.status).ended and not closed
            ):
                continue
            if len(found) >= room:
                raise PeltonError(Code.INVALID, f"more than {MOST} workflows have these correlation ids; ask for fewer at a time")
            found.append(msgspec.Raw(_encode(await view.workflow_view(self.engine, request.caller, run, tasks))))
        return found

    async def correlated(self, request: Request) -> Response:
        return json_response(await self._of(request.path["name"], request.path["cid"], request, MOST))

    async def _by_id(self, names: list[str], ids: list[str], request: Request) -> Response:
        _check_count(len(ids) * max(len(names), 1))
        found: dict[str, list[msgspec.Raw]] = {}
        room = MOST
        for correlation in dict.fromkeys(ids):
            mine: list[msgspec.Raw] = []
            for name in dict.fromkeys(names):
                mine += await self._of(name, correlation, request, room - len(mine))
            room -= len(mine)
            found[correlation] = mine
        return json_response(found)

    async def correlated_ids(self, request: Request) -> Response:
        ids = decode.decode_texts(await request.body(), "the correlation ids")
        return await self._by_id([request.path["name"]], ids, request)

    async def correlated_batch(self, request: Request) -> Response:
        given = decode.decode_map(await request.body(), "the request")
        return await self._by_id(_texts(given, "workflowNames"), _texts(given, "correlationIds"), request)


def _refusal(error: Exception) -> str | None:
    return error.message if isinstance(error, WebError) else refusal(error)


def _texts(given: dict[str, Any], name: str) -> list[str]:
    return decode.decode_texts(_encode(given.get(name) or []), name)


def _check_count(count: int) -> None:
    if count > MOST:
        raise PeltonError(Code.INVALID, f"Cannot process more than {MOST} workflows. Please use multiple requests.")
