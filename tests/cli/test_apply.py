"""`pelton apply`: what is in a file, and where it goes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from tests.server.running import WAITING, client, server, starter

from pelton.cli.apply import NotUnderstood, read
from pelton.cli.main import main
from pelton.cli.process import ServerProcess
from pelton.client import Client

__all__ = ["client", "server"]  # fixtures


def pelton(server: ServerProcess, *arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [*map(str, arguments), "--server", server.address])


def test_yaml_and_json_with_several_documents(server: ServerProcess, client: Client, tmp_path: Path) -> None:
    both = tmp_path / "both.yaml"
    both.write_text(json.dumps(WAITING) + "\n---\n" + json.dumps(starter("applied", "test:applied", "waiting")))
    array = tmp_path / "array.json"
    array.write_text(json.dumps([starter("second", "test:second", "waiting")]))
    done = pelton(server, "apply", both, array)
    assert done.exit_code == 0, done.output
    assert [word in done.output for word in ("waiting", "applied", "second")] == [True] * 3
    assert client.post_event("test:applied", "/a", {"number": 1}).effects[0].outcome == "started"
    assert client.post_event("test:second", "/a", {"number": 1}).effects[0].outcome == "started"


def test_applying_again_replaces(server: ServerProcess, client: Client, tmp_path: Path) -> None:
    file = tmp_path / "handler.json"
    for active in (True, False, True):
        file.write_text(json.dumps({**starter("switched", "test:switched", "waiting"), "active": active}))
        done = pelton(server, "apply", file, "--json")
        assert done.exit_code == 0, done.output
        assert json.loads(done.output)["applied"] is True
    effects = client.post_event("test:switched", "/a", {"number": 1}).effects
    assert [effect.outcome for effect in effects] == ["started"]


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("a.json", "{", "is not valid JSON"),
        ("a.json", '{"a": 1,\n "b": }', "line 2"),
        ("a.yaml", "a: [", "is not YAML"),
        ("a.yaml", "a: &x [*x]", "is not YAML"),
        ("a.yaml", "!!python/object/apply:os.system ['true']", "is not YAML"),
        ("a.json", '{"who": "knows"}', "not a document of any supported language"),
        ("a.json", "5", "not a document of any supported language"),
        ("a.yaml", "", "has no documents"),
        ("a.yaml", "a: 1\n---\nb: 2", "not a document of any supported language"),
    ],
)
def test_what_is_not_understood_is_named_and_nothing_is_sent(
    server: ServerProcess, client: Client, tmp_path: Path, name: str, text: str, says: str
) -> None:
    good = tmp_path / "good.json"
    good.write_text(json.dumps(starter(f"never_{len(text)}", "test:never", "waiting")))
    bad = tmp_path / name
    bad.write_text(text)
    done = pelton(server, "apply", good, bad)
    assert done.exit_code == 2
    assert str(bad) in done.stderr
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert client.post_event("test:never", "/a").state == "unmatched"


def test_a_definition_that_is_refused_names_file_and_field(server: ServerProcess, tmp_path: Path) -> None:
    file = tmp_path / "bad.json"
    file.write_text(json.dumps({**WAITING, "tasks": [{"name": "x", "type": "WAIT"}]}))
    done = pelton(server, "apply", file)
    assert done.exit_code in {1, 2}
    assert str(file) in done.stderr
    assert "taskReferenceName" in done.stderr


def test_a_file_that_is_not_there(server: ServerProcess, tmp_path: Path) -> None:
    done = pelton(server, "apply", tmp_path / "none.json")
    assert done.exit_code == 2
    assert "none.json" in done.stderr


def test_a_date_in_yaml_stays_text(tmp_path: Path) -> None:
    file = tmp_path / "date.yaml"
    file.write_text(f'{json.dumps(starter("dated", "test:dated", "waiting"))[:-1]}, "description": 2026-01-31}}')
    assert read(file)


@given(st.binary(max_size=300), st.sampled_from([".json", ".yaml"]))
def test_any_file_is_understood_or_refused(data: bytes, suffix: str) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / f"file{suffix}"
        file.write_bytes(data)
        refused = ""
        try:
            read(file)
        except NotUnderstood as error:
            refused = str(error)
        assert not refused or str(file) in refused
