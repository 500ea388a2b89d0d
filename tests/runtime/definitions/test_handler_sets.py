"""Handler sets: they follow what anybody changes, at the cost of the change."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from tests.exploring import examples
from tests.patience import PATIENCE
from tests.runtime.events.test_ingest import event
from tests.runtime.harness import Rig, Shapes, Wrapped, handles, rig

from pelton.kernel.expressions.base import Invalid
from pelton.kernel.matching.handlers import Handler
from pelton.runtime.api import Ingested
from pelton.runtime.definitions import handler_sets
from pelton.runtime.definitions.handler_sets import PIECE, HandlerSet, HandlerSets
from pelton.runtime.events.ingest import EventIngester
from pelton.store.port import HandlerChange, Store
from pelton.store.rows import DefinitionRow


class Many(Shapes):
    """Handlers of any name; those called "broken..." do not compile."""

    def __init__(self) -> None:
        super().__init__()
        self.compiled = 0

    def handler(self, row: DefinitionRow) -> Handler:
        self.compiled += 1
        if row.name.startswith("broken"):
            raise Invalid("no good")
        return handles(f"type.{row.name}")(row)


async def define(at: Rig, name: str, body: bytes = b"1") -> None:
    await at.committer.workspace.definitions.define("default", "handler", "shapes", name, 1, body)


def another(at: Rig) -> HandlerSets:
    """As another server has them, on the same store."""
    return HandlerSets(at.store, at.committer.workspace.definitions.language)


def shown(found: HandlerSet) -> tuple[int, list[tuple[int, str]], list[int], set[str]]:
    types = {kind for handler in found.rows.values() for kind in handler.types}
    assert all(found.hears(kind) and found.names(kind) for kind in types)
    return found.counter, sorted((n, each.name) for n, each in found.rows.items()), sorted(each.id for each in found.index), types


async def test_registering_from_many_sides_costs_its_own_handlers_only(tmp_path: Path) -> None:
    many = Many()
    async with rig(tmp_path, shapes=many) as at:
        sets = at.committer.workspace.definitions.handlers
        await asyncio.gather(*(define(at, f"h{number}") for number in range(300)))
        known = await sets.refresh("default")
        assert (len(known.rows), known.counter, many.compiled) == (300, 300, 300)
        before = at.store.counts.rows_read
        await asyncio.gather(*(define(at, f"more{number}") for number in range(20)))
        assert (len(known.rows), many.compiled) == (320, 320)
        assert at.store.counts.rows_read - before <= 5 * 20
        assert shown(known) == shown(await another(at).refresh("default"))


async def test_a_set_follows_the_changes_of_another_server(tmp_path: Path) -> None:
    many = Many()
    async with rig(tmp_path, shapes=many) as at:
        await define(at, "kept")
        await define(at, "changed")
        theirs = another(at)
        known = await theirs.refresh("default")
        await define(at, "changed", b"2")
        await define(at, "passing")
        await at.committer.workspace.definitions.undefine("default", "handler", "passing", 1)
        await define(at, "new")
        assert known.counter == 2
        compiled = many.compiled
        assert await theirs.refresh("default") is known
        assert many.compiled <= compiled + 3
        assert {handler.name for handler in known.rows.values()} == {"kept", "changed", "new"}
        assert not known.hears("type.passing")
        assert shown(known) == shown(await another(at).refresh("default"))


async def test_a_handler_that_does_not_compile_stops_nobody_else(tmp_path: Path) -> None:
    async with rig(tmp_path, shapes=Many()) as at:
        await define(at, "good")
        await define(at, "broken one")
        await define(at, "better")
        known = await at.committer.workspace.definitions.handlers.refresh("default")
        assert {handler.name for handler in known.rows.values()} == {"good", "better"}
        assert known.counter == 3
        assert shown(known) == shown(await another(at).refresh("default"))
        await at.committer.workspace.definitions.undefine("default", "handler", "broken one", 1)
        assert (await another(at).refresh("default")).counter == known.counter == 4


class Forgetful(Wrapped):
    """A store whose history begins late."""

    since = 0

    async def handler_changes(self, ns: str, after: int, limit: int) -> list[HandlerChange]:
        found: list[HandlerChange] = await self.inner.handler_changes(ns, max(after, self.since), limit)
        return found


async def test_a_history_that_does_not_go_back_far_enough_means_reading_all(tmp_path: Path) -> None:
    async with rig(tmp_path, cast(Callable[[Store], Store], Forgetful), Many()) as at:
        await define(at, "gone")
        sets = another(at)
        old = await sets.refresh("default")
        old.moved.clear()
        await at.committer.workspace.definitions.undefine("default", "handler", "gone", 1)
        await define(at, "come")
        await define(at, "come too")
        cast(Forgetful, at.store).since = 2
        fresh = await sets.refresh("default")
        assert shown(fresh) == shown(await another(at).refresh("default"))
        assert {"type.gone", "type.come", "type.come too"} <= fresh.moved  # whoever follows the types must hear of all


class Slow(Wrapped):
    """Reading a page of definitions takes until somebody lets it go on."""

    def __init__(self, inner: Store) -> None:
        super().__init__(inner)
        self.gate = asyncio.Event()
        self.gate.set()
        self.asked = asyncio.Event()

    async def definitions(self, *values: Any, **named: Any) -> list[DefinitionRow]:
        rows: list[DefinitionRow] = await self.inner.definitions(*values, **named)
        if "after" in named:
            self.asked.set()
            await self.gate.wait()
        return rows


@pytest.mark.parametrize("piece", [1, 2, PIECE])
async def test_what_changes_while_a_set_is_read_is_in_it(piece: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handler_sets, "PIECE", piece)
    async with rig(tmp_path, cast(Callable[[Store], Store], Slow), Many()) as at:
        slow = cast(Slow, at.store)
        for name in ("a", "b", "c"):
            await define(at, name)
        sets = another(at)
        slow.asked.clear()
        slow.gate.clear()
        reading = asyncio.ensure_future(sets.refresh("default"))
        await slow.asked.wait()
        await at.committer.workspace.definitions.undefine("default", "handler", "b", 1)
        await define(at, "d")
        await define(at, "c", b"2")
        late = asyncio.ensure_future(sets.refresh("default"))
        slow.gate.set()
        assert await reading is await late
        assert shown(await reading) == shown(await another(at).refresh("default"))
        assert {handler.name for handler in (await late).rows.values()} == {"a", "c", "d"}


async def test_a_stream_of_changes_does_not_keep_events_from_being_recorded(tmp_path: Path) -> None:
    async with rig(tmp_path, shapes=Many()) as at:
        router = EventIngester(at.committer)
        over = asyncio.Event()

        async def registering(number: int) -> int:
            made = 0
            while not over.is_set():
                await define(at, f"h{number}-{made}")
                made += 1
            return made

        async def posting(number: int) -> list[object]:
            return [(await router.ingest([event(number * 100 + each)]))[0] for each in range(20)]

        changing = [asyncio.ensure_future(registering(number)) for number in range(16)]
        outcomes = await asyncio.gather(*map(posting, range(16)))
        over.set()
        made = await asyncio.gather(*changing)
        assert [outcome for each in outcomes for outcome in each if not isinstance(outcome, Ingested)] == []
        assert min(made) > 0
        assert at.committer.stats["lost"] > 0  # they did meet
        known = await at.committer.workspace.definitions.handlers.refresh("default")
        assert (len(known.rows), known.counter) == (sum(made), sum(made))


async def test_a_change_waits_for_events_that_go_first_but_not_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with rig(tmp_path, shapes=Many()) as at:
        sets = at.committer.workspace.definitions.handlers
        sets.overtaken("default", "one")
        sets.overtaken("default", "two")
        sets.overtaken("other", "three")
        change = asyncio.ensure_future(define(at, "h"))
        sets.through("default", "one")
        sets.through("default", "never overtaken")
        await at.committer.workspace.definitions.define("third", "handler", "shapes", "free", 1, b"1")
        assert not change.done()
        sets.through("default", "two")
        await change
        monkeypatch.setattr(handler_sets, "PATIENCE", 0.01)
        sets.overtaken("default", "stuck")
        await asyncio.wait_for(define(at, "i"), PATIENCE)


steps = st.lists(
    st.tuples(st.sampled_from(["define", "undefine", "refresh", "together"]), st.integers(0, 4), st.integers(0, 2)), max_size=30
)


@examples(25, HealthCheck.function_scoped_fixture)
@given(story=steps)
async def test_any_story_of_changes_leaves_what_a_fresh_look_finds(
    tmp_path_factory: Any, story: list[tuple[str, int, int]]
) -> None:
    async with rig(tmp_path_factory.mktemp("story"), shapes=Many()) as at:
        definitions, theirs = at.committer.workspace.definitions, another(at)
        for what, name, body in story:
            if what == "define":
                await define(at, f"h{name}", b"%d" % body)
            elif what == "undefine" and await definitions.find("default", "handler", f"h{name}", 1):
                await definitions.undefine("default", "handler", f"h{name}", 1)
            elif what == "refresh":
                await theirs.refresh("default")
            elif what == "together":
                await asyncio.gather(
                    *(define(at, f"h{other}", b"%d" % body) for other in range(name + 1)), theirs.refresh("default")
                )
        fresh = shown(await another(at).refresh("default"))
        assert shown(await theirs.refresh("default")) == fresh
        assert shown(await definitions.handlers.refresh("default")) == fresh


class Paging(Wrapped):
    """Counts the questions for definitions."""

    def __init__(self, inner: Store) -> None:
        super().__init__(inner)
        self.asked = 0

    def __getattr__(self, name: str) -> Any:
        if name in ("definition", "definitions"):
            self.asked += 1
        return getattr(self.inner, name)


@pytest.mark.parametrize("count", [1, PIECE, PIECE + 1, 2 * PIECE + 50])
async def test_a_set_is_read_by_pages(count: int, tmp_path: Path) -> None:
    async with rig(tmp_path, cast(Callable[[Store], Store], Paging), Many()) as at:
        await asyncio.gather(*(define(at, f"h{number}") for number in range(count)))
        paging = cast(Paging, at.store)
        paging.asked = 0
        assert len((await another(at).refresh("default")).rows) == count
        assert paging.asked <= count // (PIECE - 1) + 1


@pytest.mark.parametrize("versions", [1, 2, 3, 5])
async def test_the_versions_of_a_handler_are_read_together_however_many(
    versions: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handler_sets, "PIECE", 3)
    async with rig(tmp_path, shapes=Many()) as at:
        for name in ("a", "b", "c", "d"):
            for version in range(1, versions + 1):
                await at.committer.workspace.definitions.define("default", "handler", "shapes", name, version, b"1")
        found = [row.name for row in (await another(at).refresh("default")).rows.values()]
        assert sorted(found) == sorted("abcd" * versions)
