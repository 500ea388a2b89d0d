"""A tiny language, for the contract of `pelton.languages.plugin`: a definition is `{"tiny": NAME, "queue": QUEUE}`, one step.

Two endpoints: `POST /tiny/{name}` starts a run, and the method `Start` of the service `tiny.Tiny` does so over gRPC. Further a
sink `tiny:` and an operation. Whatever this file needs, the next language will need too; nothing else in Pelton knows it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from msgspec import json
from tests.kernel.graphs import Graph, expression

from pelton.errors import Code, PeltonError
from pelton.kernel.expressions.base import JSON, Invalid
from pelton.kernel.matching.handlers import Handler
from pelton.kernel.model.process import Process
from pelton.kernel.model.signals import Report
from pelton.kernel.model.state import StepStatus
from pelton.languages.plugin import Detected, Example, Host, Offer
from pelton.runtime.api import ActionContext, Engine, StartCommand, WorkItem
from pelton.runtime.caller import Caller
from pelton.runtime.rows import DefinitionRow, Delivery, EventRow
from pelton.transport.grpc.service import Service
from pelton.transport.http.asgi import Request, Response, Router, json_response
from pelton.transport.http.mounts import Mount

NAME = "tiny"


class Compiler:
    name = NAME

    def bind(self, row: DefinitionRow, refer: Callable[[str, str, int], DefinitionRow | None]) -> bytes:
        return row.body

    def compile(self, name: str, version: int, body: bytes, definition: int) -> Process:
        queue = json.decode(body).get("queue")
        if not isinstance(queue, str):
            raise Invalid("a tiny definition needs a queue")
        graph = Graph(name).work("work", queue=queue, to="told").emit("told", f"tiny:{name}", expression("done"))
        process = graph.build()
        process.version, process.definition, process.language = version, definition, NAME
        return process

    def payload(self, event: EventRow) -> JSON:
        return {"said": event.body}

    def handler(self, row: DefinitionRow) -> Handler:
        wanted = json.decode(row.body)

        class Starts:
            name = "starts"
            records = ""

            def plan(self, context: ActionContext) -> Sequence[StartCommand]:
                return [StartCommand(process=wanted["starts"], input=context.payload)]

        return Handler(
            id=row.id, ns=row.ns, name=row.name, types=(wanted["on"],), filter=None, actions=(Starts(),), language=NAME
        )


class Tiny:
    """What both endpoints do, in the caller's namespace."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.received: list[str] = []

    async def define(self, caller: Caller, document: Any) -> None:
        kind = "handler" if "on" in document else "process"
        await self._engine.define(caller, kind, NAME, document["tiny"], 1, json.encode(document))

    async def start(self, caller: Caller, name: str) -> str:
        return self._engine.codec.run_id((await self._engine.start(caller, StartCommand(process=name))).key)

    async def take(self, delivery: Delivery) -> None:
        self.received.append(delivery.sink)


async def doubled(item: WorkItem) -> Report:
    return Report(status=int(StepStatus.COMPLETED), output=2)


class Plugin:
    name = NAME

    def detect(self, document: Any) -> Detected | None:
        if not isinstance(document, dict) or "tiny" not in document:
            return None
        if not isinstance(document["tiny"], str):
            raise PeltonError(Code.INVALID, "tiny must be a name", "tiny")
        return Detected("definition", document["tiny"], (("POST", "/tiny", document),))

    def removal(self, kind: str, identity: str) -> tuple[str, str] | None:
        return None

    def examples(self) -> Sequence[Example]:
        return [Example("pack", {"tiny": "pack", "queue": "packing"})]

    def offer(self, host: Host) -> Offer:
        tiny = Tiny(host.engine)
        router = Router(answer_error)

        async def define(request: Request) -> Response:
            await tiny.define(request.caller, json.decode(await request.body()))
            return json_response({}, 201)

        async def start(request: Request) -> Response:
            return json_response({"run": await tiny.start(request.caller, request.path["name"])})

        async def received(request: Request) -> Response:
            return json_response(tiny.received)

        router.add("POST", "/", define)
        router.add("POST", "/{name}", start)
        router.add("GET", "/received", received)

        async def start_call(caller: Caller, message: Any) -> Any:
            return {"run": await tiny.start(caller, message["name"])}

        return Offer(
            compilers=(Compiler(),),
            operations={"tiny:double": doubled},
            sinks={NAME: tiny.take},
            mounts=(Mount("/tiny", router),),
            services=(Service("tiny.Tiny", {"Start": start_call}),),
        )


def answer_error(error: Exception) -> Response | None:
    return json_response({"why": error.message}, 400) if isinstance(error, PeltonError) else None


PLUGIN = Plugin()
