"""Watched directories of a real server: files written by others, and what `GET /v1/events` says of them."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.patience import eventually, retried_when_slow, within
from tests.server.running import WAITING, define, fresh, starter, wire_client

from pelton.cli.process import ServerProcess

SETTLE = "150"
KINDS = {"FileCreated", "FileUpdated", "FileDeleted"}


class House:
    """A watched directory and the server that watches it."""

    def __init__(self, root: Path, settle: str = SETTLE) -> None:
        self.root = root
        self.folder = root / "in"
        self.folder.mkdir()
        (self.folder / "mark0").touch()  # files that are there at first are told
        self.settle = settle
        self.server: ServerProcess
        self.client: Any
        self.marks = 0
        self.start()
        self.until(("FileCreated", "mark0"))

    def start(self) -> None:
        self.server = fresh(self.root / "data", "--watch", f"{self.folder}=/acme/in/", "--watch-settle", self.settle)
        self.client = wire_client(self.server.address)

    def stop(self) -> None:
        self.client.close()
        assert self.server.stop() == 0, "\n".join(self.server.log)

    def kill(self) -> None:
        self.client.close()
        self.server.kill()

    def events(self) -> list[Any]:
        """All that are about files, oldest first."""
        found: list[Any] = []
        after = "0"
        while page := self.client.events(after=after, limit=1_000)["events"]:
            found += [each for each in page if each["type"] in KINDS]
            after = page[-1]["key"]
        return found

    def told(self) -> list[tuple[str, str]]:
        """Types and names."""
        return [(each["type"], each["data"]["filePath"].removeprefix("/acme/in/")) for each in self.events()]

    def tells(self, count: int) -> list[tuple[str, str]]:
        """All that was told but marks, when it is as much as that."""
        found = self.until()
        return found if len(found) >= count else []

    def until(self, *last: tuple[str, str]) -> list[tuple[str, str]]:
        """All that was told but marks, once these were."""
        found: list[tuple[str, str]] = self.wait(lambda: told if set(last) <= set(told := self.told()) else None)
        return [each for each in found if not each[1].startswith("mark")]

    def mark(self) -> list[tuple[str, str]]:
        """All that was told but marks, once a file that is written now was, and another one after that: whatever was noticed
        with the first was told before the second."""
        for _ in range(2):
            self.marks += 1
            (self.folder / f"mark{self.marks}").touch()
            self.until(("FileCreated", f"mark{self.marks}"))
        return self.until()

    def health(self) -> Any:
        return self.client.health()["details"]["sources"]["files:/acme/in"]

    def wait(self, condition: Callable[[], Any]) -> Any:
        try:
            return eventually(condition)
        except AssertionError as late:
            raise AssertionError((late, self.told(), "\n".join(self.server.log))) from None


@pytest.fixture
def house(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path, getattr(request, "param", SETTLE))
    yield house
    house.stop()


def test_a_file_comes_changes_and_goes(house: House) -> None:
    path = house.folder / "sub" / "übersicht.csv"
    path.parent.mkdir()
    path.write_text("a,b\n")
    house.until(("FileCreated", "sub/übersicht.csv"))
    with path.open("a") as file:
        file.write("1,2\n")
    house.until(("FileUpdated", "sub/übersicht.csv"))
    path.unlink()
    house.until(("FileDeleted", "sub/übersicht.csv"))
    _mark, created, updated, deleted = house.events()
    body = created["data"]
    assert created["source"] == "files:/acme/in"
    assert created["subject"] == body["filePath"] == "/acme/in/sub/übersicht.csv"
    assert (body["fileName"], body["size"]) == ("übersicht.csv", 4)
    assert body["modified"].endswith("Z")
    assert body.keys() == {"filePath", "fileName", "size", "fileId", "modified"}
    assert updated["data"]["size"] == deleted["data"]["size"] == 8
    assert updated["data"]["modified"] > body["modified"]
    assert body["fileId"] == updated["data"]["fileId"] == deleted["data"]["fileId"]
    assert len({each["id"] for each in (created, updated, deleted)}) == 3
    assert house.health()["healthy"]
    page = house.client.request("GET", "/metrics")
    assert 'pelton_source_healthy{address="files:/acme/in"} 1.0' in page
    assert 'pelton_source_messages_total{address="files:/acme/in",outcome="recorded"} 4.0' in page


def test_a_handler_starts_a_run_for_a_file(house: House) -> None:
    define(house.client, WAITING, starter("arrived", "FileCreated", "waiting", "$.filePath == '/acme/in/a.csv'"))
    (house.folder / "b.csv").touch()
    (house.folder / "a.csv").touch()
    house.until(("FileCreated", "a.csv"), ("FileCreated", "b.csv"))
    assert len(house.client.runs(process="waiting")["runs"]) == 1


@pytest.mark.parametrize("house", ["1000"], indirect=True)
@retried_when_slow
def test_a_file_that_is_written_slowly_has_one_event(house: House) -> None:
    path = house.folder / f"slow{house.marks}.csv"
    seen = len(house.events())
    with path.open("w") as file:
        for _ in range(12):
            with within(0.8):
                file.write("some more\n")
                file.flush()
                time.sleep(0.1)  # how this writer writes: longer in all than the settle time, with shorter pauses
    house.until(("FileCreated", path.name))
    assert [each for each in house.mark() if each[1] == path.name] == [("FileCreated", path.name)]
    assert house.events()[seen]["data"]["size"] == 120


def test_names_of_files_that_are_not_finished_wait_for_their_last_one(house: House) -> None:
    for number, name in enumerate(["a.csv.tmp", ".b.csv", "~c.csv", "d.part", "e.crdownload", "f.swp"]):
        (house.folder / name).write_text("x" * number)
    (house.folder / ".hidden").mkdir()
    (house.folder / ".hidden" / "g.csv").touch()
    assert house.mark() == []
    (house.folder / "a.csv.tmp").rename(house.folder / "a.csv")
    (house.folder / ".hidden").rename(house.folder / "shown")
    created = {("FileCreated", "a.csv"), ("FileCreated", "shown/g.csv")}
    house.until(*created)
    assert set(house.mark()) == created
    (house.folder / "d.part").rename(house.folder / "a.csv")
    house.until(("FileUpdated", "a.csv"))
    (house.folder / "a.csv").rename(house.folder / "z.csv")
    house.until(("FileDeleted", "a.csv"), ("FileCreated", "z.csv"))
    assert len(house.mark()) == 5


def test_whole_directories_come_and_go(house: House) -> None:
    outside = house.root / "outside"
    for number in range(150):
        path = outside / f"d{number % 7}" / "deep" / f"{number}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    names = {str(path.relative_to(outside)) for path in outside.rglob("*.csv")}
    outside.rename(house.folder / "all")
    created = [("FileCreated", f"all/{name}") for name in names]
    assert Counter(house.until(*created)) == Counter(created)
    late = house.folder / "all" / "d0" / "deeper" / "late.csv"
    late.parent.mkdir()
    late.touch()
    house.until(("FileCreated", "all/d0/deeper/late.csv"))
    (house.folder / "all").rename(house.root / "gone")
    deleted = [("FileDeleted", name) for _, name in [*created, ("", "all/d0/deeper/late.csv")]]
    house.until(*deleted)
    assert all(count == 1 for count in Counter(house.mark()).values())


def test_links_out_of_the_directory_are_not_followed(house: House) -> None:
    outside = house.root / "outside"
    outside.mkdir()
    (outside / "secret.csv").touch()
    (house.folder / "out").symlink_to(outside)
    (house.folder / "secret.csv").symlink_to(outside / "secret.csv")
    (outside / "later.csv").touch()
    (house.folder / os.fsdecode(b"\xff.csv")).touch()
    assert house.mark() == []
    house.stop()
    house.start()
    (outside / "later.csv").write_text("changed")
    assert house.mark() == []
    assert any("not UTF-8" in line for line in house.server.log)


def test_what_happened_while_the_server_was_down_is_told_once(house: House) -> None:
    for name in ("same", "changed", "gone", "replaced"):
        (house.folder / name).write_text("1")
    house.until(*(("FileCreated", name) for name in ("same", "changed", "gone", "replaced")))
    house.stop()
    (house.folder / "changed").write_text("22")
    (house.folder / "gone").unlink()
    (house.folder / "fresh.tmp").write_text("1")
    (house.folder / "fresh.tmp").rename(house.folder / "fresh")
    (house.folder / "replacing").write_text("2")
    (house.folder / "replacing").replace(house.folder / "replaced")
    house.start()
    after = {("FileUpdated", "changed"), ("FileDeleted", "gone"), ("FileCreated", "fresh"), ("FileUpdated", "replaced")}
    found = house.until(*after)
    assert len(found) == 8
    assert set(found[4:]) == after
    house.kill()
    house.start()
    assert len(house.mark()) == 8


@pytest.mark.slow
@pytest.mark.parametrize("house", ["50"], indirect=True)
def test_each_of_a_thousand_files_is_told_once_over_kills(house: House) -> None:
    names = [f"{number % 10}/{number}.csv" for number in range(1_000)]
    for number in range(10):
        (house.folder / str(number)).mkdir()
    for kill in range(4):
        for name in names[kill * 250 : (kill + 1) * 250]:
            part = house.folder / f"{name}.part"
            part.write_text(name)
            part.rename(house.folder / name)
        enough = kill * 250 + 30 + 45 * kill  # in the middle of the burst
        house.wait(partial(house.tells, enough))
        house.kill()
        house.start()
    found = house.wait(partial(house.tells, len(names)))
    assert Counter(found) == Counter(("FileCreated", name) for name in names)
    assert len(house.mark()) == len(names)


def test_a_directory_that_goes_away_is_waited_for(house: House) -> None:
    (house.folder / "a.csv").touch()
    house.until(("FileCreated", "a.csv"))
    house.folder.rename(house.root / "away")
    house.wait(lambda: not house.health()["healthy"])
    assert "create or mount it again" in house.health()["detail"]
    assert house.client.health()["healthy"], "others go on"
    (house.root / "away" / "b.csv").touch()
    (house.root / "away").rename(house.folder)
    house.until(("FileCreated", "b.csv"))
    house.wait(lambda: house.health()["healthy"])
    assert house.mark() == [("FileCreated", "a.csv"), ("FileCreated", "b.csv")]
