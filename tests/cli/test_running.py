"""What a server is run with: the image, the systemd unit and the page about them. No container engine and no systemd here: each
is read as those would read it, and what it runs is checked against the program."""

from __future__ import annotations

import configparser
import fnmatch
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from pelton.cli.main import main
from pelton.cli.output import MISUSED
from pelton.server.config import OPTIONS, load

ROOT = Path(__file__).resolve().parent.parent.parent
UNIT = ROOT / "docs" / "systemd" / "pelton.service"
PAGE = ROOT / "docs" / "running.md"
VARIABLES = {option.variable for option in OPTIONS} | {"PELTON_SERVER", "PELTON_API_KEY"}


def instructions() -> list[tuple[str, str]]:
    """Of the Dockerfile, in order; lines that go on joined, comments left out."""
    lines = [line for line in (ROOT / "Dockerfile").read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [
        (name.upper(), rest.strip()) for name, _, rest in (line.partition(" ") for line in joined.splitlines() if line.strip())
    ]


def final_stage() -> list[tuple[str, str]]:
    found = instructions()
    start = max(place for place, (name, _) in enumerate(found) if name == "FROM")
    return found[start:]


def the(name: str) -> str:
    """The only instruction of this name in the last stage."""
    [found] = [rest for each, rest in final_stage() if each == name]
    return found


def environment() -> dict[str, str]:
    return dict(each.partition("=")[::2] for each in shlex.split(the("ENV")))


def understood(command: list[str]) -> str:
    """The name of the command, whose options and arguments must all be known. Raises click's errors."""
    assert Path(command[0]).name == "pelton"
    found: click.Command = main
    rest, names = command[1:], []
    while isinstance(found, click.Group):
        assert rest[0] in found.commands, f"no command {' '.join(command)}"
        found = found.commands[rest[0]]
        names.append(rest[0])
        rest = rest[1:]
    found.make_context(" ".join(names), list(rest), parent=click.Context(main, **main.context_settings))
    return " ".join(names)


def test_the_image_runs_a_server_that_is_not_root() -> None:
    assert the("FROM") == "python:3.13-slim"
    user = the("USER")
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)
    assert f"-o {user.split(':')[0]} -g {user.split(':')[1]} {environment()['PELTON_DATA']}" in the("RUN")
    names = [name for name, _ in final_stage()]
    assert names.index("USER") > max(place for place, name in enumerate(names) if name in {"RUN", "COPY"})
    command = json.loads(the("ENTRYPOINT")) + json.loads(the("CMD"))
    assert understood(command) == "serve"
    assert the("STOPSIGNAL") == "SIGTERM"


def test_the_image_says_where_its_data_and_its_port_are() -> None:
    settings = environment()
    assert {name for name in settings if name.startswith("PELTON_")} <= VARIABLES
    assert json.loads(the("VOLUME")) == [settings["PELTON_DATA"]]
    config = load({}, {**settings, "PELTON_API_KEYS": "a-key-of-some-length"}, None)
    assert the("EXPOSE") == str(config.port)
    assert not config.loopback
    assert the("WORKDIR") in the("RUN")


def test_the_images_health_is_asked_of_the_server() -> None:
    options, _, command = the("HEALTHCHECK").partition(" CMD ")
    assert understood(json.loads(command)) == "health"
    assert {each.partition("=")[0] for each in options.split()} == {"--interval", "--timeout", "--start-period", "--retries"}


def test_without_keys_the_images_server_does_not_start(tmp_path: Path) -> None:
    """It can be reached from elsewhere, so it must know who may call it."""
    command = [sys.executable, "-m", "pelton.cli", "serve", "--print-config"]
    settings = {**os.environ, **{name: value for name, value in environment().items() if name != "PATH"}}
    done = subprocess.run(command, cwd=tmp_path, env=settings, capture_output=True, text=True, check=False)
    assert done.returncode == MISUSED
    assert "no access control is configured" in done.stderr
    settings["PELTON_API_KEYS"] = "a-key-of-some-length"
    subprocess.run(command, cwd=tmp_path, env=settings, capture_output=True, check=True)


def test_what_the_image_is_built_from_is_there_pinned_and_not_left_out() -> None:
    copied = [shlex.split(rest) for name, rest in instructions() if name == "COPY" and "--from=" not in rest]
    sources = [source for parts in copied for source in parts[:-1]]
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    for source in sources:
        assert (ROOT / source).exists()
        left_out = False
        for rule in rules:
            if fnmatch.fnmatch(source, rule.removeprefix("!")):
                left_out = not rule.startswith("!")
        assert not left_out, f".dockerignore leaves out {source}"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert {project["readme"], *project["license-files"]} <= set(sources)
    installs = [
        command for name, rest in instructions() if name == "RUN" for command in rest.split("&&") if "pip install" in command
    ]
    assert installs
    for command in installs:
        assert "--require-hashes" in command or "--no-index" in command, command
        for file in re.findall(r"-r (\S+)", command):
            assert file in sources
    version = the("FROM").partition(":")[2].partition("-")[0]
    assert f"Programming Language :: Python :: {version}" in project["classifiers"]


# ---- systemd


def unit() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None, strict=True, delimiters=("=",), comment_prefixes=("#",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # names with their case
    parser.read_string(UNIT.read_text())
    return parser


def test_the_unit_starts_a_server_with_its_own_options() -> None:
    service = unit()["Service"]
    command = shlex.split(service["ExecStart"])
    assert understood(command) == "serve"
    assert command[command.index("--data") + 1] == f"/var/lib/{service['StateDirectory']}"
    assert service["WorkingDirectory"] == f"/etc/{service['ConfigurationDirectory']}"
    assert int(service["RestartPreventExitStatus"]) == MISUSED
    assert service["Restart"] == "on-failure"


def test_the_unit_waits_for_what_the_server_tells() -> None:
    """`tests/server/test_notify.py` has the telling."""
    service = unit()["Service"]
    assert (service["Type"], service["NotifyAccess"]) == ("notify", "main")
    assert int(service["WatchdogSec"]) >= 30  # the server calls itself late after 10 s, and ends itself after 120
    assert int(service["TimeoutStopSec"]) > 10


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("NoNewPrivileges", "yes"), ("ProtectSystem", "strict"), ("ProtectHome", "yes"), ("PrivateTmp", "yes"),
        ("CapabilityBoundingSet", ""), ("StateDirectoryMode", "0700"), ("UMask", "0077"), ("SystemCallFilter", "@system-service"),
    ],
)  # fmt: skip
def test_the_unit_gives_the_server_no_more_than_it_needs(name: str, value: str) -> None:
    assert unit()["Service"][name] == value
    assert unit()["Service"]["User"] != "root"


# ---- the page


def commands() -> Iterator[str]:
    """Every line of the page that calls pelton, in blocks and in indented text."""
    for line in PAGE.read_text().splitlines():
        found = re.match(r"^(?:    )?(?:sudo -u pelton )?(?:/opt/pelton/bin/)?(pelton .*)$", line)
        if found:
            yield found[1]


def test_every_command_of_the_page_is_one_that_the_program_knows() -> None:
    found = [understood(shlex.split(each, comments=True)) for each in commands()]
    assert {"serve", "backup", "check", "restore", "health"} <= set(found)


def test_every_variable_of_the_page_is_a_setting() -> None:
    assert set(re.findall(r"\bPELTON_[A-Z_]+", PAGE.read_text())) <= VARIABLES
