"""What the engine does with a process as a whole: lists it, pauses and resumes it, and shows what stands at its nodes.

`runtime.api.Engine` documents each method.
"""

from __future__ import annotations

import asyncio

from pelton.errors import Code, PeltonError
from pelton.kernel.machine.pauses import describe
from pelton.kernel.machine.tokens.threads import OPERATOR, PROCESS
from pelton.kernel.model.reads import ThreadKey
from pelton.kernel.model.state import OpenStep, Run, RunStatus
from pelton.runtime.api import ProcessInfo
from pelton.runtime.cache.pauses import pause_of
from pelton.runtime.caller import Caller
from pelton.runtime.commit.committer import Committer
from pelton.runtime.engine_reads import EngineReads
from pelton.runtime.events.pauses import PauseRequest
from pelton.runtime.services import log
from pelton.store.rows import PauseRow

LONGEST_WHY = 1_000  # characters
PROCESS_KIND = "process"


class EngineProcesses(EngineReads):
    committer: Committer

    async def pause_process(self, caller: Caller, process: str, *, why: str = "", refuse_new: bool = False) -> PauseRow:
        row = await self._change_pause(caller, process, True, why, refuse_new)
        log.info("a process is paused", ns=caller.namespace, process=process, by=row.by, why=row.why)
        return row

    async def resume_process(self, caller: Caller, process: str, *, why: str = "") -> PauseRow:
        row = await self._change_pause(caller, process, False, why, False)
        log.info("a process is resumed", ns=caller.namespace, process=process, by=row.by, why=row.why)
        return row

    async def _change_pause(self, caller: Caller, process: str, paused: bool, why: str, refuse_new: bool) -> PauseRow:
        if len(why) > LONGEST_WHY:
            raise PeltonError(Code.INVALID, f"a reason has at most {LONGEST_WHY} characters", "why", remedy="shorten it")
        ns = caller.namespace
        await self.process_info(caller, process)
        future: asyncio.Future[PauseRow] = asyncio.get_running_loop().create_future()

        def done(request: PauseRequest) -> None:
            if future.done():
                return
            if request.error is not None:
                future.set_exception(request.error)
            else:
                assert request.row is not None
                future.set_result(request.row)

        self.committer.enqueue(PauseRequest((ns, process), paused, by=caller.user, why=why, refuses=refuse_new, done=done))
        return await future

    async def pause_of(self, caller: Caller, process: str) -> PauseRow | None:
        row = await self.store.pause(caller.namespace, process)
        return row if row is not None and row.paused else None

    async def why_paused(self, caller: Caller, run: Run) -> str:
        if run.status != RunStatus.PAUSED:
            return ""
        (root,) = await self.store.read(run, [ThreadKey(0)])
        reasons = root.reasons if root is not None else ()
        texts = ["an operator has paused the run"] if OPERATOR in reasons else []
        if PROCESS in reasons:
            process = (await self.definition_cache.process(run.definition)).name
            row = await self.store.pause(run.ns, process)
            found = pause_of(row) if row is not None else None
            goes_on = f"process {process!r} was paused, and the run is about to go on"
            texts.insert(0, describe(process, found) if found is not None else goes_on)
        return "; ".join(texts)

    async def processes(self, caller: Caller, *, after: str = "", limit: int = 100) -> list[ProcessInfo]:
        found: dict[str, tuple[str, list[int]]] = {}  # language of the last version, and the versions
        async for row in self.each_definition(caller, PROCESS_KIND, after=after):
            if row.name not in found and len(found) == limit:
                break
            versions = found[row.name][1] if row.name in found else []
            versions.append(row.version)
            found[row.name] = row.language, versions
        return [await self._info(caller.namespace, name, *each) for name, each in found.items()]

    async def process_info(self, caller: Caller, process: str) -> ProcessInfo:
        ns = caller.namespace
        language, versions = "", list[int]()
        async for row in self.each_definition(caller, PROCESS_KIND, name=process):
            language = row.language
            versions.append(row.version)
        info = await self._info(ns, process, language, versions)
        if not versions and info.pause is None and not await self.store.count_live(ns, process, 1):
            raise PeltonError(Code.UNKNOWN_PROCESS, f"there is no process named {process!r}", "process")
        return info

    async def _info(self, ns: str, name: str, language: str, versions: list[int]) -> ProcessInfo:
        pause = await self.store.pause(ns, name)
        paused = pause if pause is not None and pause.paused else None
        return ProcessInfo(name, language, versions, paused)

    async def count_live(self, caller: Caller, process: str, most: int) -> int:
        return await self.store.count_live(caller.namespace, process, most)

    async def at_node(
        self, caller: Caller, process: str, node: str, after: tuple[int, int] = (0, 0), limit: int = 100
    ) -> list[OpenStep]:
        return await self.store.at_node(caller.namespace, process, node, after, limit)

    async def count_at_node(self, caller: Caller, process: str, node: str, most: int) -> int:
        return await self.store.count_at_node(caller.namespace, process, node, most)
