"""Callers who wait for an answer from the middle of a run."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.kernel.graphs import Graph, look, outside, say
from tests.runtime.harness import code_of
from tests.runtime.living import Living, living
from tests.runtime.nodes import STORES, two

from pelton.errors import Code
from pelton.kernel.model.process import Process
from pelton.kernel.model.signals import Report
from pelton.runtime.api import StartCommand
from pelton.runtime.await_reply import LONGEST
from pelton.runtime.caller import SERVER, Caller


def asked() -> Process:
    """It waits, answers twice, and goes on."""
    graph = Graph("asked").wait("w", outside(), to="one")
    sink = look(lambda scene: "reply:" + scene.input)
    graph.emit("one", sink, say({"first": None}), "two").emit("two", sink, say("second"), "rest")
    return graph.wait("rest", outside()).build()


async def ask(at: Living, request: str = "r", keep: int = 60_000) -> int:
    await at.engine.expect_reply(SERVER, request, keep)
    return (await at.engine.start(SERVER, StartCommand(process="asked", input=request))).key


def waits(at: Living, request: str = "r", timeout: float = 60) -> asyncio.Future[Any]:
    return asyncio.ensure_future(at.engine.await_reply(SERVER, request, timeout))


async def code(coroutine: Any) -> str:
    return await code_of(asyncio.ensure_future(coroutine))


async def test_the_first_answer_wakes_its_caller_and_is_read_once(tmp_path: Path) -> None:
    async with living(tmp_path, asked) as at:
        run = await ask(at)
        answer = waits(at)
        await at.quiet()
        assert not answer.done()
        await at.engine.signal(SERVER, run, Report(slot="w"))
        assert (await answer).body == {"first": None}
        assert await code(at.engine.await_reply(SERVER, "r", 1)) == Code.NOT_FOUND
        assert at.engine.watches.stats()["watches"] == 0
        assert await at.store.deliveries(1) == []
        head = await at.engine.head(SERVER, run)
        assert head is not None
        assert not head.ended


async def test_an_answer_stays_for_a_caller_who_comes_later_also_after_a_restart(tmp_path: Path) -> None:
    async with living(tmp_path, asked) as at:
        run = await ask(at)
        assert await at.engine.await_reply(SERVER, "r", 0) is None
        await at.engine.signal(SERVER, run, Report(slot="w"))
    async with living(tmp_path, asked) as at:
        assert (await at.engine.await_reply(SERVER, "r", 0)) == ({"first": None},)
        await ask(at)


async def test_of_two_who_wait_for_one_answer_one_gets_it(tmp_path: Path) -> None:
    async with living(tmp_path, asked) as at:
        run = await ask(at)
        both = [waits(at), waits(at)]
        await at.engine.signal(SERVER, run, Report(slot="w"))
        found = await asyncio.gather(*both, return_exceptions=True)
        assert sorted(type(each).__name__ for each in found) == ["PeltonError", "ReplyFound"]


async def test_a_request_is_one_callers_and_in_one_namespace(tmp_path: Path) -> None:
    async with living(tmp_path, asked) as at:
        run = await ask(at)
        assert await code(at.engine.expect_reply(SERVER, "r", 1_000)) == Code.EXISTS
        other = Caller("other", user="x")
        await at.engine.expect_reply(other, "r", 60_000)
        await at.engine.signal(SERVER, run, Report(slot="w"))
        assert await at.engine.await_reply(other, "r", 0) is None
        for name, keep in (("", 1), ("x" * (LONGEST + 1), 1), ("x", 0), ("x", 1 << 40)):
            assert await code(at.engine.expect_reply(SERVER, name, keep)) == Code.INVALID


async def test_a_request_that_has_expired_gets_no_answer_and_its_name_is_free(tmp_path: Path) -> None:
    async with living(tmp_path, asked) as at:
        run = await ask(at, keep=1)
        expired = at.store.now() + 1
        await at.until(lambda: at.store.now() > expired)
        await at.engine.signal(SERVER, run, Report(slot="w"))
        assert await code(at.engine.await_reply(SERVER, "r", 60)) == Code.NOT_FOUND
        await at.engine.expect_reply(SERVER, "r", 60_000)
        assert await at.engine.await_reply(SERVER, "r", 0) is None


async def test_a_step_without_a_name_to_answer_to_fails(tmp_path: Path) -> None:
    async with living(tmp_path, asked) as at:
        run = (await at.engine.start(SERVER, StartCommand(process="asked", input=""))).key
        await at.engine.signal(SERVER, run, Report(slot="w"))
        head = await at.engine.head(SERVER, run)
        assert head is not None
        assert head.ended
        assert at.engine.check_sink("reply:") is not None
        assert at.engine.check_sink("reply:r") is None


@pytest.mark.parametrize("kind", STORES)
async def test_an_answer_reaches_a_caller_at_another_engine(kind: str, tmp_path: Path) -> None:
    async with two(kind, tmp_path, asked) as pair:
        run = await ask(pair.a)
        answer = waits(pair.a)
        await pair.b.engine.signal(SERVER, run, Report(slot="w"))
        assert (await answer).body == {"first": None}
        assert await code(pair.b.engine.await_reply(SERVER, "r", 0)) == Code.NOT_FOUND
