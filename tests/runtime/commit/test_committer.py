"""The committer on the real store: what is answered is there, what fails leaves nothing, and nobody else notices."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import pytest
from tests.kernel.graphs import Graph, look, out, output
from tests.runtime.harness import Gate, Rig, code_of, rig, until

from pelton.errors import PeltonError
from pelton.kernel.expressions.base import Evaluation, Outcome, Unanswered
from pelton.kernel.model.process import Process
from pelton.kernel.model.reads import OpenKey
from pelton.kernel.model.signals import Report, Terminate
from pelton.kernel.model.state import OpenStep, RunStatus, Step
from pelton.runtime.cache.runs import RunEntry, free
from pelton.runtime.commit.durable import decode_signal, durable
from pelton.runtime.supervision import Supervisor
from pelton.store.group import ClaimWrite, Group
from pelton.store.port import Store, StoreFailed


def chain() -> Process:
    return (
        Graph("chain")
        .work("a", "b")
        .work("b", "c", input=out("a"))
        .work("c", input=look(lambda scene: scene.input, "$start"))
        .build()
    )


def loop() -> Process:
    graph = Graph("loop").work("first", "l")
    graph.scope("l", "body", "last", again=look(lambda scene: (output(scene.newest("body")) or {}).get("more"), "body"))
    graph.work("body", input=out("first")).work("last", input=out("body"))
    return graph.build()


def endless() -> Process:
    return Graph("endless").scope("l", "body", "", again=look(lambda scene: True)).work("body").build()


def parent() -> Process:
    return (
        Graph("parent")
        .call("child", {"name": "chain"}, "after", input={"from": "parent"})
        .work("after", input=out("child"))
        .build()
    )


def fork(width: int) -> Callable[[], Process]:
    def build() -> Process:
        names = [f"w{i}" for i in range(width)]
        graph = Graph("fork").fork("f", *names, "j")
        for name in names:
            graph.work(name)
        return graph.join("j", *names, to="after").work("after").build()

    return build


def gated(inner: Store) -> Store:
    return cast(Store, Gate(inner))


def gate_of(at: Rig) -> Gate:
    return cast(Gate, at.store)


def plain(rows: list[OpenStep | Step]) -> list[tuple[Any, ...]]:
    """Rows without what differs between two runs of the same story: keys and times."""
    told = []
    for row in rows:
        status = row.status if isinstance(row, Step) else -1
        told.append((row.n, row.slot, status, row.scope, row.it, row.attempt, row.input, row.output, row.reason))
    return told


async def test_a_run_from_start_to_end(tmp_path: Path) -> None:
    async with rig(tmp_path) as at:
        process = await at.define(chain)
        head = await at.begin(process, {"x": 1})
        assert [row.slot for row in await at.open_rows(head.key)] == ["a"]
        await at.report(head.key, "a", {"y": 2})
        assert [(row.slot, row.input) for row in await at.open_rows(head.key)] == [("b", {"y": 2})]
        await at.report(head.key, "b")
        last = await at.report(head.key, "c", "done")
        assert last.run.status == RunStatus.COMPLETED
        stored = await at.store.head(head.key)
        assert stored == last.run
        assert [row.slot for row in await at.rows(head.key)] == ["$start", "a", "b", "c", "$end"]
        assert [row.output for row in await at.rows(head.key)] == [{"x": 1}, {"y": 2}, None, "done", "done"]


async def test_a_cold_cache_gives_the_rows_of_a_warm_one(tmp_path: Path) -> None:
    async def story(at: Rig, process: Process, cold: bool) -> list[tuple[Any, ...]]:
        head = await at.begin(process, {"x": 1})
        for slot, given in [("first", {"f": 1}), ("body", {"more": True}), ("body", {"more": True}), ("body", {}), ("last", 9)]:
            if cold:
                at.cold()
            await at.report(head.key, slot, given)
        return plain(await at.rows(head.key))

    async with rig(tmp_path) as at:
        process = await at.define(loop)
        warm = await story(at, process, False)
        assert await story(at, process, True) == warm
        assert warm[-1][1] == "$end"
        assert at.committer.stats["suspended"] > 0


async def test_a_report_by_number_on_a_cold_cache(tmp_path: Path) -> None:
    async with rig(tmp_path) as at:
        process = await at.define(fork(3))
        head = await at.begin(process)
        for n in [row.n for row in await at.open_rows(head.key) if row.slot.startswith("w")]:
            at.cold()
            await at.report(head.key, n=n)
        assert [row.slot for row in await at.open_rows(head.key)] == ["after"]


async def test_signals_of_one_run_fold_into_one_write(tmp_path: Path) -> None:
    async with rig(tmp_path, gated) as at:
        process = await at.define(fork(20))
        head = await at.begin(process)
        gate = gate_of(at)
        gate.batches.clear()
        await asyncio.gather(*(at.report(head.key, f"w{i}") for i in range(20)))
        assert [len(batch) for batch in gate.batches] == [1]
        written = gate.batches[0][0].runs
        assert len(written) == 1
        assert len(written[0].ended) == 21
        assert [row.slot for row in written[0].opened] == ["after"]


async def test_what_opens_and_closes_in_one_batch_is_never_written_as_open(tmp_path: Path) -> None:
    async with rig(tmp_path, gated) as at:
        process = await at.define(chain)
        gate = gate_of(at)
        gate.batches.clear()
        key = at.keys()
        started = at.begin(process, key=key)
        rest = [at.committer.submit(key, Report(slot=slot)) for slot in "abc"]
        await started
        assert [applied.run.status for applied in await asyncio.gather(*rest)][-1] == RunStatus.COMPLETED
        (batch,) = gate.batches
        (group,) = batch
        (write,) = group.runs
        assert write.expected == -1
        assert [*write.opened, *write.closed, *write.changed] == []
        assert [step.slot for step in write.ended] == ["$start", "a", "b", "c", "$end"]


async def test_a_batch_is_built_on_what_the_one_before_left_in_memory(tmp_path: Path) -> None:
    async with rig(tmp_path, gated) as at:
        process = await at.define(chain)
        head = await at.begin(process)
        gate = gate_of(at)
        gate.open_gate.clear()
        first = asyncio.ensure_future(at.report(head.key, "a", 1))
        await until(lambda: bool(at.committer._flight))
        second = asyncio.ensure_future(at.report(head.key, "b", 2))
        await until(lambda: bool(at.committer.workspace.open_batch.groups))
        assert not first.done()
        gate.open_gate.set()
        assert (await first).run.rev < (await second).run.rev
        assert [row.slot for row in await at.open_rows(head.key)] == ["c"]


async def test_a_lost_group_runs_again_from_the_store_with_all_that_was_built_on_it(tmp_path: Path) -> None:
    async with rig(tmp_path, gated) as at:
        process = await at.define(chain)
        head, other = await asyncio.gather(at.begin(process), at.begin(process))
        gate = gate_of(at)
        gate.open_gate.clear()
        lost: list[int] = []

        def lose(group: Group) -> str:
            if not lost and any(write.run.key == head.key for write in group.runs):
                lost.append(head.key)
                return f"run {head.key}"
            return ""

        gate.lose = lose
        first = asyncio.ensure_future(at.report(head.key, "a", 1))
        private = asyncio.ensure_future(at.report(other.key, "a", 7))
        await until(lambda: bool(at.committer._flight))
        second = asyncio.ensure_future(at.report(head.key, "b", 2))
        refused = asyncio.ensure_future(at.report(head.key, "c", 3, attempt=9))
        await until(lambda: bool(at.committer.workspace.open_batch.groups))
        gate.open_gate.set()
        await asyncio.gather(first, private, second)
        with pytest.raises(PeltonError):
            await refused
        assert lost
        assert at.committer.stats["lost"] == 1
        assert [(row.slot, row.output) for row in await at.rows(head.key)] == [("$start", None), ("a", 1), ("b", 2), ("c", None)]
        assert [row.slot for row in await at.open_rows(other.key)] == ["b"]


async def test_who_always_loses_is_told_that_it_is_busy(tmp_path: Path) -> None:
    async with rig(tmp_path, gated, tries=3) as at:
        process = await at.define(chain)
        head, other = await asyncio.gather(at.begin(process), at.begin(process))
        gate_of(at).lose = lambda group: "run" if any(write.run.key == head.key for write in group.runs) else ""
        with pytest.raises(PeltonError) as error:
            await at.report(head.key, "a")
        assert error.value.code == "busy"
        gate_of(at).lose = lambda group: ""
        assert (await at.report(other.key, "a")).run.open == 1
        assert (await at.report(head.key, "a")).run.open == 1
        assert at.committer.idle


async def test_a_store_that_cannot_write_fails_its_callers_and_nothing_stays_in_memory(tmp_path: Path) -> None:
    async with rig(tmp_path, gated) as at:
        process = await at.define(chain)
        head = await at.begin(process)
        gate_of(at).fail.append(StoreFailed("disk full"))
        with pytest.raises(PeltonError) as error:
            await at.report(head.key, "a", 1)
        assert error.value.code == "unavailable"
        assert "nothing can be written" in error.value.message
        assert (await at.report(head.key, "a", 2)).run.open == 1
        assert [row.output for row in await at.rows(head.key)][1] == 2


async def test_a_refusal_waits_for_the_state_that_it_was_decided_on(tmp_path: Path) -> None:
    async with rig(tmp_path, gated) as at:
        process = await at.define(chain)
        head = await at.begin(process)
        gate = gate_of(at)
        gate.open_gate.clear()
        ended = asyncio.ensure_future(at.committer.submit(head.key, Terminate(reason="enough")))
        await until(lambda: bool(at.committer._flight))
        late = asyncio.ensure_future(at.report(head.key, "a"))
        for _ in range(20):
            await asyncio.sleep(0)
        assert not late.done()
        gate.fail.append(StoreFailed("disk full"))
        gate.open_gate.set()
        assert await code_of(ended) == "unavailable"
        with pytest.raises(PeltonError) as error:
            await late  # it shared the fate of what it was decided on
        assert error.value.code == "unavailable"


async def test_children_start_and_end_in_the_group_of_their_parents(tmp_path: Path) -> None:
    async with rig(tmp_path, gated) as at:
        await at.define(chain)
        process = await at.define(parent)
        gate = gate_of(at)
        gate.batches.clear()
        head = await at.begin(process)
        assert [len(group.runs) for batch in gate.batches for group in batch] == [2]
        child = next(row.child for row in await at.open_rows(head.key))
        for slot in "ab":
            await at.report(child, slot, slot)
        at.cold()
        gate.batches.clear()
        await at.report(child, "c", {"result": 5})
        assert [len(group.runs) for batch in gate.batches for group in batch] == [2]
        (after,) = await at.open_rows(head.key)
        assert (after.slot, after.input) == ("after", {"result": 5})


async def test_terminating_a_parent_ends_its_children(tmp_path: Path) -> None:
    async with rig(tmp_path) as at:
        await at.define(chain)
        process = await at.define(parent)
        head = await at.begin(process)
        child = next(row.child for row in await at.open_rows(head.key))
        at.cold()
        await at.committer.submit(head.key, Terminate(reason="enough"))
        stored = await at.store.head(child)
        assert stored is not None
        assert stored.status == RunStatus.TERMINATED


async def test_a_signal_that_lacks_facts_is_not_overtaken_by_those_behind_it(tmp_path: Path) -> None:
    """Each of these would change what the first one asks for: behind an endless loop it would never come to its turn."""
    async with rig(tmp_path) as at:
        process = await at.define(endless)
        head = await at.begin(process)
        for _ in range(3):
            await at.report(head.key, "body")
        before = at.committer.stats["suspended"]
        ending = at.committer.submit(head.key, Terminate(reason="enough"))  # asks for the step that ended last
        reports = [at.committer.submit(head.key, Report(slot="body")) for _ in range(50)]
        await ending
        assert {await code_of(report) for report in reports} == {"ended"}
        assert at.committer.stats["suspended"] - before <= 2 + len(reports)
        assert [row.slot for row in await at.rows(head.key)].count("body") == 4  # three and the one that was open


async def test_signals_to_a_run_that_must_be_read_first_keep_their_order(tmp_path: Path) -> None:
    async with rig(tmp_path) as at:
        process = await at.define(chain)
        head = await at.begin(process)
        at.cold()
        await asyncio.gather(*(at.committer.submit(head.key, Report(slot=slot, output=slot)) for slot in ("a", "b", "c")))
        assert [row.slot for row in await at.rows(head.key)] == ["$start", "a", "b", "c", "$end"]


async def test_a_poison_signal_stops_itself_and_nothing_else(tmp_path: Path) -> None:
    def poison() -> Process:
        def raises(given: Any, output: Any) -> Any:
            if output == "poison":
                raise RuntimeError("boom")
            return output

        return Graph("poison").work("a", "b", output=raises).work("b").build()

    async with rig(tmp_path) as at:
        process = await at.define(poison)
        heads = await asyncio.gather(*(at.begin(process) for _ in range(5)))
        outcomes = await asyncio.gather(
            *(at.report(head.key, "a", "poison" if number == 2 else number) for number, head in enumerate(heads)),
            return_exceptions=True,
        )
        assert [type(outcome) is PeltonError for outcome in outcomes] == [False, False, True, False, False]
        assert cast(PeltonError, outcomes[2]).code == "internal"
        assert (await at.report(heads[2].key, "a", "good")).run.open == 1


async def test_unknown_runs_and_other_namespaces(tmp_path: Path) -> None:
    async with rig(tmp_path) as at:
        process = await at.define(chain)
        head = await at.begin(process)
        assert await code_of(at.committer.submit(12345, Terminate())) == "unknown run"
        assert await code_of(at.committer.submit(head.key, Terminate(), ns="other")) == "unknown run"
        assert at.committer.workspace.cache.peek(12345) is None
        assert at.committer.idle


async def test_a_queue_that_is_full_says_so(tmp_path: Path) -> None:
    async with rig(tmp_path, gated, queue=50) as at:
        process = await at.define(chain)
        futures = [at.begin(process) for _ in range(50)]
        with pytest.raises(PeltonError) as error:
            at.begin(process)
        assert error.value.code == "busy"
        assert len(await asyncio.gather(*futures)) == 50
        assert (await at.begin(process)).open == 1


async def test_the_cache_keeps_its_bound_but_never_drops_what_is_pinned(tmp_path: Path) -> None:
    async with rig(tmp_path, gated, cache_bytes=40_000) as at:
        process = await at.define(chain)
        heads = await asyncio.gather(*(at.begin(process, {"n": n}) for n in range(100)))
        assert at.committer.workspace.cache.size <= 40_000
        gate = gate_of(at)
        gate.open_gate.clear()
        pending = [asyncio.ensure_future(at.report(head.key, "a", head.key)) for head in heads[:60]]
        await until(lambda: bool(at.committer._flight))
        pinned = [entry for entry in at.committer.workspace.cache._entries.values() if entry.pins]
        at.committer.workspace.cache.trim()
        assert all(at.committer.workspace.cache.peek(entry.key) is entry for entry in pinned)
        gate.open_gate.set()
        await asyncio.gather(*pending)
        for head in heads[:60]:
            await at.report(head.key, "b")
        assert at.committer.workspace.cache.size <= 40_000


async def test_one_entry_a_slot_however_long_a_loop_turns(tmp_path: Path) -> None:
    async with rig(tmp_path) as at:
        process = await at.define(loop)
        head = await at.begin(process)
        await at.report(head.key, "first", {"f": 1})
        before = at.store.counts.rows_read
        for _ in range(100):
            await at.report(head.key, "body", {"more": True})
        entry = at.committer.workspace.cache.peek(head.key)
        assert isinstance(entry, RunEntry)
        assert len(entry.newest) == 4
        assert len(entry.open) == 2
        assert at.store.counts.rows_read == before


async def test_raw_rows_and_their_loss(tmp_path: Path) -> None:
    async with rig(tmp_path, gated) as at:
        assert (await at.committer.write(lambda group: group.unclaimed.append(ClaimWrite("lane", "x", 1, 1, 0)))).ok
        done = await at.committer.write(lambda group: group.pending_done.append(5))
        assert (done.ok, done.lost) == (False, "signal 5")
        gate_of(at).lose = lambda group: "held 7"
        done = await at.committer.write(lambda group: group.release.append(7))
        assert (done.ok, done.lost) == (False, "held 7")


async def test_durable_signals_are_taken_up_again_after_a_crash(tmp_path: Path) -> None:
    async with rig(tmp_path) as at:
        process = await at.define(chain)
        head = await at.begin(process)
        turn = at.committer._unit

        def fill(group: Group) -> None:
            from pelton.runtime.commit.durable import encode_signal
            from pelton.store.rows import PendingSignalRow

            group.pending_signals.append(
                PendingSignalRow(at.keys(), head.key, encode_signal(Report(slot="a", output=4, strict=False)), 0)
            )
            group.pending_signals.append(PendingSignalRow(at.keys(), 999, encode_signal(Terminate(strict=False)), 0))
            group.pending_signals.append(PendingSignalRow(at.keys(), head.key, b"\xc1 no message", 0))

        await at.committer.write(fill)
        assert turn.changes is not None
        shapes = at.shapes
    async with rig(tmp_path, shapes=shapes) as again:
        await again.committer.pending_signals.recover()
        await until(lambda: again.committer.idle)
        (row,) = await again.open_rows(head.key)
        assert row.slot == "b"
        left = await again.store.pending_signals(10)
        assert all(row.parked for row in left)


BEYOND = 10**20  # has more than 64 bits: a worker cannot report it, but a reply of another system's may have it


async def test_numbers_beyond_64_bits_in_a_long_run_end_nothing(tmp_path: Path) -> None:
    async with rig(tmp_path) as at:
        with Supervisor() as supervisor:
            at.committer._tasks._supervisor = supervisor
        head = await at.begin(await at.define(loop), {"x": BEYOND})
        await at.report(head.key, "first", {"f": BEYOND})
        for _ in range(40):
            await at.report(head.key, "body", {"more": True, "n": [BEYOND]})
        await at.report(head.key, "body", {"n": BEYOND})
        last = await at.report(head.key, "last", BEYOND)
        assert last.run.status == RunStatus.COMPLETED
        assert supervisor.failure == ""
        assert (await at.rows(head.key))[-1].output == BEYOND


def test_durable_signals_keep_numbers_beyond_64_bits() -> None:
    signal = Report(slot="a", output={"n": [BEYOND, -BEYOND, 1]}, strict=False)
    assert decode_signal(durable(signal)) == signal
    assert decode_signal(durable(signal, hops=2)).signal == signal


async def test_every_row_of_a_fork_wider_than_a_group(tmp_path: Path) -> None:
    async with rig(tmp_path) as at:
        process = await at.define(fork(300))
        head = await at.begin(process)
        await until(lambda: at.committer.idle)
        rows = await at.open_rows(head.key)
        assert len([row for row in rows if row.slot.startswith("w")]) == 300
        await asyncio.gather(*(at.report(head.key, n=row.n) for row in rows if row.slot.startswith("w")))
        await until(lambda: at.committer.idle)
        stored = await at.store.head(head.key)
        assert stored is not None
        (left,) = await at.store.read(stored, [OpenKey()])
        assert [row.slot for row in left] == ["after"]
        assert stored.open == 1


@pytest.mark.parametrize("seed", range(5))
async def test_lost_races_and_cold_caches_at_random_change_no_story(tmp_path: Path, seed: int, rng: random.Random) -> None:
    chance = random.Random(seed + rng.getrandbits(32))
    async with rig(tmp_path, gated, tries=1000) as at:
        await at.define(chain)
        process = await at.define(parent)
        gate_of(at).lose = lambda group: "run" if group.runs and chance.random() < 0.25 else ""

        async def story(number: int) -> list[tuple[Any, ...]]:
            head = await at.begin(process, number)
            child = next(row.child for row in await at.open_rows(head.key))
            for slot in "abc":
                if chance.random() < 0.3:
                    for entry in list(at.committer.workspace.cache._entries.values()):
                        if free(entry):
                            at.committer.workspace.cache.drop(entry)
                reports = [at.report(child, slot, number) for _ in range(2)]
                done = await asyncio.gather(*reports, return_exceptions=True)
                assert [type(outcome) for outcome in done].count(PeltonError) == 1
            await at.report(head.key, "after", number)
            stored = await at.store.head(head.key)
            assert stored is not None
            assert (stored.status, stored.open) == (RunStatus.COMPLETED, 0)
            return [row[:4] for row in plain(await at.rows(head.key))]

        stories = await asyncio.gather(*(story(number) for number in range(20)))
        assert at.committer.stats["lost"] > 0
        assert all(told == stories[0] for told in stories)
        assert len(await at.store.runs("default", limit=100)) == 40
        await until(lambda: at.committer.idle)
        assert not any(entry.pins or entry.busy or entry.waiting for entry in at.committer.workspace.cache._entries.values())


async def test_a_script_is_answered_while_others_go_on(tmp_path: Path) -> None:
    question = Evaluation("javascript", "1", "{}", 0, 0, 1000)

    class Slow:
        def __init__(self) -> None:
            self.asked = asyncio.Event()
            self.go = asyncio.Event()

        async def answer(self, questions: Sequence[Evaluation]) -> Sequence[Outcome]:
            self.asked.set()
            await self.go.wait()
            return [Outcome(len(questions))]

    def scripted() -> Process:
        def ask(scene: Any) -> Any:
            outcome = scene.evaluated(question)
            if outcome is None:
                raise Unanswered(question)
            return outcome.value

        return Graph("scripted").work("a", "b").work("b", input=look(ask)).build()

    slow = Slow()
    async with rig(tmp_path, scripts=slow) as at:
        process = await at.define(scripted)
        head, other = await asyncio.gather(at.begin(process), at.begin(process))
        waiting = asyncio.ensure_future(at.report(head.key, "a"))
        await slow.asked.wait()
        assert (await at.committer.submit(other.key, Terminate())).run.status == RunStatus.TERMINATED
        assert (await at.report(head.key, "a", {"k": 1}, status=None)).run.open == 1
        slow.go.set()
        await waiting
        assert [(row.slot, row.input) for row in await at.open_rows(head.key)] == [("b", 1)]
