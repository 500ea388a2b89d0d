"""A log is applied only to the file that it was written for, and a file that was emptied is not taken for a new one."""

from __future__ import annotations

import shutil
from pathlib import Path

import apsw
import pytest
from structlog.testing import capture_logs
from tests.store.rows import done, put, start

from pelton.store.group import Group
from pelton.store.port import StoreBusy, StoreFailed
from pelton.store.sqlite.backup import back_up
from pelton.store.sqlite.restore import restore
from pelton.store.sqlite.store import SqliteStore

FILE = "pelton.db"


async def opened(directory: Path) -> SqliteStore:
    store = SqliteStore(directory / FILE)
    await store.open()
    return store


async def fill(store: SqliteStore, first: int, count: int = 60) -> None:
    for key in range(first, first + count):
        await put(store, Group(key, [start(key, ended=[done(key, 0, output="z" * 3_000)])]))


def power_cut(of: Path, to: Path) -> None:
    """What the disk has when everything stops at once."""
    to.mkdir()
    for name in (FILE, f"{FILE}-wal", f"{FILE}.writer", f"{FILE}.lock"):
        shutil.copy(of / name, to / name)


async def after_a_crash(tmp_path: Path) -> Path:
    """A directory with a log that is not in the file yet; beside it `copy`, of the stopped server's file from before."""
    live = tmp_path / "live"
    store = await opened(live)
    await fill(store, 1)
    await store.close()
    shutil.copy(live / FILE, tmp_path / "copy")
    store = await opened(live)
    await fill(store, 1_000)
    await store.close()
    store = await opened(live)
    await fill(store, 2_000)
    power_cut(live, tmp_path / "cut")
    await store.close()
    return tmp_path / "cut"


async def has(store: SqliteStore, key: int) -> bool:
    return await store.head(key) is not None


async def test_a_log_of_the_files_own_is_applied_without_a_word(tmp_path: Path) -> None:
    cut = await after_a_crash(tmp_path)
    with capture_logs() as logs:
        store = await opened(cut)
    assert logs == []
    assert await has(store, 2_059)
    await store.close()


async def test_a_copy_beside_a_leftover_log_is_refused_with_the_way_out(tmp_path: Path) -> None:
    cut = await after_a_crash(tmp_path)
    (cut / FILE).write_bytes((tmp_path / "copy").read_bytes())
    with pytest.raises(StoreFailed, match=r"do not belong together.*pelton restore"):
        await opened(cut)
    done = await restore(tmp_path / "copy", cut / FILE)
    assert done.kept == cut / f"{FILE}.before-restore"
    store = await opened(cut)
    assert await has(store, 60)
    assert not await has(store, 1_000)
    await store.close()


async def test_a_backup_of_the_same_life_is_not_taken_for_the_logs_file(tmp_path: Path) -> None:
    store = await opened(tmp_path / "live")
    await fill(store, 1)
    back_up(tmp_path / "live" / FILE, tmp_path / "copy")
    await fill(store, 1_000, 300)
    power_cut(tmp_path / "live", tmp_path / "cut")
    await store.close()
    (tmp_path / "cut" / FILE).write_bytes((tmp_path / "copy").read_bytes())
    for _ in range(2):  # to be refused changes nothing
        with pytest.raises(StoreFailed, match=r"do not belong together"):
            await opened(tmp_path / "cut")
    assert (tmp_path / "cut" / FILE).read_bytes() == (tmp_path / "copy").read_bytes()


async def test_a_file_from_before_lives_were_noted_is_verified(tmp_path: Path) -> None:
    cut = await after_a_crash(tmp_path)
    (cut / f"{FILE}.writer").write_text("123")
    with capture_logs() as logs:
        store = await opened(cut)
    assert any("it is verified" in line["event"] for line in logs)
    assert await has(store, 2_059)
    await store.close()


@pytest.mark.parametrize("crashed", [True, False])
@pytest.mark.parametrize("empty", [True, False])
async def test_an_emptied_file_is_not_a_new_one(tmp_path: Path, crashed: bool, empty: bool) -> None:
    directory = await after_a_crash(tmp_path)
    if not crashed:
        directory = tmp_path / "live"
    if empty:
        (directory / FILE).write_bytes(b"")
    else:
        (directory / FILE).unlink()
    before = {file.name: file.read_bytes() for file in directory.iterdir()}
    with pytest.raises(StoreFailed, match="is empty" if empty else "is missing") as refused:
        await opened(directory)
    assert "pelton restore BACKUP" in str(refused.value)
    assert {file.name: file.read_bytes() for file in directory.iterdir()} == before
    for file in (f"{FILE}-wal", f"{FILE}.writer"):  # as the remedy says
        (directory / file).unlink(missing_ok=True)
    store = await opened(directory)
    assert not await has(store, 1)
    await store.close()


async def test_a_first_start_that_was_cut_off_is_begun_again(tmp_path: Path) -> None:
    (tmp_path / f"{FILE}.lock").write_text("123")
    (tmp_path / f"{FILE}.writer").touch()
    (tmp_path / FILE).touch()
    store = await opened(tmp_path)
    await fill(store, 1, 1)
    await store.close()


async def test_what_was_there_is_kept_whole_and_the_names_are_free(tmp_path: Path) -> None:
    cut = await after_a_crash(tmp_path)
    for number in ("", "-2"):
        kept = cut / f"{FILE}.before-restore{number}"
        assert (await restore(tmp_path / "copy", cut / FILE)).kept == kept
    first = tmp_path / "first"
    first.mkdir()
    for end in ("", "-wal"):
        shutil.copy(cut / f"{FILE}.before-restore{end}", first / f"{FILE}{end}")
    shutil.copy(cut / f"{FILE}.writer", first / f"{FILE}.writer")
    store = await opened(first)
    assert await has(store, 2_059)  # with what was in the log only
    await store.close()
    left = ("", ".lock", ".writer", ".before-restore", ".before-restore-wal", ".before-restore-2")
    assert {file.name for file in cut.iterdir()} == {FILE + end for end in left}


async def test_what_is_no_backup_changes_nothing(tmp_path: Path) -> None:
    store = await opened(tmp_path / "live")
    await fill(store, 1)
    target = tmp_path / "live" / FILE
    back_up(target, tmp_path / "copy")
    with pytest.raises(StoreFailed, match="open in another server"):
        await restore(tmp_path / "copy", target)
    await store.close()
    data = target.read_bytes()
    (tmp_path / "text").write_text("no backup " * 1_000)
    other = apsw.Connection(str(tmp_path / "other"))
    other.execute("CREATE TABLE t (a)")
    other.close()
    damaged = bytearray((tmp_path / "copy").read_bytes())
    pages = [place for place in range(4096, len(damaged), 4096) if b"zzzz" in damaged[place : place + 4096]]
    for place in pages:
        damaged[place : place + 4096] = b"\xa5" * 4096
    (tmp_path / "damaged").write_bytes(damaged)
    for name in ("absent", "text", "other", "damaged"):
        with pytest.raises(StoreFailed):
            await restore(tmp_path / name, target)
    with pytest.raises(StoreFailed, match="is the data itself"):
        await restore(target, target)
    assert target.read_bytes() == data
    assert sorted(file.name for file in target.parent.iterdir()) == [FILE, f"{FILE}.lock", f"{FILE}.writer"]
    store = await opened(tmp_path / "live")
    with pytest.raises(StoreBusy):
        await SqliteStore(target, wait=0.1).open()
    assert await has(store, 60)
    await store.close()


async def test_into_a_directory_that_is_not_there(tmp_path: Path) -> None:
    store = await opened(tmp_path / "live")
    await fill(store, 1, 2)
    await store.close()
    back_up(tmp_path / "live" / FILE, tmp_path / "copy")
    assert (await restore(tmp_path / "copy", tmp_path / "new" / FILE)).kept is None
    store = await opened(tmp_path / "new")
    assert await has(store, 2)
    await store.close()
