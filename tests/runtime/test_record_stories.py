"""Random stories of runs that keep records, with lost races, a cold cache and restarts: what was acknowledged has happened once,
and the tables say the same of it.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import apsw
from hypothesis import given
from hypothesis import strategies as st
from tests.exploring import examples
from tests.kernel.graphs import card
from tests.runtime.harness import Shapes, handles
from tests.runtime.living import Living, living
from tests.runtime.test_records import NOTE, PROCESSES, event, hit, matching, values

from pelton.errors import PeltonError
from pelton.kernel.model.signals import Amend, Retire, Trigger
from pelton.runtime.api import StartCommand
from pelton.runtime.caller import SERVER
from pelton.testing.losing_store import losing

RULES = card(hit)
REFUSALS = frozenset({"ended", "not found", "guard"})
FIXED = examples(12)

operation = st.tuples(
    st.sampled_from(["start", "start", "family", "note", "note", "amend", "amend", "drop", "close", "retire", "event", "event"]),
    st.integers(0, 30),
)
stories = st.lists(st.lists(operation, min_size=1, max_size=10), min_size=1, max_size=4)


class Story:
    def __init__(self) -> None:
        self.shapes = Shapes()
        self.shapes.handlers["h"] = handles("t", matching(NOTE))
        self.shapes.handlers["scan"] = handles("s", matching(NOTE, index=False))
        self.runs: list[int] = []
        self.changes: Counter[int] = Counter()  # those that were acknowledged
        self.events = 0

    async def do(self, at: Living, kind: str, what: int) -> None:
        engine = at.engine
        with suppress_refusals():
            if kind == "start":
                trigger = [None, Trigger(name="drop"), Trigger(name="close")][what % 3]
                command = StartCommand(process="ticket", input={"tags": [str(what % 2)]}, trigger=trigger)
                run = (await engine.start(SERVER, command)).key
                self.runs.append(run)
                self.changes[run] += trigger is not None
            elif kind == "family":
                command = StartCommand(process="family", input={"child": "told", "children": what % 4})
                self.runs.append((await engine.start(SERVER, command)).key)
                self.runs += [record.run for record in await engine.records(SERVER, process="told")]
            elif kind == "event":
                self.events += 1
                given_event = event(str(what % 2), self.events, "t" if what % 3 else "s")
                (posted, again) = await engine.ingest(SERVER, [given_event, given_event])
                assert again.effects == posted.effects
                assert all(effect.outcome in {"signalled", "unchanged", "unmatched"} for effect in posted.effects)
                self.changes.update(effect.run for effect in posted.effects if effect.outcome == "signalled")
            elif self.runs:
                run = self.runs[what % len(self.runs)]
                tags = {"tags": [str(what % 3)], "x": what}
                signals: dict[str, Any] = {
                    "note": Trigger(name="note", changes=tags),
                    "amend": Amend(changes=tags),
                    "drop": Trigger(name="drop"),
                    "close": Trigger(name="close", changes={"done": 10 * what}),
                    "retire": Retire(),
                }
                await engine.signal(SERVER, run, signals[kind])
                self.changes[run] += kind != "retire"


class suppress_refusals(suppress):  # noqa: N801 - used like `suppress`
    def __init__(self) -> None:
        super().__init__(PeltonError)

    def __exit__(self, kind: Any, error: Any, trace: Any) -> bool:
        return isinstance(error, PeltonError) and error.code in REFUSALS


async def check(at: Living, story: Story, path: Path) -> None:
    engine = at.engine
    wanted: set[tuple[int, str, str]] = set()
    counted: dict[int, Counter[str]] = {}
    for head in await at.store.runs("default", limit=1000):
        found = await values(at, head.key)
        assert found
        hits = max(record.body.get("hits", 0) for record in found)
        # A parent is told by its children, and nobody answers for that.
        assert hits == story.changes[head.key] or engine.definition_cache.cached(head.definition).name == "family"  # type: ignore[union-attr]
        current = await engine.record(SERVER, head.key)
        if current is not None:
            wanted |= {(head.key, *attribute) for attribute in RULES.attributes(current.body)}
            if head.parent:
                assert RULES.counted is not None
                counted.setdefault(head.parent, Counter())[RULES.counted(current.body)] += 1
    for head in await at.store.runs("default", limit=1000):
        view = await engine.view(SERVER, head.key)
        assert view is not None
        counts = {name[1:]: value for name, value in view.variables.items() if name.startswith("#")}
        assert counts == counted.get(head.key, {})
    db = apsw.Connection(str(path / "pelton.db"), flags=apsw.SQLITE_OPEN_READONLY)
    assert set(db.execute("SELECT run, name, value FROM attr").fetchall()) == wanted
    db.close()


@FIXED
@given(story=stories, seed=st.integers(0, 1000), cold=st.booleans(), lost=st.booleans())
def test_what_was_acknowledged_has_happened_once(story: list[list[tuple[str, int]]], seed: int, cold: bool, lost: bool) -> None:
    async def play(path: Path) -> None:
        mine = Story()
        options: dict[str, Any] = {"cache_bytes": 1} if cold else {}
        if lost:
            options["wrap"] = lambda inner: losing(inner, seed, 0.15)
        for place, together in enumerate(story):
            async with living(path, *PROCESSES, shapes=mine.shapes, **options) as at:
                if not place:
                    for name in ("h", "scan"):
                        await at.engine.define(SERVER, "handler", "shapes", name, 1, b"1")
                instant, before = at.engine.instant(), await at.engine.records(SERVER)
                await asyncio.gather(*(mine.do(at, kind, what) for kind, what in together))
                await at.quiet()
                assert await at.engine.records(SERVER, at=instant) == before
                if place == len(story) - 1:
                    await check(at, mine, path)

    with tempfile.TemporaryDirectory() as place:
        asyncio.run(play(Path(place)))
