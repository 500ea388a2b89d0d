"""What a unit of work costs in the loop, by stage, without HTTP and without waiting: `uv run python -m bench.loop`.

The server runs in this process, with the writer of its store beside it unless `--store memory` is given, and its application is
called directly, by sixteen callers. Counted are the bytecodes that Python executes and the calls that it makes: both are the same
whatever else the machine does, and nearly the same in every run. A bytecode is some fifty machine instructions or more, with what
it calls (see `instructions.py`, which counts those, and the writer's and the protocol's with them).

A bytecode belongs to the innermost stage that it is executed in; `STAGES` says where each begins. `rest` is the loop, tasks
and futures. `--functions 40` lists the functions in which most are executed, `--against FILE` compares with what
`--save FILE` has kept of another version.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import uvloop
from bench.calls import Caller, Failed, local, request
from bench.instructions import Load, loads

from pelton.server.assembly import Given
from pelton.server.config import Config
from pelton.server.lifecycle import Server
from pelton.store.memory.store import MemoryStore
from pelton.store.sqlite.store import SqliteStore

WARM, COUNTED = 48, 160  # units
OWN = str(Path(__file__).parent)
URL = "local:"  # what callers of the application connect to

STAGES = {
    "front": ("pelton.server.app:App.__call__",),
    "parse": ("pelton.api.cloudevents:from_request", "pelton.transport.documents:parse"),
    "take in": ("pelton.runtime.events.ingest:EventIngester.ingest",),
    "perform": ("pelton.runtime.commit.committer:Committer._perform",),
    "match": ("pelton.runtime.events.matching:consider",),
    "order": ("pelton.runtime.events.ingest:EventRequest.concerns", "pelton.runtime.events.ingest:EventRequest.has_come"),
    "plan": ("pelton.runtime.events.actions:HandlerActions._plan",),
    "decide": ("pelton.kernel.machine.advance:advance",),
    "group": ("pelton.runtime.commit.unit_of_work:UnitOfWork.finish", "pelton.runtime.commit.committer:Committer._flush"),
    "encode": ("pelton.store.sqlite.encode:Encoded.take", "pelton.store.sqlite.encode:entangled"),
    "write": ("pelton.store.memory.store:MemoryStore.commit",),
    "send": ("pelton.store.sqlite.link:WriterLink.send", "pelton.store.sqlite.link:WriterLink._answered"),
    "settle": ("pelton.runtime.commit.committer:Committer._committed",),
    "answer": (
        "pelton.api.events:EventRoutes._accepted",
        "pelton.api.calls:answer",
        "pelton.transport.http.asgi:Response.send",
    ),
}


class Counts:
    """Bytecodes and calls, by stage and by function. Counts while it is `on`."""

    def __init__(self, stages: dict[CodeType, str]) -> None:
        self._stages = stages
        self._stack: list[str] = []
        self._stage = "rest"
        self.on = False
        self.bytecodes: Counter[str] = Counter()
        self.calls: Counter[str] = Counter()
        self.functions: Counter[CodeType] = Counter()

    def trace(self, frame: FrameType, event: str, _: Any) -> Callable[..., Any] | None:
        """For sys.settrace: called when a function begins or a coroutine goes on. What the callers here do is not counted."""
        code = frame.f_code
        if code.co_filename.startswith(OWN):
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        stage = self._stages.get(code)
        if self.on:
            self.calls[stage or self._stage] += 1
        if stage is None:
            return self._inner
        self._stack.append(self._stage)
        self._stage = stage
        return self._outermost

    def _inner(self, frame: FrameType, event: str, _: Any) -> Callable[..., Any]:
        if event == "opcode" and self.on:
            self.bytecodes[self._stage] += 1
            self.functions[frame.f_code] += 1
        return self._inner

    def _outermost(self, frame: FrameType, event: str, value: Any) -> Callable[..., Any]:
        """Of a function with which a stage begins: when it returns or waits, what was before goes on."""
        if event == "return":
            self._stage = self._stack.pop()
        self._inner(frame, event, value)
        return self._outermost


class Direct(Caller):
    """Calls an ASGI application with requests made for a connection."""

    def __init__(self, app: Any) -> None:
        super().__init__()
        self._app = app

    def ask(self, request: bytes) -> asyncio.Future[tuple[int, bytes]]:
        return asyncio.ensure_future(self._ask(request))

    async def _ask(self, request: bytes) -> tuple[int, bytes]:
        head, _, body = request.partition(b"\r\n\r\n")
        first, *lines = head.split(b"\r\n")
        method, target, _ = first.split(b" ")
        path, _, query = target.partition(b"?")
        headers = [(name.lower(), value.strip()) for name, _, value in (line.partition(b":") for line in lines)]
        scope = {
            "type": "http", "method": method.decode(), "path": path.decode(), "raw_path": path, "query_string": query,
            "headers": headers, "root_path": "",
        }  # fmt: skip
        arriving: list[Any] = [{"type": "http.request", "body": body, "more_body": False}]
        sent: list[Any] = []

        async def receive() -> Any:
            return arriving.pop() if arriving else await asyncio.Event().wait()  # the caller never hangs up

        async def send(message: Any) -> None:
            sent.append(message)

        await self._app(scope, receive, send)
        return sent[0]["status"], b"".join(message.get("body", b"") for message in sent)


class Open(Server):
    """A server whose application can be called."""

    app: Any = None

    def _app(self, parts: Any) -> Any:
        self.app = super()._app(parts)
        return self.app


def stages() -> dict[CodeType, str]:
    found: dict[CodeType, str] = {}
    for stage, places in STAGES.items():
        for place in places:
            module, _, name = place.partition(":")
            value: Any = import_module(module)
            for part in name.split("."):
                value = getattr(value, part)
            found[value.__code__] = stage
    return found


async def measure(load: Load, kind: str, counts: Counts) -> None:
    with tempfile.TemporaryDirectory(prefix="pelton-loop-") as directory:
        store = SqliteStore(Path(directory) / "pelton.db") if kind == "sqlite" else MemoryStore()
        server = Open(Config(port=0, data=directory), Given(store=store, any_loop=True))
        await server.start()
        local[URL] = lambda: Direct(server.app)
        try:
            caller = await Caller.connect(URL)
            for path, document in load.documents:
                await caller.good(request("POST", path, json.dumps(document).encode()))
            sys.settrace(counts.trace)
            try:
                await asyncio.create_task(load.units(URL, WARM // load.scale))  # type: ignore[arg-type]
                counts.on = True
                await asyncio.create_task(load.units(URL, COUNTED // load.scale))  # type: ignore[arg-type]
            finally:
                sys.settrace(None)
        finally:
            del local[URL]
            await server.stop()


def name_of(code: CodeType) -> str:
    return f"{'/'.join(Path(code.co_filename).parts[-2:])}:{code.co_qualname}"


def shown(counts: Counts, units: int) -> dict[str, Any]:
    functions: Counter[str] = Counter()
    for code, count in counts.functions.items():
        functions[name_of(code)] += count
    return {
        "stages": {stage: (counts.bytecodes[stage] / units, counts.calls[stage] / units) for stage in (*STAGES, "rest")},
        "functions": {name: count / units for name, count in functions.items()},
    }


def print_stages(found: dict[str, Any], before: dict[str, Any]) -> None:
    """`before`: of another version, or nothing."""
    total = [0.0, 0.0, 0.0]
    for stage, (bytecodes, calls) in found["stages"].items():
        earlier = before.get("stages", {}).get(stage, (0.0, 0.0))[0]
        total = [total[0] + bytecodes, total[1] + calls, total[2] + earlier]
        if bytecodes or earlier:
            print(f"  {stage:10} {bytecodes:9,.0f} bytecodes {calls:7.1f} calls" + (f"   ({earlier:9,.0f})" if before else ""))
    print(f"  {'together':10} {total[0]:9,.0f} bytecodes {total[1]:7.1f} calls" + (f"   ({total[2]:9,.0f})" if before else ""))


def print_functions(found: dict[str, Any], before: dict[str, Any], most: int) -> None:
    """Those with the most bytecodes; with another version those that differ most."""
    mine, theirs = found["functions"], before.get("functions", {})
    names = sorted(mine.keys() | theirs.keys(), key=lambda name: -abs(mine.get(name, 0) - theirs.get(name, 0)))
    for name in names[:most]:
        compared = f" {mine.get(name, 0) - theirs.get(name, 0):+9.1f}" if before else ""
        print(f"    {mine.get(name, 0):9.1f}{compared}  {name}")


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description="Counts what a unit of work costs in the loop, by stage.")
    parser.add_argument("--store", choices=("sqlite", "memory"), default="sqlite")
    parser.add_argument("--only", default="W1,W2,W3 singly,T1 3 fields", help="loads, by the beginnings of their names")
    parser.add_argument("--functions", type=int, default=0, metavar="N", help="list the N functions that cost most")
    parser.add_argument("--save", type=Path, help="write the counts to a file")
    parser.add_argument("--against", type=Path, help="compare with a file that was saved")
    options = parser.parse_args(arguments)
    before = json.loads(options.against.read_bytes()) if options.against else {}
    wanted = tuple(each for each in options.only.split(",") if each)
    saved: dict[str, Any] = {}
    for name, load in loads().items():
        if not name.startswith(wanted):
            continue
        counts = Counts(stages())
        uvloop.run(measure(load, options.store, counts))
        found = saved[name] = shown(counts, COUNTED // load.scale)
        print(f"{name}, a unit:")
        print_stages(found, before.get(name, {}))
        print_functions(found, before.get(name, {}), options.functions)
    if options.save:
        options.save.write_text(json.dumps(saved))


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except Failed as error:
        sys.exit(str(error))
