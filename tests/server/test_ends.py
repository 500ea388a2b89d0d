"""The store is chosen by URL, and an unknown one is refused at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from pelton.server.config import Config, ConfigError, load
from pelton.server.ends import make_store
from pelton.server.lifecycle import Server, StartFailed
from pelton.store.memory.store import MemoryStore
from pelton.store.sqlite.store import SqliteStore


def test_the_directory_of_data_is_a_sqlite_store(tmp_path: Path) -> None:
    store = make_store(Config(data=tmp_path / "a" / "b", durability="relaxed"))
    assert isinstance(store, SqliteStore)
    assert (store.path, store.durability) == (str(tmp_path / "a" / "b" / "pelton.db"), "relaxed")
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700


def test_a_url_wins_over_the_directory(tmp_path: Path) -> None:
    store = make_store(load({"data": str(tmp_path / "no"), "store": f"sqlite:{tmp_path / 'yes'}"}, {}))
    assert isinstance(store, SqliteStore)
    assert not (tmp_path / "no").exists()
    assert isinstance(make_store(load({}, {"PELTON_STORE": "memory:"})), MemoryStore)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("oracle:x", "unknown store 'oracle'; use one of memory:, sqlite:"),
        ("data", "unknown store 'data'"),
        ("sqlite:", "use sqlite:DIR"),
        ("memory:x", "use memory:"),
    ],
)
async def test_an_unknown_store_is_refused_at_once(url: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make_store(Config(store=url))
    assert says in str(caught.value)
    with pytest.raises(StartFailed) as failed:
        await Server(Config(port=0, store=url)).start()
    assert says in str(failed.value)


def test_what_is_watched_may_not_hold_the_store_whatever_says_where_it_is(tmp_path: Path) -> None:
    watch = (f"{tmp_path}=/in",)
    with pytest.raises(ConfigError, match="contains the data directory"):
        load({"watch": watch, "store": f"sqlite:{tmp_path / 'data'}"}, {})
    load({"watch": watch, "data": str(tmp_path / "data"), "store": "memory:"}, {})
