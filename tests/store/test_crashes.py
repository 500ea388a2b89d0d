"""What was acknowledged is there after any kill: of the writer, of the server, of both. And one server at a time has the file."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.patience import PATIENCE, happens
from tests.store.rows import done, put, start

from pelton.store.group import Group
from pelton.store.port import StoreBusy, StoreFailed
from pelton.store.sqlite.store import SqliteStore

LOAD = """
import asyncio, sys
from pelton.store.group import Group
from pelton.store.sqlite.store import SqliteStore
from tests.store.rows import done, start

async def main():
    store = SqliteStore(sys.argv[1])
    await store.open()
    print("writer", (await store.health())["writer_pid"], flush=True)
    async def lane(first):
        for key in range(first, first + 1_000_000_000, 4):
            (outcome,) = await store.commit([Group(1, [start(key, ended=[done(key, 0, output="z" * 200)])])])
            assert outcome.ok
            sys.stdout.write(f"{key}\\n")
            sys.stdout.flush()
    await asyncio.gather(*(lane(first) for first in range(1, 5)))

asyncio.run(main())
"""


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


async def gone(pid: int) -> None:
    await happens(lambda: not alive(pid), f"process {pid} is gone")


async def test_a_killed_server_ends_its_writer_and_loses_nothing_acknowledged(tmp_path: Path) -> None:
    path = tmp_path / "test.db"
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": f"{root / 'src'}{os.pathsep}{root}"}
    acknowledged: set[int] = set()
    for _ in range(3):
        first = max(acknowledged, default=0) + 1000
        code = LOAD.replace("range(1, 5)", f"range({first}, {first + 4})")
        child = subprocess.Popen(  # noqa: ASYNC220 - the test has nothing else to do meanwhile
            [sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, env=environment, text=True
        )
        assert child.stdout is not None
        writer = int(child.stdout.readline().split()[1])
        for _ in range(150):
            acknowledged.add(int(child.stdout.readline()))
        child.kill()
        acknowledged.update(int(line) for line in child.stdout.read().splitlines(keepends=True) if line.endswith("\n"))
        child.wait()
        child.stdout.close()
        store = SqliteStore(path)  # while the old writer may still hold its last batch
        await store.open()
        await gone(writer)
        for key in acknowledged:
            head = await store.head(key)
            assert head is not None, f"run {key} was acknowledged"
            assert (await store.steps(head, -1, 5)) == [done(key, 0, output="z" * 200)]
        await store.close()


async def test_a_killed_writer_is_replaced_and_every_caller_is_answered_truly(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "test.db")
    await store.open()
    outcomes: dict[int, bool] = {}

    async def lane(first: int) -> None:
        for key in range(first, first + 400, 4):
            taken, again = await store.commit([Group(1, [start(key)]), Group(2, [start(key)])])
            assert not again.ok  # a lost group is said to be lost also when only the file knows
            outcomes[key] = taken.ok
            if len(outcomes) in (50, 170, 290):
                os.kill((await store.health())["writer_pid"], signal.SIGKILL)

    await asyncio.wait_for(asyncio.gather(*(lane(first) for first in range(1, 5))), PATIENCE)
    health = await store.health()
    assert (health["failure"], health["writer_restarts"]) == ("", 3)
    assert len(outcomes) == 400
    assert all(outcomes.values())
    await store.close()
    store = SqliteStore(tmp_path / "test.db")
    await store.open()
    for key in outcomes:
        assert await store.head(key) is not None
    await store.close()


async def test_a_writer_that_keeps_dying_is_given_up_with_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = SqliteStore(tmp_path / "test.db")
    await store.open()
    lost = asyncio.ensure_future(store.lost())
    await put(store, Group(1, [start(1)]))
    old = (await store.health())["writer_pid"]
    monkeypatch.setattr("pelton.store.sqlite.pipe.sys.executable", "/bin/false")  # no new one gets up
    monkeypatch.setattr("pelton.store.sqlite.link.PAUSE", 0.001)
    os.kill(old, signal.SIGKILL)
    commits = [asyncio.ensure_future(store.commit([Group(1, [start(key)])])) for key in range(2, 60)]
    await asyncio.wait(commits, timeout=PATIENCE)
    assert any(isinstance(commit.exception(), StoreFailed) for commit in commits)
    reason = await asyncio.wait_for(lost, PATIENCE)
    with pytest.raises(StoreFailed, match="times without writing"):
        await store.commit([Group(1)])
    assert await store.head(1) is not None  # reading goes on
    assert (await store.health())["failure"] == reason
    await store.close()


async def test_a_second_server_is_refused_at_once_and_may_follow(tmp_path: Path) -> None:
    first, second = SqliteStore(tmp_path / "test.db"), SqliteStore(tmp_path / "test.db")
    await first.open()
    with pytest.raises(StoreBusy, match=rf"test\.db is open in another server \(process {os.getpid()}\)"):
        await second.open()
    await put(first, Group(1, [start(1)]))
    await first.close()
    await second.open()
    assert await second.head(1) is not None
    await second.close()


async def test_a_writer_that_stays_is_named_after_a_bounded_wait(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "test.db")
    await store.open()
    writer = (await store.health())["writer_pid"]
    os.kill(writer, signal.SIGSTOP)
    try:
        store._locks.release()  # as if the server were gone
        late = SqliteStore(tmp_path / "test.db", wait=0.1)
        with pytest.raises(StoreBusy, match=f"process {writer}"):
            await late.open()
    finally:
        os.kill(writer, signal.SIGCONT)
        await store.close()


async def test_closing_ends_the_writer_and_waits_for_what_is_under_way(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "test.db")
    await store.open()
    writer = (await store.health())["writer_pid"]
    commits = [asyncio.ensure_future(store.commit([Group(key, [start(key)])])) for key in range(1, 100)]
    await asyncio.sleep(0)
    await store.close()
    results = await asyncio.gather(*commits, return_exceptions=True)  # what had no room yet may have come too late
    assert all(isinstance(result, list) and result[0].ok for result in results[:64])
    assert all(isinstance(result, list | StoreFailed) for result in results[64:])
    assert not alive(writer)
    with pytest.raises(StoreFailed):
        await store.commit([Group(1)])
    await store.close()


async def test_the_writer_commits_as_promised(tmp_path: Path) -> None:
    for durability, synchronous in (("full", 2), ("relaxed", 1)):
        store = SqliteStore(tmp_path / f"{durability}.db", durability)  # type: ignore[arg-type]
        await store.open()
        health = await store.health()
        assert health["writer"] == {"journal_mode": "wal", "synchronous": synchronous, "wal_autocheckpoint": 0, "page_size": 4096}
        await store.close()
    with pytest.raises(ValueError, match="give 'full' or 'relaxed'"):
        SqliteStore(tmp_path / "x.db", "none")  # type: ignore[arg-type]


async def test_a_place_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no directory")
    with pytest.raises(StoreFailed, match="check the path"):
        await SqliteStore(tmp_path / "file" / "test.db").open()
    (tmp_path / "garbage.db").write_bytes(b"not a database at all" * 100)
    with pytest.raises(StoreFailed, match=r"garbage\.db"):
        await SqliteStore(tmp_path / "garbage.db").open()


async def test_the_wal_is_moved_and_does_not_grow_without_bound(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "test.db", "relaxed")
    await store.open()
    for batch in range(40):
        await put(store, *(Group(n, [start(batch * 100 + n, ended=[done(1, 0, output="w" * 4000)])]) for n in range(1, 101)))
    health = await store.health()
    assert health["wal_bytes"] < 40e6, health
    assert health["trouble"] == ""
    await store.close()
