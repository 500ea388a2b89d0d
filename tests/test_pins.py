"""The pins agree with pyproject.toml and with one another, and hold names, versions and hashes only."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
REMEDY = "run `uv run --no-project python requirements/update.py`"
FILES = ("runtime.txt", "build.txt", "dev.txt", "types.txt", "uv.txt")
HASH = re.compile(r"    --hash=sha256:[0-9a-f]{64}( \\)?")


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def lines(file: str) -> list[str]:
    return (ROOT / "requirements" / file).read_text().splitlines()


def pinned(file: str) -> list[Requirement]:
    return [Requirement(line.removesuffix(" \\")) for line in lines(file) if line and not line.startswith((" ", "#"))]


def versions_of(pins: list[Requirement]) -> set[str]:
    """`name==version`. Markers are left out: the files resolve different sets, so they mark the same version differently."""
    return {f"{canonicalize_name(pin.name)}{pin.specifier}" for pin in pins}


def uncovered(wanted: list[str], pins: list[Requirement]) -> list[str]:
    """The requirements for which there is no pin, or one that they do not allow."""
    versions: dict[str, list[str]] = {}
    for pin in pins:
        versions.setdefault(canonicalize_name(pin.name), []).append(next(iter(pin.specifier)).version)
    requirements = [Requirement(each) for each in wanted]
    return [
        str(each)
        for each in requirements
        if not (found := versions.get(canonicalize_name(each.name))) or not all(each.specifier.contains(v, True) for v in found)
    ]


@pytest.mark.parametrize("file", FILES)
def test_a_requirements_file_has_pins_and_hashes_only(file: str) -> None:
    for line in lines(file):
        if line.startswith("#") or HASH.fullmatch(line):
            continue
        requirement = Requirement(line.removesuffix(" \\"))
        assert requirement.url is None
        assert [each.operator for each in requirement.specifier] == ["=="], line
    assert len([line for line in lines(file) if HASH.fullmatch(line)]) >= len(pinned(file))


def test_every_runtime_dependency_is_pinned() -> None:
    missing = uncovered(project()["project"]["dependencies"], pinned("runtime.txt"))
    assert not missing, f"not in requirements/runtime.txt: {missing}; {REMEDY}"


def test_every_development_dependency_is_pinned() -> None:
    wanted = project()["project"]["dependencies"] + project()["dependency-groups"]["dev"]
    missing = uncovered(wanted, pinned("dev.txt"))
    assert not missing, f"not in requirements/dev.txt: {missing}; {REMEDY}"


def test_what_builds_the_package_is_pinned_as_for_developers() -> None:
    missing = uncovered(project()["build-system"]["requires"], pinned("build.txt"))
    assert not missing, f"not in requirements/build.txt: {missing}; {REMEDY}"
    assert versions_of(pinned("build.txt")) <= versions_of(pinned("dev.txt"))


def test_the_second_type_checker_is_pinned() -> None:
    missing = uncovered(project()["dependency-groups"]["types"], pinned("types.txt"))
    assert not missing, f"not in requirements/types.txt: {missing}; {REMEDY}"


def test_plain_uv_run_resolves_to_the_same_versions() -> None:
    constraints = versions_of([Requirement(each) for each in project()["tool"]["uv"]["constraint-dependencies"]])
    for file in ("runtime.txt", "dev.txt", "types.txt"):
        missing = versions_of(pinned(file)) - constraints
        assert not missing, f"{file} and constraint-dependencies in pyproject.toml differ: {sorted(missing)}; {REMEDY}"


def test_a_missing_and_a_forbidden_pin_are_both_found() -> None:
    pins = [Requirement("apsw==3.54.1.0"), Requirement("PyYAML==6.0.3")]
    assert uncovered(["apsw>=3.54", "pyyaml>=6"], pins) == []
    assert uncovered(["apsw>=3.55", "jq>=1"], pins) == ["apsw>=3.55", "jq>=1"]
