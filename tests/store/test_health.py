"""What the store says of itself: it is unhealthy when what it is asked to write would not be kept, or what it reads is wrong."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
from pathlib import Path
from typing import Any

import apsw
import pytest
from tests.patience import PATIENCE, happens
from tests.store.rows import done, put, start

from pelton.store.group import Group
from pelton.store.port import StoreFailed
from pelton.store.sqlite import store as module
from pelton.store.sqlite.files import StoreFiles
from pelton.store.sqlite.store import SqliteStore

FULL = "FullError: database or disk is full"


async def opened(directory: Path) -> SqliteStore:
    store = SqliteStore(directory / "pelton.db")
    await store.open()
    return store


async def unhealthy(store: SqliteStore) -> str:
    return str((await store.health())["unhealthy"])


class FullDisk:
    """A writer that has no room while `full`."""

    def __init__(self, store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
        self.full = True
        self.asked = 0
        send = store._link.send

        def answer(*batch: Any) -> asyncio.Future[list[Any]]:
            self.asked += 1
            if not self.full:
                return send(*batch)
            future: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
            future.set_result([0, None, FULL, False])
            return future

        monkeypatch.setattr(store._link, "send", answer)


@pytest.mark.parametrize("end", ["", "-wal"])
@pytest.mark.parametrize("moved", [True, False])
async def test_nothing_is_acknowledged_into_a_file_that_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str, moved: bool
) -> None:
    monkeypatch.setattr(module, "LOOK", PATIENCE * 10)  # only the writer looks
    store = await opened(tmp_path)
    await put(store, Group(1, [start(1)]))
    file = tmp_path / f"pelton.db{end}"
    if moved:
        file.rename(tmp_path / "elsewhere")
    else:
        file.unlink()
    with pytest.raises(StoreFailed, match="deleted or moved away"):
        await store.commit([Group(1, [start(2)])])
    reason = await asyncio.wait_for(store.lost(), PATIENCE)
    assert f"pelton.db{end} has been deleted or moved away" in reason
    assert await unhealthy(store) == reason
    with pytest.raises(StoreFailed):
        await store.commit([Group(1, [start(3)])])
    await store.close()


async def test_a_file_in_the_place_of_the_open_one_is_not_taken_for_it(tmp_path: Path) -> None:
    store = await opened(tmp_path)
    await put(store, Group(1, [start(1)]))
    (tmp_path / "other").write_bytes((tmp_path / "pelton.db").read_bytes())
    (tmp_path / "other").replace(tmp_path / "pelton.db")
    with pytest.raises(StoreFailed, match="replaced by another file"):
        await store.commit([Group(1, [start(2)])])
    await store.close()


async def test_a_lost_file_is_noticed_when_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK", 0.01)
    store = await opened(tmp_path)
    (tmp_path / "pelton.db").unlink()
    assert "deleted or moved away" in await asyncio.wait_for(store.lost(), PATIENCE)
    await store.close()


def test_a_directory_that_is_gone_is_as_bad(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "pelton.db").touch()
    files = StoreFiles(str(tmp_path / "data" / "pelton.db"))
    assert files.lost() == ""
    (tmp_path / "data").rename(tmp_path / "old")
    assert "deleted or moved away" in files.lost()


async def test_a_full_disk_is_unhealthy_until_a_commit_succeeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK", 0.01)
    store = await opened(tmp_path)
    assert await unhealthy(store) == ""
    disk = FullDisk(store, monkeypatch)
    with pytest.raises(StoreFailed, match="disk is full"):
        await store.commit([Group(1, [start(1)])])
    assert await unhealthy(store) == f"the last commit failed: {FULL}"
    disk.full = False  # nobody posts any more, since the server is unhealthy: the store itself tries
    await happens(lambda: unhealthy_no_more(store), "it is healthy again")
    await put(store, Group(1, [start(1)]))
    await store.close()


async def all_steps(store: SqliteStore) -> None:
    for key in range(1, 200):
        run = await store.head(key)
        assert run is not None
        await store.steps(run, -1, 10)


async def unhealthy_no_more(store: SqliteStore) -> bool:
    return not await unhealthy(store)


async def test_a_commit_that_does_not_end_is_unhealthy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STALLED", 0.01)
    store = await opened(tmp_path)
    writer = (await store.health())["writer_pid"]
    os.kill(writer, signal.SIGSTOP)
    try:
        commit = asyncio.ensure_future(store.commit([Group(1, [start(1)])]))
        await happens(lambda: unhealthy(store), "it is unhealthy")
        assert "has been under way for" in await unhealthy(store)
    finally:
        os.kill(writer, signal.SIGCONT)
    assert (await commit)[0].ok
    assert await unhealthy(store) == ""
    await store.close()


async def test_a_read_that_finds_damage_is_unhealthy(tmp_path: Path) -> None:
    store = await opened(tmp_path)
    await put(store, *(Group(key, [start(key, ended=[done(key, 0, output="z" * 3_000)])]) for key in range(1, 200)))
    await store.close()
    file = tmp_path / "pelton.db"
    data = file.read_bytes()
    pages = [data[place : place + 4096] for place in range(0, len(data), 4096)]
    file.write_bytes(b"".join(b"\xa5" * 4096 if b"zzzz" in page else page for page in pages))
    store = await opened(tmp_path)
    assert await unhealthy(store) == ""
    with pytest.raises(apsw.CorruptError):
        await all_steps(store)
    assert "found the file damaged" in await unhealthy(store)
    await store.close()


async def test_only_their_owner_may_read_the_files(tmp_path: Path) -> None:
    """Also in a directory that was there before, with files that were."""
    tmp_path.chmod(0o755)
    before = os.umask(0o022)
    try:
        for _ in range(2):
            store = await opened(tmp_path)
            await put(store, Group(1))
            for file in tmp_path.iterdir():
                assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
            await store.close()
            (tmp_path / "pelton.db").chmod(0o644)
    finally:
        os.umask(before)
