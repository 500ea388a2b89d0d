"""What this language's routes share: the engine, and the translation of public ids into keys. It is not bound to a namespace:
each call is made for a caller."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple

from pelton.errors import Code, PeltonError
from pelton.kernel.model.signals import Signal
from pelton.kernel.model.state import OpenStep, RunStatus, Step
from pelton.languages.conductor.model import LANGUAGE, CamelForm
from pelton.languages.conductor.runs import view
from pelton.languages.conductor.runs.identifiers import Ids
from pelton.runtime.api import Applied, Engine, RunView
from pelton.runtime.caller import Caller
from pelton.runtime.rows import DefinitionRow
from pelton.transport.http.asgi import Response, json_response


class Settings(NamedTuple):
    hold: int = 3_600_000  # milliseconds that a task's completion waits for the task to open
    schemes: frozenset[str] = frozenset({"conductor"})  # types of sinks that this server knows


class ConductorApi:
    def __init__(self, engine: Engine, ids: Ids, settings: Settings) -> None:
        self.engine = engine
        self.ids = ids
        self.settings = settings
        self.language = LANGUAGE

    def run_key(self, text: str) -> int:
        """Raises PeltonError "not found"."""
        key = self.ids.parse_run_id(text)
        if key is None:
            raise no_run(text)
        return key

    async def view(self, caller: Caller, text: str) -> RunView:
        """A run by its public id. Raises PeltonError "not found", for runs of other languages as well."""
        found = await self.engine.view(caller, self.run_key(text))
        if found is None or found.run.status == RunStatus.EXPECTED or found.process.language != self.language:
            raise no_run(text)
        return found

    async def signal(self, caller: Caller, text: str, signal: Signal) -> Applied:
        try:
            return await self.engine.signal(caller, self.run_key(text), signal)
        except PeltonError as error:
            if error.code in (Code.UNKNOWN_RUN, Code.NOT_FOUND):
                raise no_run(text) from None
            raise

    async def rows(self, caller: Caller, kind: str, name: str = "") -> AsyncIterator[DefinitionRow]:
        """This language's definitions of a kind, by name and version, a few in memory at a time; those of one name, if given."""
        async for row in self.engine.each_definition(caller, kind, name=name):
            if row.language == self.language:
                yield row

    async def owns(self, caller: Caller, kind: str, name: str, version: int = 0) -> bool:
        """Whether the definition exists and is of this language; others are neither shown nor changed here."""
        row = await self.engine.definition(caller, kind, name, version)
        return row is not None and row.language == self.language

    async def refuse_foreign(self, caller: Caller, kind: str, name: str, version: int = 0) -> None:
        """Raises PeltonError "conflict" when another language has the name."""
        row = await self.engine.definition(caller, kind, name, version)
        if row is not None and row.language != self.language:
            raise PeltonError(
                Code.CONFLICT, f"the name {name[:200]} belongs to a {kind} that was defined in another language; choose another"
            )

    async def step(self, caller: Caller, text: str) -> tuple[RunView, OpenStep | Step]:
        """A task and its run by the task's public id. Raises PeltonError "not found"."""
        place = self.ids.parse_step_id(text)
        found = await self.engine.view(caller, place[0]) if place is not None else None
        if place is None or found is None:
            raise PeltonError(Code.NOT_FOUND, f"Task not found for taskId: {text[:200]}")
        step = await self.engine.step(caller, place[0], place[1])
        if step is None or not view.is_task(step):
            raise PeltonError(Code.NOT_FOUND, f"Task not found for taskId: {text[:200]}")
        return found, step


def no_run(text: str) -> PeltonError:
    return PeltonError(Code.UNKNOWN_RUN, f"No such workflow found by id: {text[:200]}")


class Bulk(CamelForm):
    bulk_error_results: dict[str, str]
    bulk_successful_results: Sequence[str]


def bulk(done: Sequence[str], failed: dict[str, str]) -> Response:
    return json_response(Bulk(bulk_error_results=failed, bulk_successful_results=done))
