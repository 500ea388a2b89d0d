from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from tests.patience import PATIENCE, happens

from pelton.kernel.expressions.base import JSON, Evaluation, Outcome
from pelton.runtime.scripting.pool import ScriptPool, ScriptsBusy, ScriptsClosed
from pelton.runtime.scripting.shares import ScriptShares


@pytest.fixture
async def pool() -> AsyncIterator[ScriptPool]:
    pool = ScriptPool(1)
    yield pool
    await pool.close()


def jq(source: str, argument: JSON = None, limit: int = 3000) -> Evaluation:
    return Evaluation("jq", source, msgspec.json.encode(argument).decode(), 1_700_000_000_000, 7, limit)


def js(source: str, argument: JSON = None, limit: int = 3000) -> Evaluation:
    return jq(source, argument, limit)._replace(engine="javascript")


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def test_both_engines(pool: ScriptPool) -> None:
    assert await pool.answer([jq(".a[]", {"a": [1, 2]}), js("$.a.map(x => x + 1)", {"a": [1]}), jq("empty"), jq("now")]) == [
        Outcome([1, 2]),
        Outcome([2]),
        Outcome([]),
        Outcome([1_700_000_000]),
    ]
    assert len(pool.processes) == 1


async def test_failures_are_outcomes(pool: ScriptPool) -> None:
    for question, text in [
        (jq('error("no")'), "no"),
        (jq(".a.b", [1]), "Cannot index array"),
        (jq("nothing"), "nothing/0 is not defined"),
        (jq("1 +"), "syntax error"),
        (jq("range(200000)"), "more than 100000 results"),
        (jq('"x" * 5000000'), "the limit is 4000000"),
        (js("null.x"), "TypeError"),
    ]:
        (outcome,) = await pool.answer([question])
        assert outcome.failed
        assert text in outcome.error
        assert "\n" not in outcome.error
        assert not outcome.timed_out


async def test_a_refused_word_is_refused_in_the_process_too(pool: ScriptPool) -> None:
    for source in ["env", "$ENV.PATH", '"\\(env)"', "input"]:
        (outcome,) = await pool.answer([jq(source)])
        assert outcome.failed
        assert "not available" in outcome.error


@pytest.mark.parametrize(
    "question",
    [
        jq("def f: f; f", limit=200),
        jq("[range(1e12)] | length", limit=200),
        jq("last(range(1e12))", limit=200),
        js("while (true) {}", limit=100),
        js("new Array(4294967295).join('')", limit=100),
        js("'a'.repeat(1e7).indexOf('a'.repeat(5e6) + 'b')", limit=100),
    ],
)
async def test_endless(pool: ScriptPool, question: Evaluation) -> None:
    await pool.answer([jq("1")])
    (outcome,) = await pool.answer([question])
    assert outcome.failed
    assert outcome.timed_out or "its process" in outcome.error  # memory may run out before the time does
    assert await pool.answer([jq(".", 5)]) == [Outcome([5])]


@pytest.mark.parametrize(
    "source",
    ["def f: 1 + f; f", "[range(1e9)] | length", '"x" * 1e9', "reduce range(1000000) as $i (0; [.])", "def f: [f, f]; f"],
)
async def test_bombs_harm_their_own_process_only(pool: ScriptPool, source: str) -> None:
    (outcome,) = await pool.answer([jq(source)])
    assert outcome.failed
    assert await pool.answer([jq(".", 5)]) == [Outcome([5])]


async def test_a_child_killed_from_outside_is_replaced_and_asked_again(pool: ScriptPool) -> None:
    await pool.answer([jq("1")])
    (first,) = pool.processes
    asked = asyncio.ensure_future(pool.answer([jq("last(range(3000000))", limit=20_000)]))
    await happens(lambda: pool.waiting == 1 and not pool._idle)
    os.kill(first, signal.SIGKILL)
    assert await asked == [Outcome([2_999_999])]
    assert first not in pool.processes


async def test_a_child_that_died_while_idle_is_replaced(pool: ScriptPool) -> None:
    await pool.answer([jq("1")])
    (first,) = pool.processes
    os.kill(first, signal.SIGKILL)
    await happens(lambda: not alive(first))
    assert await pool.answer([jq("2")]) == [Outcome([2])]


async def test_cancelling_frees_the_slot(pool: ScriptPool) -> None:
    await pool.answer([jq("1")])
    (first,) = pool.processes
    asked = asyncio.ensure_future(pool.answer([jq("def f: f; f", limit=60_000)]))
    await happens(lambda: pool.waiting == 1 and not pool._idle)
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    assert await pool.answer([jq("2")]) == [Outcome([2])]
    await happens(lambda: not alive(first))
    assert pool.waiting == 0


async def test_questions_are_bounded_and_repeats_are_asked_once() -> None:
    pool = ScriptPool(1, max_waiting=2)
    try:
        assert await pool.answer([jq("1")] * 5) == [Outcome([1])] * 5
        with pytest.raises(ScriptsBusy):
            await pool.answer([jq("1"), jq("2"), jq("3")])
        assert await pool.answer([]) == []
    finally:
        await pool.close()


async def test_scripts_that_do_not_end_do_not_keep_others_waiting() -> None:
    """Eight would take both children for eight seconds."""
    pool = ScriptPool(2)
    endless = [asyncio.ensure_future(pool.answer([js(f"while (true) {{}} {number}", limit=2_000)])) for number in range(8)]
    try:
        [other] = await pool.answer([js("(function () { return $ + 1; })()", 1)])
        assert other == Outcome(2)
        assert not any(question.done() for question in endless)
        [again] = await pool.answer([js("(function () { return $ + 2; })()", 1)])
        assert again == Outcome(3)
        assert not any(question.done() for question in endless)
        [first] = await endless[0]
        assert first.timed_out
        assert first.error == "the script was stopped after 2000 ms"
    finally:
        for question in endless:
            question.cancel()
        await asyncio.gather(*endless, return_exceptions=True)
        await pool.close()


async def test_a_script_that_never_ends_is_soon_refused_at_once_and_costs_others_nothing() -> None:
    """A handler's condition, and a thousand events for it: they would keep the children for half an hour."""
    pool = ScriptPool(2)
    endless = [asyncio.ensure_future(pool.answer([js("while ($.a) {}", {"a": number}, limit=400)])) for number in range(1, 1_001)]
    try:
        for number in range(20):  # while it is found out
            assert await pool.answer([js("(function () { return $; })()", number)]) == [Outcome(number)]
        outcomes = [outcome for [outcome] in await asyncio.wait_for(asyncio.gather(*endless), PATIENCE)]
        assert all(outcome.failed and outcome.timed_out for outcome in outcomes)
        stopped = [outcome for outcome in outcomes if outcome.error == "the script was stopped after 400 ms"]
        assert len(stopped) == 3
        refused = [outcome.error for outcome in outcomes if outcome not in stopped]
        assert len(set(refused)) == 1
        assert "it did not end within 400 ms 3 times in a row, and is not run again for 60 s" in refused[0]
        assert await pool.answer([js("(function () { return $; })()", 1)]) == [Outcome(1)]
        assert pool.waiting == 0
    finally:
        await pool.close()


async def test_one_script_has_half_of_the_queue_at_most() -> None:
    pool = ScriptPool(1, max_waiting=20)
    many = [asyncio.ensure_future(pool.answer([js("while ($) {}", number, limit=2_000)])) for number in range(1, 12)]
    try:
        await asyncio.sleep(0)
        assert [question.done() for question in many] == [False] * 10 + [True]
        with pytest.raises(ScriptsBusy, match="10 evaluations of this script are already waiting"):
            await many[-1]
        assert await pool.answer([jq("1")]) == [Outcome([1])]
    finally:
        for question in many:
            question.cancel()
        await asyncio.gather(*many, return_exceptions=True)
        await pool.close()


async def test_scripts_take_turns() -> None:
    shares = ScriptShares(2)
    done: list[str] = []

    async def run(source: str) -> None:
        share = shares.share(source)
        async with shares.permit(share):
            done.append(source)
            await asyncio.sleep(0)

    many = [asyncio.ensure_future(run("many")) for _ in range(50)]
    gone = asyncio.ensure_future(run("gone"))
    few = [asyncio.ensure_future(run("few")) for _ in range(2)]
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.gather(*many, *few)
    assert done.index("few") <= 3
    assert done[:6].count("few") == 2
    assert sorted(done) == ["few"] * 2 + ["many"] * 50


async def test_a_script_that_rested_is_tried_once_and_rests_again_or_is_forgiven() -> None:
    shares = ScriptShares(2)
    share = shares.share("x")
    loop = asyncio.get_running_loop()
    for _ in range(3):
        assert share.refusal() is None
        share.overran(4_000, True)
    assert "3 times in a row" in str(share.refusal())
    later = loop.time() + 61
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "time", lambda: later)
        assert share.refusal() is None
        share.overran(4_000, True)
        assert "4 times in a row" in str(share.refusal())
    share.ended(quick=True)
    assert share.refusal() is None
    assert share.blameless


async def test_what_is_remembered_of_scripts_is_bounded() -> None:
    shares = ScriptShares(2)
    for number in range(1_500):
        share = shares.share(f"{number}")
        if number % 2 or number < 1_000:
            share.overran(300, False)
        shares.forget(share)
    assert len(shares._shares) == 1_000


async def test_a_script_that_takes_long_and_ends_has_all_its_time(pool: ScriptPool) -> None:
    source = "let n = 0; for (let i = 0; i < 30000000; i++) { n += i % 3; } n"
    [outcome] = await pool.answer([js(source, limit=20_000)])
    assert outcome == Outcome(30_000_000)


async def test_close_ends_children_and_refuses() -> None:
    pool = ScriptPool(2)
    await pool.answer([jq("1"), jq("2")])
    children = pool.processes
    running = asyncio.ensure_future(pool.answer([jq("def f: f; f", limit=60_000)]))
    await happens(lambda: len(pool._idle) == 1)
    await pool.close()
    await pool.close()
    (outcome,) = await running
    assert outcome.failed
    await happens(lambda: not any(alive(child) for child in children))
    with pytest.raises(ScriptsClosed):
        await pool.answer([jq("1")])


async def test_what_is_wrong_with_a_program(pool: ScriptPool) -> None:
    right, wrong, refused = await pool.answer([jq(".a | length"), jq(".a |"), jq("env")])
    assert not right.failed
    assert "syntax error" in wrong.error
    assert "not available" in refused.error


async def test_the_process_sees_no_environment_and_no_files(pool: ScriptPool) -> None:
    await pool.answer([jq("1")])
    (child,) = pool.processes
    environment = Path(f"/proc/{child}/environ").read_bytes()
    assert environment.replace(b"\0", b"") == b"TZ=UTC"
    assert len(list(Path(f"/proc/{child}/fd").iterdir())) == 3


async def test_children_die_with_their_parent() -> None:
    parent = """
import asyncio, sys
from pelton.kernel.expressions.base import Evaluation
from pelton.runtime.scripting.pool import ScriptPool

async def main():
    pool = ScriptPool(2)
    await pool.answer([Evaluation("jq", text, "null", 0, 0, 2000) for text in "12"])
    asyncio.ensure_future(pool.answer([Evaluation("jq", "def f: f; f", "null", 0, 0, 500)]))
    await asyncio.sleep(0.1)
    print(*pool.processes, flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""
    process = await asyncio.to_thread(subprocess.Popen, [sys.executable, "-c", parent], stdout=subprocess.PIPE)
    assert process.stdout is not None
    children = [int(word) for word in (await asyncio.to_thread(process.stdout.readline)).split()]
    assert len(children) == 2
    assert all(alive(child) for child in children)
    process.kill()
    process.wait()
    process.stdout.close()
    await happens(lambda: not any(alive(child) for child in children))
