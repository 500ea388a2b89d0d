"""Watched directories, from the side of the runtime: real directories, and a runtime that gives back what it likes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.patience import PATIENCE

from pelton.connectors.files.connector import FilesConnector, FileSubscription, iso
from pelton.connectors.files.ignoring import Ignored
from pelton.connectors.files.tree import FileBookmark, Tree
from pelton.connectors.port import Absent, Incoming, Permanent

SETTLE = 20  # milliseconds


def names(message: Incoming, name: str) -> bool:
    return message.bookmark is not None and message.bookmark[0] == name


class Desk:
    """Takes batches as the runtime does, and keeps what it would keep. `refuse`: which messages it gives back."""

    def __init__(self, folder: Path, most_files: int = 1_000, most_folders: int = 1_000, *, ignore: Sequence[str] = ()) -> None:
        self.connector = FilesConnector(
            {"/in": str(folder)}, SETTLE, most_files=most_files, most_folders=most_folders, ignore=ignore
        )
        self.subscription: FileSubscription
        self.batches: AsyncIterator[Sequence[Incoming]]
        self.bookmarks: dict[str, bytes] = {}
        self.told: list[tuple[str, str]] = []  # type and name
        self.ids: list[str] = []
        self.bodies: list[Any] = []
        self.well = 0
        self.refuse: Callable[[Incoming], bool] = lambda message: False
        self.open()

    def open(self) -> None:
        subscription = self.connector.subscribe("/in")
        assert isinstance(subscription, FileSubscription)
        self.subscription = subscription
        self.subscription.resume(sorted(self.bookmarks.items()))
        self.batches = self.subscription.batches().__aiter__()

    async def again(self) -> None:
        """As after a restart."""
        await self.subscription.close()
        self.open()

    async def take(self) -> Sequence[Incoming]:
        async with asyncio.timeout(PATIENCE):
            batch = await anext(self.batches)
        assert len(batch) <= 100
        self.well += not batch
        back = [message for message in batch if self.refuse(message)]
        for message in batch:
            if message not in back:
                self.record(message)
        if back:
            await self.subscription.give_back(back)
        return batch

    def record(self, message: Incoming) -> None:
        assert message.event is not None
        assert message.bookmark is not None
        name, state = message.bookmark
        self.told.append((message.event.type, name))
        self.ids.append(message.id)
        self.bodies.append(message.event.body)
        if state:
            self.bookmarks[name] = state
        else:
            del self.bookmarks[name]

    async def until(self, *last: tuple[str, str]) -> None:
        """Until these were told, in any order."""
        while not set(last) <= set(self.told):
            await self.take()

    async def quiet(self) -> None:
        """Until nothing is left to be told."""
        before = self.well
        while self.well == before:
            await self.take()


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    (tmp_path / "in").mkdir()
    desk = Desk(tmp_path / "in")
    yield desk
    await desk.subscription.close()


async def test_what_is_given_back_comes_again_as_it_is_by_then(desk: Desk, tmp_path: Path) -> None:
    refused: list[str] = []

    def refuse(message: Incoming) -> bool:
        refused.append(message.id)
        return len(refused) <= 2

    desk.refuse = refuse
    (tmp_path / "in" / "a").write_text("1")
    (tmp_path / "in" / "b").write_text("1")
    await desk.until(("FileCreated", "a"), ("FileCreated", "b"))
    assert set(refused[:2]) == set(desk.ids), "a repeat has the same id"
    await desk.quiet()
    refused.clear()
    (tmp_path / "in" / "a").unlink()
    (tmp_path / "in" / "b").write_text("22")
    await desk.until(("FileDeleted", "a"), ("FileUpdated", "b"))
    assert len(desk.told) == 4
    assert not desk.bookmarks.keys() - {"b"}


async def test_a_file_that_was_given_back_and_went_was_never_there(desk: Desk, tmp_path: Path) -> None:
    desk.refuse = lambda message: names(message, "a")
    (tmp_path / "in" / "a").write_text("1")
    while not [message for message in await desk.take() if names(message, "a")]:
        pass
    (tmp_path / "in" / "a").unlink()
    desk.refuse = lambda message: False
    (tmp_path / "in" / "b").write_text("1")
    await desk.until(("FileCreated", "b"))
    await desk.quiet()
    assert desk.told == [("FileCreated", "b")]


async def test_too_many_files_are_an_error_that_says_so(tmp_path: Path) -> None:
    for number in range(4):
        (tmp_path / f"{number}.csv").touch()
    few = Desk(tmp_path, most_files=3)
    with pytest.raises(Permanent, match=r"more than 3 files in .*: take some away"):
        await few.take()
    assert not few.connector.health()["/in"].healthy
    (tmp_path / "0.csv").unlink()
    await few.again()
    await few.until(*(("FileCreated", f"{number}.csv") for number in (1, 2, 3)))
    (tmp_path / "5.csv").touch()
    with pytest.raises(Permanent, match="more than 3 files"):
        await few.until(("FileCreated", "5.csv"))
    assert len(few.told) == 3
    await few.subscription.close()


async def test_too_many_directories_are_an_error_that_says_so(tmp_path: Path) -> None:
    (tmp_path / "a" / "b" / "c").mkdir(parents=True)
    few = Desk(tmp_path, most_folders=3)
    with pytest.raises(Permanent, match="more than 3 directories"):
        await few.take()


async def test_a_directory_that_cannot_be_read_keeps_its_files(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in" / "sub").mkdir()
    (tmp_path / "in" / "sub" / "a").write_text("1")
    await desk.until(("FileCreated", "sub/a"))
    scandir = os.scandir

    def refusing(path: Any) -> Any:
        if str(path).endswith("sub"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    await desk.again()
    (tmp_path / "in" / "b").write_text("1")
    await desk.until(("FileCreated", "b"))
    await desk.quiet()
    monkeypatch.undo()
    await desk.again()
    await desk.quiet()
    assert [kind for kind, _ in desk.told] == ["FileCreated", "FileCreated"]


async def test_without_notices_the_directory_is_looked_at(desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import watchfiles

    def unable(*folders: Any, **options: Any) -> Any:
        raise OSError(28, "the limit of watches has been reached")

    monkeypatch.setattr(watchfiles, "watch", unable)
    await desk.quiet()
    (tmp_path / "in" / "a").write_text("1")
    await desk.until(("FileCreated", "a"))


async def test_an_empty_directory_in_the_place_of_a_mounted_one_says_nothing(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "in" / "a").write_text("1")
    await desk.until(("FileCreated", "a"))
    (tmp_path / "in").rename(tmp_path / "disk")
    with pytest.raises(Absent, match="is not there"):
        await desk.until(("FileDeleted", "a"))
    (tmp_path / "in").mkdir()
    await desk.again()
    with pytest.raises(Absent, match="is empty, and is another"):
        await desk.take()
    (tmp_path / "in" / "b").write_text("1")
    await desk.again()
    await desk.until(("FileCreated", "b"), ("FileDeleted", "a"))


async def test_one_file_that_comes_goes_and_comes_back_has_three_events(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "in" / "a").write_text("1")
    for kind in ("FileCreated", "FileDeleted", "FileCreated"):
        before = len(desk.told)
        while len(desk.told) == before:
            await desk.take()
        assert desk.told[-1] == (kind, "a")
        there, away = tmp_path / "in" / "a", tmp_path / "a"  # the same file, with the same time
        (away if away.exists() else there).rename(there if away.exists() else away)
    assert len(set(desk.ids)) == 3
    first, gone, second = (body["fileId"] for body in desk.bodies)
    assert first == gone != second


def remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            path.unlink()


def make_room(path: Path) -> None:
    """So that a file can be at this path: directories to it where there were files, and none in its own place."""
    for parent in reversed(path.parents):
        if parent.is_file():
            parent.unlink()
        parent.mkdir(exist_ok=True)
    if path.is_dir():
        shutil.rmtree(path)


@pytest.mark.parametrize("seed", range(3))
async def test_random_changes_restarts_and_refusals_add_up_to_what_is_there(
    tmp_path: Path, seed: int, rng: random.Random
) -> None:
    """Invariant: folded in order, the events of a name alternate between being there and not, and end as the directory is."""
    chance = random.Random(seed + rng.getrandbits(32))
    root = tmp_path / "in"
    root.mkdir()
    desk = Desk(root)
    desk.refuse = lambda message: chance.random() < 0.3
    names = ["a", "b", "b/a", "sub/a", "sub/deep/b", "sub/deep", "other/a", "x.tmp", ".hidden/a"]
    for _ in range(60):
        path = root / chance.choice(names)
        what = chance.choice(["write", "write", "append", "remove", "rename", "folder", "take", "restart"])
        if what in {"write", "append"}:
            make_room(path)
            with path.open("w" if what == "write" else "a") as file:
                file.write("x" * chance.randint(0, 5))
        elif what == "remove":
            remove(path)
        elif what == "rename" and path.is_file():
            target = root / chance.choice(names)
            kept = path.rename(root / ".kept")
            make_room(target)
            kept.replace(target)
        elif what == "folder" and (root / "sub").exists() and not (root / "moved").exists():
            (root / "sub").rename(root / "moved")
        elif what == "take":
            await desk.take()
        elif what == "restart":
            await desk.again()
    desk.refuse = lambda message: False
    await desk.quiet()
    await desk.again()
    await desk.quiet()
    await desk.subscription.close()
    there: dict[str, int] = {}
    for (kind, name), body in zip(desk.told, desk.bodies, strict=True):
        assert (kind == "FileCreated") == (name not in there), (kind, name)
        there[name] = body["size"]
        if kind == "FileDeleted":
            del there[name]
    expected = {
        str(path.relative_to(root)): path.stat().st_size
        for path in root.rglob("*")
        if path.is_file() and not Ignored().within(str(path.relative_to(root)))
    }
    assert there == expected
    assert desk.bookmarks.keys() == expected.keys()
    assert len(set(desk.ids)) == len(desk.ids)


def test_links_are_not_followed_and_names_beyond_utf8_are_left_out(tmp_path: Path) -> None:
    root, outside = tmp_path / "in", tmp_path / "outside"
    (root / "sub").mkdir(parents=True)
    outside.mkdir()
    (outside / "secret").write_text("1")
    (root / "sub" / "a").write_text("1")
    (root / "out").symlink_to(outside)
    (root / "all").symlink_to("/")
    (root / "file").symlink_to(outside / "secret")
    (root / "round").symlink_to(root)
    (root / os.fsdecode(b"\xff\xfe")).touch()
    tree = Tree(str(root))
    found = tree.all({})
    assert set(found.files) == {"sub/a"}
    assert set(found.folders) == {"", "sub"}
    assert found.unspoken == ["'\\udcff\\udcfe'"]
    noticed = tree.some(["out/secret", "round/sub/a", "file", "sub/a", "nothing", "out"], {}, {})
    assert {name for name, look in noticed.files.items() if look is not None} == {"sub/a"}


@given(st.integers(-(2**63), 2**63 - 1))
def test_any_time_of_a_file_can_be_said(nanoseconds: int) -> None:
    text = iso(nanoseconds)
    assert text is not None
    assert text.endswith("Z")


# ---- files and directories that take each other's place


async def test_a_file_that_becomes_a_directory_is_gone_and_its_successor_is_new(desk: Desk, tmp_path: Path) -> None:
    path = tmp_path / "in" / "x"
    path.write_text("1")
    await desk.until(("FileCreated", "x"))
    path.unlink()
    path.mkdir()
    await desk.until(("FileDeleted", "x"))
    (path / "y").write_text("1")
    await desk.until(("FileCreated", "x/y"))
    shutil.rmtree(path)
    path.write_text("2")
    await desk.until(("FileDeleted", "x/y"))
    while desk.told.count(("FileCreated", "x")) < 2:
        await desk.take()
    await desk.quiet()
    assert [kind for kind, name in desk.told if name == "x"] == ["FileCreated", "FileDeleted", "FileCreated"]


async def test_a_file_that_becomes_a_directory_while_nobody_looks_is_gone(desk: Desk, tmp_path: Path) -> None:
    path = tmp_path / "in" / "x"
    path.write_text("1")
    await desk.until(("FileCreated", "x"))
    await desk.subscription.close()
    path.unlink()
    path.mkdir()
    desk.open()
    await desk.until(("FileDeleted", "x"))
    await desk.quiet()
    assert len(desk.told) == 2


@pytest.mark.parametrize("becomes", ["file", "link", "pipe"])
def test_the_files_of_a_directory_that_becomes_something_else_are_gone(tmp_path: Path, becomes: str) -> None:
    """Renamed as a whole, it says nothing of what was in it: only its own name is noticed."""
    (tmp_path / "d" / "e").mkdir(parents=True)
    (tmp_path / "d" / "e" / "a").write_text("1")
    tree = Tree(str(tmp_path))
    found = tree.all({})
    look = found.files["d/e/a"]
    assert look is not None
    bookmarks = {"d/e/a": FileBookmark(bytes(16), look.inode, look.size, look.modified, tree.home).pack()}
    shutil.rmtree(tmp_path / "d")
    if becomes == "file":
        (tmp_path / "d").write_text("1")
    elif becomes == "link":
        (tmp_path / "d").symlink_to(tmp_path)
    else:
        os.mkfifo(tmp_path / "d")
    seen = tree.some(["d"], bookmarks, found.folders)
    assert seen.files["d/e/a"] is None
    assert seen.gone == ["d"]
    assert (seen.files["d"] is not None) == (becomes == "file")


# ---- names that are left out


SENDERS = (
    "{}.filepart", "{}.part", ".{}.aBc123", "{}.partial", "{}.crdownload", "{}~", "#{}#", "{}.tmp", "~${}", "{}.download/{}",
    ".in.{}.", "{}.swo", "{}.incomplete", "{}.temp", "{}.aria2",
)  # fmt: skip
"""What the programs that write files call one before it is whole."""


async def test_a_file_that_gets_its_name_when_it_is_whole_is_created_once(desk: Desk, tmp_path: Path) -> None:
    root = tmp_path / "in"
    whole = {root / form.format(f"{place}.csv", f"{place}.csv"): f"{place}.csv" for place, form in enumerate(SENDERS)}
    for path in whole:
        path.parent.mkdir(exist_ok=True)
        path.write_text("1")
    (root / "first").write_text("1")
    await desk.until(("FileCreated", "first"))
    for path in whole:
        with path.open("a") as file:
            file.write("2")
    (root / "second").write_text("1")
    await desk.until(("FileCreated", "second"))
    for path, name in whole.items():
        path.rename(root / name)
    await desk.until(*(("FileCreated", name) for name in whole.values()))
    await desk.quiet()
    assert sorted(desk.told) == [("FileCreated", each) for each in sorted(["first", "second", *whole.values()])]


async def test_a_directory_that_gets_its_name_when_it_is_whole(desk: Desk, tmp_path: Path) -> None:
    before = tmp_path / "in" / "delivery.uploading"
    before.mkdir()
    for name in "ab":
        (before / name).write_text("1")
    await desk.quiet()
    before.rename(tmp_path / "in" / "delivery")
    await desk.until(("FileCreated", "delivery/a"), ("FileCreated", "delivery/b"))
    assert len(desk.told) == 2


async def test_more_names_can_be_left_out_and_others_taken_back(tmp_path: Path) -> None:
    desk = Desk(tmp_path, ignore=("*.lock", "raw/**", "!.env", "!*.download"))
    (tmp_path / "raw" / "deep").mkdir(parents=True)
    for name in ("a.lock", "A.LOCK", "raw/a", "raw/deep/b", ".env", ".other", "song.download", "a"):
        (tmp_path / name).write_text("1")
    await desk.until(*(("FileCreated", name) for name in (".env", "song.download", "a")))
    for name in ("b.lock", "raw/c", "b"):
        (tmp_path / name).write_text("1")
    await desk.until(("FileCreated", "b"))
    await desk.quiet()
    await desk.subscription.close()
    assert len(desk.told) == 4


async def test_files_whose_names_are_left_out_from_now_on_are_not_gone(desk: Desk, tmp_path: Path) -> None:
    """Nothing is said of them; and taken back later, they go on from what was reported."""
    for name in ("a.lock", "b.lock", "c"):
        (tmp_path / "in" / name).write_text("1")
    await desk.until(*(("FileCreated", name) for name in ("a.lock", "b.lock", "c")))
    await desk.subscription.close()
    before = desk.bookmarks
    strict = Desk(tmp_path / "in", ignore=("*.lock",))
    strict.bookmarks = before
    await strict.again()
    (tmp_path / "in" / "b.lock").write_text("22")
    (tmp_path / "in" / "d").write_text("1")
    await strict.until(("FileCreated", "d"))
    await strict.quiet()
    await strict.subscription.close()
    assert strict.told == [("FileCreated", "d")]
    desk.bookmarks = strict.bookmarks
    await desk.again()
    await desk.until(("FileUpdated", "b.lock"))
    await desk.quiet()
    assert desk.told[3:] == [("FileUpdated", "b.lock")]
