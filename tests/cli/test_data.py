"""`pelton backup`, `pelton restore` and `pelton check`, on the data of a running server and of one that was killed."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import apsw
import pytest
from tests.server.running import WAITING, WORKING, client, define, server, starter

from pelton.cli.process import ServerProcess
from pelton.client import Client
from pelton.models import ClaimIn, ReportIn
from pelton.store.sqlite.check import check
from pelton.store.sqlite.store import FILE

__all__ = ["client", "server"]
BIG = "x" * 20_000


def run(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pelton.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def busy(client: Client) -> None:
    """Runs in several states, with small and large values."""
    define(client, WAITING, WORKING, starter("begin", "some.thing", "working"), starter("wait", "other.thing", "waiting"))
    for number in range(12):
        client.post_event("some.thing", id=f"e{number}", source="test", data={"number": number if number % 2 else BIG})
        client.post_event("other.thing", id=f"o{number}", source="test", data={})
    for item in client.work("me", claim=ClaimIn(["step_one"], 6, 5_000)).items:
        client.work("me", reports=[ReportIn(item.id, output={"number": BIG})])


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data directory of a server that was killed at work."""
    tmp_path = tmp_path_factory.mktemp("killed")
    process = ServerProcess(tmp_path / "killed")
    process.wait_ready()
    try:
        with Client(process.address) as client:
            busy(client)
    finally:
        process.kill()
    return tmp_path / "killed"


def test_a_backup_of_a_running_server_is_sound_and_a_server_goes_on_from_it(
    server: ServerProcess, client: Client, tmp_path: Path
) -> None:
    busy(client)
    data = Path((client.health()).details["store"]["path"]).parent
    made = run("backup", tmp_path / "copy.db", "--data", data)
    assert made.returncode == 0, made.stderr
    assert (tmp_path / "copy.db").stat().st_mode & 0o777 == 0o600
    assert not list(tmp_path.glob("*.part*"))
    client.post_event("some.thing", id="later", source="test", data={"number": 1})
    for arguments in ((tmp_path / "copy.db",), ("--data", data)):
        looked = run("check", "--json", *arguments)
        assert looked.returncode == 0, looked.stdout + looked.stderr
        found = json.loads(looked.stdout)
        assert found["sound"]
        assert found["rows"]["run"] >= 24
    refused = run("restore", tmp_path / "copy.db", "--data", data)
    assert refused.returncode == 1
    assert "stop that server first" in refused.stderr
    put_back = run("restore", tmp_path / "copy.db", "--data", tmp_path / "again")
    assert put_back.returncode == 0, put_back.stderr
    other = ServerProcess(tmp_path / "again")
    other.wait_ready()
    try:
        with Client(other.address) as second:
            ids = {event.id for event in second.events(limit=100).events}
            assert "e11" in ids
            assert "later" not in ids
            assert second.post_event("some.thing", id="e11", source="test", data={"number": 11}).outcome == "duplicate"
    finally:
        assert other.stop() == 0


def test_a_killed_server_goes_back_to_a_backup_and_what_it_had_is_kept(killed: Path, tmp_path: Path) -> None:
    shutil.copytree(killed, tmp_path / "data")
    assert run("backup", tmp_path / "copy.db", "--data", killed).returncode == 0
    put_back = run("restore", tmp_path / "copy.db", "--data", tmp_path / "data")
    assert put_back.returncode == 0, put_back.stderr
    assert "pelton.db.before-restore: what was there before" in put_back.stdout
    assert run("check", "--data", tmp_path / "data").returncode == 0
    assert run("check", tmp_path / "data" / f"{FILE}.before-restore").returncode == 0


def test_data_of_a_killed_server_is_checked_and_copied_as_it_is(killed: Path, tmp_path: Path) -> None:
    before = (killed / FILE).read_bytes()
    assert run("backup", tmp_path / "copy.db", "--data", killed).returncode == 0
    assert check(tmp_path / "copy.db").problems == []
    assert check(killed / FILE).rows == check(tmp_path / "copy.db").rows
    assert (killed / FILE).read_bytes() == before


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        ("DELETE FROM open", "open rows; its head says"),
        ("UPDATE run SET live = 1 - live", "its row says live"),
        ("UPDATE run SET rev = rev + 1", "its row says revision"),
        ("DELETE FROM run WHERE key = (SELECT min(key) FROM run)", "which does not exist"),
        ("UPDATE step SET body = x'01' WHERE n = 0", "cannot be decoded"),
        ("DELETE FROM blob", "large values; its rows name"),
        ("UPDATE open SET line = line + 1", "is listed under another process"),
        ("UPDATE event SET body = x'c1'", "cannot be decoded"),
        ("INSERT INTO wait_key (ns, name, key, run, n) SELECT 'a', 'b', 'c', min(key), 99 FROM run", "is not open"),
    ],
)
def test_a_check_names_what_is_wrong(killed: Path, tmp_path: Path, harm: str, says: str) -> None:
    assert run("backup", tmp_path / "copy.db", "--data", killed).returncode == 0
    db = apsw.Connection(str(tmp_path / "copy.db"))
    db.execute("DROP TRIGGER open_gone")
    db.execute(harm)
    db.close()
    looked = run("check", tmp_path / "copy.db")
    assert looked.returncode == 1
    assert says in looked.stderr


def test_a_damaged_file_is_noticed(killed: Path, tmp_path: Path) -> None:
    assert run("backup", tmp_path / "copy.db", "--data", killed).returncode == 0
    with (tmp_path / "copy.db").open("r+b") as file:
        file.seek(3 * 4096)
        file.write(b"\xff" * 4096 * 4)
    looked = run("check", tmp_path / "copy.db")
    assert (looked.returncode, "SQLite" in looked.stderr) == (1, True)


def test_what_cannot_be_done_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "there.db").write_text("mine")
    (tmp_path / "empty.db").touch()
    (tmp_path / "data").mkdir()
    apsw.Connection(str(tmp_path / "data" / FILE)).execute("CREATE TABLE x (y)")
    cases = [
        (("backup", tmp_path / "there.db", "--data", tmp_path / "data"), "exists"),
        (("backup", tmp_path / "new.db", "--data", tmp_path / "nothing"), "does not exist"),
        (("backup", tmp_path / "new.db", "--data", tmp_path / "data"), "another program"),
        (("backup", tmp_path / "no" / "new.db", "--data", tmp_path / "data"), "not a directory"),
        (("check", tmp_path / "there.db"), "not a SQLite file"),
        (("check", tmp_path / "nothing.db"), "does not exist"),
        (("check", tmp_path / "empty.db"), "is empty"),
        (("restore", tmp_path / "data", "--data", tmp_path / "data"), "is a directory"),
    ]
    for arguments, says in cases:
        done = run(*arguments)
        assert (done.returncode, says in done.stderr, done.stdout) == (1, True, ""), done
    assert (tmp_path / "there.db").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "empty.db", "there.db"]
