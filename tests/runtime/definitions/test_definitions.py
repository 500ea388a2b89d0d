"""Definitions: versions as they were, bindings by content, handler sets that follow their counter."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec import json
from tests.kernel.graphs import Graph
from tests.runtime.harness import Rig, Shapes, handles, rig

from pelton.errors import PeltonError
from pelton.kernel.expressions.base import Invalid
from pelton.kernel.model.process import Process
from pelton.runtime.definitions.definitions import REFERENCES, DefinitionCache
from pelton.store.rows import DefinitionRow


class Referring(Shapes):
    """Its processes refer to a policy named as they are."""

    def bind(self, row: DefinitionRow, refer: Callable[[str, str, int], DefinitionRow | None]) -> bytes:
        policy = refer("policy", row.name, 1)
        deeper = refer("policy", policy.body.decode(), 1) if policy is not None else None
        return json.encode([row.name, policy.body.decode() if policy else None, deeper.body.decode() if deeper else None])

    def compile(self, name: str, version: int, body: bytes, definition: int) -> Process:
        bound = json.decode(body)
        if bound[0] == "bad":
            raise Invalid("no good")
        process = Graph(name).work("a", queue=str(bound[1])).build()
        process.annotations = bound
        return process


def definitions_of(at: Rig) -> DefinitionCache:
    return at.committer.workspace.definitions


async def test_the_same_again_changes_nothing_and_versions_stay_readable(tmp_path: Path) -> None:
    async with rig(tmp_path) as at:
        cache = definitions_of(at)
        one = await cache.define("default", "policy", "shapes", "p", 1, b"1")
        assert await cache.define("default", "policy", "shapes", "p", 1, b"1") == one
        two = await cache.define("default", "policy", "shapes", "p", 1, b"2")
        assert two.since > one.since
        assert await cache.find("default", "policy", "p") == two
        old = await cache.find("default", "policy", "p", at=one.since)
        assert old is not None
        assert old.body == b"1"
        with pytest.raises(PeltonError) as exists:
            await cache.define("default", "policy", "shapes", "p", 1, b"3", must_be_new=True)
        assert exists.value.code == "exists"
        await cache.undefine("default", "policy", "p", 1)
        assert await cache.find("default", "policy", "p") is None
        with pytest.raises(PeltonError) as missing:
            await cache.undefine("default", "policy", "p", 1)
        assert missing.value.code == "not found"


async def test_writers_of_one_name_at_the_same_moment_leave_one_live_row(tmp_path: Path) -> None:
    async with rig(tmp_path) as at:
        cache = definitions_of(at)
        rows = await asyncio.gather(*(cache.define("default", "policy", "shapes", "p", 1, str(n).encode()) for n in range(5)))
        assert len({row.since for row in rows}) == 5
        assert len(await at.store.definitions("default", "policy")) == 1


async def test_who_has_seen_another_row_changes_nothing(tmp_path: Path) -> None:
    async with rig(tmp_path) as at:
        cache = definitions_of(at)
        first = await cache.define("default", "policy", "shapes", "p", 1, b"0")
        changes = (cache.define("default", "policy", "shapes", "p", 1, str(n).encode(), seen=first.id) for n in range(1, 6))
        found = await asyncio.gather(*changes, return_exceptions=True)
        assert [each.code for each in found if isinstance(each, PeltonError)] == ["conflict"] * 4
        live = await cache.find("default", "policy", "p")
        assert live in found
        assert live is not None
        gone = await cache.undefine("default", "policy", "p", 1)
        assert gone > live.since
        assert await cache.find("default", "policy", "p", at=gone - 1) is not None
        assert await cache.find("default", "policy", "p", at=gone) is None
        with pytest.raises(PeltonError) as late:
            await cache.define("default", "policy", "shapes", "p", 1, b"late", seen=live.id)
        assert late.value.code == "conflict"


async def test_a_binding_follows_what_it_refers_to(tmp_path: Path) -> None:
    async with rig(tmp_path, shapes=Referring()) as at:
        cache = definitions_of(at)
        await cache.define("default", "process", "shapes", "x", 1, b"{}")
        plain = await cache.bind("default", "x")
        assert plain.annotations == ["x", None, None]
        assert await cache.bind("default", "x") is plain
        await cache.define("default", "policy", "shapes", "x", 1, b"y")
        await cache.define("default", "policy", "shapes", "y", 1, b"z")
        changed = await cache.bind("default", "x")
        assert changed.annotations == ["x", "y", "z"]
        assert changed.definition != plain.definition
        await cache.undefine("default", "policy", "x", 1)
        assert (await cache.bind("default", "x")).definition == plain.definition
        assert (await cache.process(changed.definition)).annotations == ["x", "y", "z"]


async def test_those_who_bind_together_make_one_row(tmp_path: Path) -> None:
    async with rig(tmp_path, shapes=Referring()) as at:
        cache = definitions_of(at)
        await cache.define("default", "process", "shapes", "x", 1, b"{}")
        processes = await asyncio.gather(*(cache.bind("default", "x") for _ in range(10)))
        assert len({process.definition for process in processes}) == 1
        assert len(await at.store.definitions("default", "bound")) == 1


async def test_what_does_not_compile_is_refused_and_not_kept(tmp_path: Path) -> None:
    async with rig(tmp_path, shapes=Referring()) as at:
        with pytest.raises(PeltonError) as error:
            await definitions_of(at).bind_inline("default", "shapes", "bad", 1, b"{}")
        assert (error.value.code, error.value.message) == ("invalid", "process 'bad': no good")
        assert await at.store.definitions("default", "bound") == []
        assert await definitions_of(at).inline("default", "shapes", "[1]") == "a definition must be an object"


class ReferringOften(Referring):
    """Its processes refer to one policy for each of many steps."""

    def bind(self, row: DefinitionRow, refer: Callable[[str, str, int], DefinitionRow | None]) -> bytes:
        for _ in range(2 * REFERENCES):
            refer("policy", row.name, 1)
        return super().bind(row, refer)


async def test_what_is_referred_to_often_counts_once(tmp_path: Path) -> None:
    async with rig(tmp_path, shapes=ReferringOften()) as at:
        await definitions_of(at).define("default", "process", "shapes", "p", 1, b"{}")
        assert (await definitions_of(at).bind("default", "p")).name == "p"


async def test_a_handler_set_hears_what_its_active_handlers_are_for(tmp_path: Path) -> None:
    async with rig(tmp_path) as at:
        cache = definitions_of(at)
        handlers = await cache.handlers.refresh("default")
        assert not handlers.hears("order.made")
        await at.handle("one", handles("order.*"))
        await at.handle("two", handles("run.ended"))
        assert (handlers.hears("order.made"), handlers.hears("run.ended"), handlers.hears("run")) == (True, True, False)
        await cache.undefine("default", "handler", "one", 1)
        assert not handlers.hears("order.made")
        assert handlers.counter == await at.store.handler_counter("default")
