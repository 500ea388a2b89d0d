"""What is imported is declared, and what is declared is used: the program's dependencies, and those of its tests."""

from __future__ import annotations

import ast
import sys
import tomllib
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.metadata import packages_distributions
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from tests.source import ROOT, imported_names, modules, report, tracked

# Declared, and used without an import.
UNIMPORTED = {
    "tzdata": "the standard library reads it",
    "codespell": "a command",
    "coverage": "a command, and a setting of pytest-cov",
    "hypercorn": "a command that serves ministack",
    "editables": "hatchling needs it to build an editable install",
    "hatchling": "the build backend",
    "mypy": "a command",
    "poethepoet": "a command",
    "pre-commit": "a command",
    "pytest-asyncio": "a plug-in of pytest",
    "pytest-cov": "a plug-in of pytest",
    "pytest-timeout": "a plug-in of pytest",
    "pytest-xdist": "a plug-in of pytest",
    "ruff": "a command",
    "types-pyyaml": "types, for mypy",
    "uv": "a command",
}
OURS = {"pelton", "tests", "bench", "requirements"}


@cache
def declared() -> Mapping[str, Any]:
    found: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
    return found


def names(requirements: Iterable[str]) -> set[str]:
    return {canonicalize_name(Requirement(each).name) for each in requirements}


@cache
def distributions() -> dict[str, set[str]]:
    """Those that bring a top module of this name."""
    return {module: {canonicalize_name(name) for name in found} for module, found in packages_distributions().items()}


def imported(source: str, module: str, is_package: bool) -> set[str]:
    """Top modules that are neither the standard library's nor ours."""
    tops = {name.partition(".")[0] for _, name in imported_names(ast.parse(source), module, is_package)}
    return tops - sys.stdlib_module_names - OURS


def undeclared(tops: set[str], allowed: set[str]) -> list[str]:
    return sorted(top for top in tops if not distributions().get(top, set()) & allowed)


def sources_of_tests() -> list[tuple[str, str]]:
    """Path and source of every Python file outside src that the tests or the manual run; bench has a group of its own."""
    folders = {"tests", "docs", "requirements"}
    files = [path for path in tracked() if path.suffix == ".py" and path.relative_to(ROOT).parts[0] in folders]
    return [(str(path.relative_to(ROOT)), path.read_text(encoding="utf-8")) for path in files]


def test_the_program_imports_what_it_declares_and_nothing_else() -> None:
    extras = declared()["project"].get("optional-dependencies", {}).values()
    runtime = names(declared()["project"]["dependencies"]).union(*map(names, extras))
    used: set[str] = set()
    complaints = []
    for name, is_package, source in modules():
        tops = imported(source, name, is_package)
        used |= tops
        complaints += [f"{name} imports {top}, which [project] dependencies lack" for top in undeclared(tops, runtime)]
    report(complaints)
    brought = {distribution for top in used for distribution in distributions().get(top, set())}
    report([f"{name} is declared and imported nowhere" for name in sorted(runtime - brought - UNIMPORTED.keys())])


def test_the_tests_import_what_they_declare_and_nothing_else() -> None:
    runtime = names(declared()["project"]["dependencies"])
    dev = names(declared()["dependency-groups"]["dev"])
    used: set[str] = set()
    complaints = []
    for name, source in sources_of_tests():
        tops = {top for top in imported(source, name, False) if not (ROOT / "tests" / "server" / "ahead" / f"{top}.py").exists()}
        used |= tops
        complaints += [f"{name} imports {top}, which no dependency brings" for top in undeclared(tops, runtime | dev)]
    report(complaints)
    brought = {distribution for top in used for distribution in distributions().get(top, set())}
    report([f"{name} is declared for tests and used nowhere" for name in sorted(dev - brought - UNIMPORTED.keys())])


def test_every_exception_is_needed() -> None:
    every = names(declared()["project"]["dependencies"]) | names(declared()["dependency-groups"]["dev"])
    assert UNIMPORTED.keys() <= every


def test_an_undeclared_import_is_found() -> None:
    tops = imported("import hypercorn\nfrom msgspec import json\nimport os\nfrom pelton import store\n", "pelton.x", False)
    assert tops == {"hypercorn", "msgspec"}
    assert undeclared(tops, {"msgspec"}) == ["hypercorn"]
