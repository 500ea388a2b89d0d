"""Names that the settings leave out of a watched directory, and files that become directories, as the events say it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.patience import happens

from pelton.server.config import load
from pelton.testing import MemoryStore, running_server


async def told(http: httpx.AsyncClient, *last: tuple[str, str]) -> list[tuple[str, str]]:
    """Types and names of all events about files, once these are among them."""

    async def all_of_them() -> list[tuple[str, str]]:
        events: list[Any] = (await http.get("/v1/events")).json()["events"]
        found = [(each["type"], each["data"]["filePath"].removeprefix("/in/")) for each in reversed(events)]
        return found if set(last) <= set(found) else []

    if not last:
        return await all_of_them()
    found: list[tuple[str, str]] = await happens(all_of_them, "these are told")
    return found


@pytest.mark.parametrize("by", ["environment", "command", "file"])
async def test_the_setting_reaches_the_directory(tmp_path: Path, by: str) -> None:
    """A name that is taken back is told, one that is left out is not; the last file is told after both."""
    folder = tmp_path / "in"
    folder.mkdir()
    patterns = ["*.lock", "!.env"]
    settings = tmp_path / "pelton.toml"
    settings.write_text(f"watch-ignore = {patterns}\n" if by == "file" else "")
    given = {"watch_ignore": tuple(patterns)} if by == "command" else {}
    environment = {"PELTON_WATCH_IGNORE": ",".join(patterns)} if by == "environment" else {}
    config = load(given, environment, settings)
    for name in ("a.lock", ".env", ".other", "a.csv.filepart", "b.csv"):
        (folder / name).write_text("1")
    running = running_server(watch=(f"{folder}=/in",), watch_settle=10, watch_ignore=config.watch_ignore)
    async with running as server, httpx.AsyncClient(base_url=server.url) as http:
        await told(http, ("FileCreated", ".env"), ("FileCreated", "b.csv"))
        (folder / "a.csv.filepart").rename(folder / "a.csv")
        found = await told(http, ("FileCreated", "a.csv"))
    assert sorted(found) == [("FileCreated", name) for name in (".env", "a.csv", "b.csv")]


async def test_a_file_that_becomes_a_directory_and_one_again(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    path = folder / "x"
    path.write_text("1")
    settings: Any = {"watch": (f"{folder}=/in",), "watch_settle": 10, "store": MemoryStore()}
    kinds = ["FileCreated"]

    async def kinds_told() -> bool:
        return [kind for kind, name in await told(http) if name == "x"] == kinds

    async with running_server(**settings) as server, httpx.AsyncClient(base_url=server.url) as http:
        await happens(kinds_told)
        path.unlink()
        path.mkdir()
        kinds.append("FileDeleted")
        await happens(kinds_told)
        path.rmdir()
        path.write_text("22")
        kinds.append("FileCreated")
        await happens(kinds_told)
    path.unlink()
    path.mkdir()
    kinds.append("FileDeleted")
    async with running_server(**settings) as server, httpx.AsyncClient(base_url=server.url) as http:
        await happens(kinds_told, "what became a directory while no server ran is told as gone")
