"""The pages for people who work on Pelton name files and things of the program; each of them must exist, as it is written.

`a/b.py:Name.method` is a file below src/pelton and a name that it defines; `pelton.a.b:Name` is the same by module; anything
else in backticks that ends like a file or a folder must be one.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from tests.source import PACKAGE, ROOT, report

DOCS = ROOT / "docs"
PAGES = [DOCS / "architecture.md", DOCS / "glossary.md", DOCS / "contributing.md", *sorted((DOCS / "how-to").glob("*.md"))]
FENCED = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`([^`\n]+)`")
NAMED = re.compile(r"(?P<where>[\w./-]+):(?P<name>[A-Za-z_][\w.]*)")
FILE = re.compile(r"[\w.-]+(/[\w.*-]+)*(\.(py|md|toml|txt|yaml)|/)|(src|tests|docs|bench|requirements|\.ci)/[\w./-]+")
PLACES = (ROOT, PACKAGE, DOCS)


def spans(text: str) -> list[str]:
    return CODE.findall(FENCED.sub("", text))


@cache
def defined(path: Path) -> frozenset[str]:
    """Everything that a module defines, dotted: classes, functions, constants, methods, fields, and what it imports by name."""
    return frozenset(defined_in(ast.parse(path.read_text(encoding="utf-8")).body, ""))


def defined_in(body: list[ast.stmt], prefix: str) -> Iterator[str]:
    for node in body:
        if isinstance(node, ast.ClassDef):
            yield prefix + node.name
            yield from defined_in(node.body, f"{prefix}{node.name}.")
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield prefix + node.name
            if node.name == "__init__":
                yield from (prefix + name for name in set_by(node))
        elif isinstance(node, ast.Assign):
            yield from (prefix + target.id for target in node.targets if isinstance(target, ast.Name))
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield prefix + node.target.id
        elif isinstance(node, ast.ImportFrom) and not prefix:
            yield from (alias.asname or alias.name for alias in node.names)


def set_by(method: ast.AST) -> Iterator[str]:
    """Attributes of self that a method assigns."""
    for node in ast.walk(method):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        for target in targets:
            if isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name) and target.value.id == "self":
                yield target.attr


def module_file(where: str) -> Path | None:
    """Of `pelton.a.b` or `a/b.py`."""
    if where.startswith("pelton.") or where == "pelton":
        path = PACKAGE.parent / where.replace(".", "/")
        found = [path.with_suffix(".py"), path / "__init__.py"]
    else:
        found = [PACKAGE / where]
    return next((each for each in found if each.is_file()), None)


def complaints(text: str) -> list[str]:
    found = []
    for span in spans(text):
        if (named := NAMED.fullmatch(span)) and (named["where"].endswith(".py") or named["where"].startswith("pelton")):
            path = module_file(named["where"])
            if path is None:
                found.append(f"{span}: there is no such module")
            elif named["name"] not in defined(path):
                found.append(f"{span}: {path.name} defines no {named['name']}")
        elif FILE.fullmatch(span) and not written_elsewhere(span) and not any(exists(place, span) for place in PLACES):
            found.append(f"{span}: there is no such file or folder")
    return found


def written_elsewhere(span: str) -> bool:
    """A pattern with a placeholder in capitals, a folder's inner part, or a name that every folder has."""
    return "NAME" in span or span in {
        "__init__.py",
        "pyproject.toml",
        "definitions/",
        "expressions/",
        "filters/",
        "handlers/",
        "http/",
    }


def exists(place: Path, name: str) -> bool:
    return any(place.glob(name)) if "*" in name else (place / name).exists()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_the_page_names_is_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert spans(text)
    report([f"{page.name}: {line}" for line in complaints(text)])


def test_the_walks_name_their_files() -> None:
    """Each step of both walks leads to at least one name in one file."""
    text = (DOCS / "architecture.md").read_text(encoding="utf-8")
    walks = text[text.index("## One event") : text.index("## Where to look")]
    steps = re.split(r"^\d+\. ", walks, flags=re.MULTILINE)[1:]
    assert len(steps) > 15
    for step in steps:
        assert any(NAMED.fullmatch(span) for span in spans(step)), step


def test_a_name_that_is_gone_is_found() -> None:
    assert (
        complaints("`kernel/machine/advance.py:advance` `pelton.errors:PeltonError` `runtime/engine.py:LocalEngine.ingest`") == []
    )
    assert complaints("`kernel/machine/retreat.py:advance`") == ["kernel/machine/retreat.py:advance: there is no such module"]
    assert complaints("`pelton.errors:Nonesuch`") == ["pelton.errors:Nonesuch: errors.py defines no Nonesuch"]
    assert complaints("`docs/nothing.md` and `runtime/nowhere/`") == [
        "docs/nothing.md: there is no such file or folder",
        "runtime/nowhere/: there is no such file or folder",
    ]
    assert complaints("```text\n`runtime/nowhere/`\n```\n") == []
