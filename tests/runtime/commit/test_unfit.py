"""What no store can hold is refused at once, with its reason, and takes nothing else with it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.kernel.graphs import Graph, on_event
from tests.runtime.nodes import STORES, two

from pelton.errors import Code, PeltonError
from pelton.kernel.model.process import Process
from pelton.kernel.model.signals import EventArrived
from pelton.runtime.api import StartCommand
from pelton.runtime.caller import SERVER
from pelton.runtime.commit.group_builder import GroupBuilder
from pelton.runtime.commit.requests import SignalRequest
from pelton.runtime.commit.unit_of_work import UnitOfWork
from pelton.store.rows import PendingSignalRow

case = pytest.mark.parametrize("kind", STORES)
HUGE = 1 << 70


def counting() -> Process:
    graph = Graph("counting")
    return graph.wait("w", on_event("go", stays=True)).build()


class Large(SignalRequest):
    """A signal that writes a number of more than 64 bits to a column as well."""

    def perform(self, unit: UnitOfWork) -> GroupBuilder | None:
        builder = super().perform(unit)
        if builder is not None:
            builder.group.pending_signals.append(PendingSignalRow(HUGE, self.run, b"", 0))
        return builder


@case
async def test_a_number_that_no_column_holds_is_refused_at_once(kind: str, tmp_path: Path) -> None:
    """Also where the store is asked for others in the same group, for the same run: they are there, each once."""
    async with two(kind, tmp_path, counting) as pair:
        at = pair.a
        run = (await at.engine.start(SERVER, StartCommand(process="counting"))).key
        other = (await at.engine.start(SERVER, StartCommand(process="counting"))).key
        committer = at.engine.committer
        futures: list[asyncio.Future[Any]] = []

        def done(future: asyncio.Future[Any]) -> Callable[[SignalRequest], None]:
            return lambda request: future.set_result(request.error)

        for number in range(12):
            future = asyncio.get_running_loop().create_future()
            kind_of = Large if number in {3, 7} else SignalRequest
            signal = EventArrived(id=number + 1, name="go", body=number)
            committer.enqueue(kind_of(run if number < 10 else other, signal, done(future)))
            futures.append(future)
        errors: list[PeltonError | None] = await asyncio.gather(*futures)
        refused = [number for number, error in enumerate(errors) if error is not None]
        assert refused == [3, 7]
        for number in refused:
            error = errors[number]
            assert error is not None
            assert error.code is Code.INVALID
            assert error.message.startswith("it cannot be stored: ")
        assert committer.stats["most_tries"] <= 2
        view = await at.engine.view(SERVER, run)
        assert view is not None
        assert view.run.ended == 0
