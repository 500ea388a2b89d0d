"""`pelton apply`: what is in a file, and where it goes."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from tests.server.running import WAITING, client, define, server, starter

from pelton.cli.apply import NotUnderstood, example, read
from pelton.cli.main import main
from pelton.cli.process import ServerProcess
from pelton.client import Client, RequestRefused

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
    define(client, WAITING)
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


def applied(server: ServerProcess, *arguments: str | Path, code: int = 0) -> list[dict[str, Any]]:
    done = pelton(server, "apply", *arguments, "--json")
    assert done.exit_code == code, done.output
    return [json.loads(line) for line in done.stdout.splitlines()]


def write(file: Path, *documents: Any) -> Path:
    file.write_text(json.dumps(list(documents)))
    return file


LUSID = ("check_quotes", "import_quotes", "new_quotes_file")


def test_the_order_of_documents_does_not_matter(server: ServerProcess, tmp_path: Path) -> None:
    documents = [copy.deepcopy(example("lusid", name)) for name in LUSID]
    renamed = json.loads(json.dumps(documents).replace("Finbourne-Examples", "ordered"))
    handlers = [each for each in renamed if "taskActivity" in each]
    others = [each for each in renamed if "taskActivity" not in each]
    found = applied(server, write(tmp_path / "all.json", *handlers, *others[::-1]))
    assert {each["change"] for each in found} == {"new"}
    assert len(found) == len(documents)


def test_unchanged_documents_make_no_new_version(server: ServerProcess, client: Client, tmp_path: Path) -> None:
    task = {"name": "unchanged_task", "retryCount": 1, "ownerEmail": "a@example.com"}
    conductor = [{**WAITING, "name": "unchanged"}, starter("unchanged_handler", "test:u", "unchanged"), task]
    lusid = [copy.deepcopy(example("lusid", name)) for name in LUSID]
    file = write(tmp_path / "all.json", *conductor, *lusid)
    assert len(applied(server, file)) == 6
    versions = [client.request("GET", path)["version"] for path in lusid_paths(lusid)]
    assert [each["change"] for each in applied(server, file)] == ["same"] * 6
    assert "unchanged: conductor workflow unchanged" in pelton(server, "apply", file).output
    assert [client.request("GET", path)["version"] for path in lusid_paths(lusid)] == versions
    conductor[0] = {**conductor[0], "description": "other"}
    assert [each["change"] for each in applied(server, write(file, *conductor, *lusid))] == ["changed", *["same"] * 5]


def lusid_paths(documents: Sequence[Any]) -> list[str]:
    paths = {"states": "taskdefinitions", "taskActivity": "eventhandlers", "workerConfiguration": "workers"}
    return [
        f"/workflow/api/{path}/{each['id']['scope']}/{each['id']['code']}"
        for each in documents
        for member, path in paths.items()
        if member in each
    ]


def test_standard_input_and_byte_order_marks(server: ServerProcess, client: Client, tmp_path: Path) -> None:
    text = json.dumps(starter("from_stdin", "test:stdin", "waiting"))
    for sent in (text.encode(), b"\xef\xbb\xbf" + text.encode(), text.encode("utf-16")):
        done = CliRunner().invoke(main, ["apply", "-", "--json", "--server", server.address], input=sent)
        assert done.exit_code == 0, done.output
        assert json.loads(done.stdout)["file"] == "-"
    two = b"\xef\xbb\xbf" + text.encode() + b"\n---\n\xef\xbb\xbf" + text.replace("from_stdin", "second_mark").encode()
    file = tmp_path / "two.yaml"
    file.write_bytes(two)
    assert [each["name"] for each in applied(server, file)] == ["from_stdin", "second_mark"]
    marked = tmp_path / "marked.json"
    marked.write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert applied(server, marked)[0]["change"] == "same"


def test_a_diff_shows_what_would_change_and_changes_nothing(server: ServerProcess, client: Client, tmp_path: Path) -> None:
    old = {**WAITING, "name": "differs", "description": "before"}
    file = write(tmp_path / "x.json", old)
    assert "1 of 1 documents would change" in pelton(server, "apply", file, "--diff").output
    applied(server, file)
    assert "0 of 1 documents would change" in pelton(server, "apply", file, "--diff").output
    text = pelton(server, "apply", write(file, {**old, "description": "after"}), "--diff").output
    assert '-  "description": "before"' in text
    assert '+  "description": "after"' in text
    [found] = applied(server, file, "--diff")
    assert (found["change"], found["applied"], len(found["diff"]) > 4) == ("changed", False, True)
    assert client.request("GET", "/api/metadata/workflow/differs")["description"] == "before"


def test_what_is_gone_from_a_set_is_removed_when_asked(server: ServerProcess, client: Client, tmp_path: Path) -> None:
    flow = {**WAITING, "name": "pruned"}
    first, second = starter("pruned_one", "test:pruned", "pruned"), starter("pruned_two", "test:pruned", "pruned")
    lusid = json.loads(json.dumps([example("lusid", name) for name in LUSID]).replace("Finbourne-Examples", "pruning"))
    file = write(tmp_path / "set.json", flow, first, second, *lusid)
    applied(server, file, "--set", "shop")
    assert len(client.applied("shop").documents) == 6
    write(file, flow, first)
    preview = applied(server, file, "--set", "shop", "--prune", "--diff")
    assert len([each for each in preview if each.get("removed") is False]) == 4
    refused = CliRunner().invoke(main, ["apply", str(file), "--set", "shop", "--prune", "--server", server.address], input="n\n")
    assert (refused.exit_code, "nothing was done" in refused.stderr) == (1, True)
    assert len(client.post_event("test:pruned", "/s", {"number": 1}).effects) == 2
    done = applied(server, file, "--set", "shop", "--prune", "--yes")
    assert len([each for each in done if each.get("removed")]) == 4
    assert [each.handler for each in client.post_event("test:pruned", "/s", {"number": 2}).effects] == ["pruned_one"]
    assert {each.identity for each in client.applied("shop").documents} == {"pruned/1", "pruned_one"}
    for path in lusid_paths(lusid):
        with pytest.raises(RequestRefused) as caught:
            client.request("GET", path)
        assert caught.value.status == 404
    assert applied(server, file, "--set", "shop", "--prune", "--yes")[0]["change"] == "same"
    write(file, starter("other_set", "test:other_set", "pruned"))
    applied(server, file, "--set", "other", "--prune", "--yes")
    assert len(client.applied("shop").documents) == 2
    assert client.applied("nobody").documents == []


@pytest.mark.parametrize(("options", "says"), [(("--prune",), "--set"), (("--prune", "--set", "x", "--json"), "--yes")])
def test_pruning_is_used_as_it_should_be(server: ServerProcess, tmp_path: Path, options: tuple[str, ...], says: str) -> None:
    done = pelton(server, "apply", write(tmp_path / "x.json", WAITING), *options)
    assert (done.exit_code, says in done.stderr) == (2, True)


def test_one_that_is_refused_does_not_keep_the_others_back(server: ServerProcess, client: Client, tmp_path: Path) -> None:
    lusid = json.loads(json.dumps([example("lusid", name) for name in LUSID]).replace("Finbourne-Examples", "lonely"))
    [handler] = [each for each in lusid if "taskActivity" in each]
    done = pelton(server, "apply", write(tmp_path / "x.json", handler, {**WAITING, "name": "not_kept_back"}))
    assert done.exit_code == 1
    assert "applied: conductor workflow not_kept_back" in done.stdout
    assert "no such task definition" in done.stderr
