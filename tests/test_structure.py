"""The house rules that a program can check: who imports whom, what the kernel may touch, and how long things are.

Each check is a function from source text to complaints, so that the checks themselves are tested with sources that
break them.
"""

from __future__ import annotations

import ast
import re
import sys

import pytest
from tests.source import PACKAGE, ROOT, called_name, imported_names, modules, report, tracked

MODULE_LINES = 800
FUNCTION_LINES = 80

# What a pure room has no use for: clocks, randomness, the outside world, other threads, loading code by name.
# fmt: off
IMPURE_MODULES = {
    "_thread", "asyncio", "concurrent", "contextvars", "ctypes", "ftplib", "getpass", "glob", "http", "imaplib", "importlib",
    "logging", "mmap", "multiprocessing", "os", "pathlib", "pkgutil", "platform", "poplib", "queue", "random", "runpy", "sched",
    "secrets", "select", "selectors", "shelve", "shutil", "signal", "smtplib", "socket", "socketserver", "sqlite3", "ssl",
    "subprocess", "tempfile", "threading", "time", "urllib.request", "uuid.uuid1", "uuid.uuid4", "webbrowser",
}
# fmt: on
IMPURE_CALLS = {"breakpoint", "input", "open", "print", "eval", "exec", "now", "utcnow", "today", "uuid1", "uuid4"}
KERNEL_LIBRARIES = {"msgspec", "quickjs", "jsonpath_rfc9535"}

LANGUAGE_WORDS = ("conductor", "littlehorse", "lusid", "mambu", "corezoid", "twinit")
ROOMS_WITHOUT_LANGUAGES = ("kernel", "store", "runtime")

# Put together here, because this file is searched as well.
REGISTRY_HOSTS = [
    ".".join(parts)
    for parts in (
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("npmjs", "org"),
        ("npmjs", "com"),
        ("static", "crates", "io"),
        ("index", "crates", "io"),
        ("proxy", "golang", "org"),
        ("maven", "apache", "org"),
        ("maven", "org"),
        ("deb", "debian", "org"),
    )
]


def purity_complaints(source: str, module: str, is_package: bool = False) -> list[str]:
    tree = ast.parse(source)
    found = []
    for line, name in imported_names(tree, module, is_package):
        root = name.split(".")[0]
        prefixes = {".".join(name.split(".")[:count]) for count in range(1, name.count(".") + 2)}
        if impure := prefixes & IMPURE_MODULES:
            found.append(
                f"{module}:{line}: imports {min(impure)}; the kernel does no I/O and has no clock, randomness or threads"
            )
        elif root not in sys.stdlib_module_names and root not in KERNEL_LIBRARIES and root != "pelton":
            found.append(f"{module}:{line}: imports {name}; of libraries the kernel may use {sorted(KERNEL_LIBRARIES)}")
    for node in ast.walk(tree):
        if isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.AsyncFor | ast.AsyncWith):
            found.append(f"{module}:{node.lineno}: is asynchronous; the kernel is plain functions")
        elif isinstance(node, ast.Call) and is_impure_call(node):
            found.append(
                f"{module}:{node.lineno}: calls {called_name(node)}(); the kernel is given time, ids and content as arguments"
            )
    return found


def is_impure_call(node: ast.Call) -> bool:
    name = called_name(node)
    if name not in IMPURE_CALLS:
        return False
    # As a method only the clocks count: `context.eval(...)` is a sandbox's, `parser.open()` a parser's.
    return isinstance(node.func, ast.Name) or name in {"now", "utcnow", "today", "uuid1", "uuid4"}


def length_complaints(source: str, where: str) -> list[str]:
    lines = source.count("\n")
    found = [f"{where}: {lines} lines; {MODULE_LINES} is the limit: split it by noun"] if lines > MODULE_LINES else []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > FUNCTION_LINES:
                found.append(f"{where}:{node.lineno}: {node.name} has {length} lines; {FUNCTION_LINES} is the limit")
    return found


def unfinished_complaints(source: str, where: str) -> list[str]:
    return [
        f"{where}:{node.lineno}: names NotImplementedError; finish it, or leave it out"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Name) and node.id == "NotImplementedError"
    ]


def language_complaints(text: str, where: str) -> list[str]:
    found = []
    for number, line in enumerate(text.splitlines(), start=1):
        found += [f"{where}:{number}: names {word}" for word in LANGUAGE_WORDS if word in line.lower()]
    return found


def host_complaints(text: str, where: str) -> list[str]:
    pattern = re.compile(r"(?<![\w-])(?:[\w-]+\.)*(?:" + "|".join(map(re.escape, REGISTRY_HOSTS)) + r")\b", re.IGNORECASE)
    return [f"{where}: names the package registry {match.group()}" for match in pattern.finditer(text)]


def test_the_kernel_is_pure() -> None:
    kernel = [each for each in modules() if each[0].startswith("pelton.kernel")]
    assert kernel
    report([line for name, is_package, source in kernel for line in purity_complaints(source, name, is_package)])


def test_the_core_knows_no_language() -> None:
    found: list[str] = []
    for room in ROOMS_WITHOUT_LANGUAGES:
        for path in tracked():
            if path.is_relative_to(PACKAGE / room):
                where = str(path.relative_to(ROOT))
                found += language_complaints(where + "\n" + path.read_text(encoding="utf-8"), where)
    report(found)


def test_modules_and_functions_stay_short() -> None:
    sources = [path for path in tracked() if path.suffix == ".py"]
    assert sources
    report([line for path in sources for line in length_complaints(path.read_text("utf-8"), str(path.relative_to(ROOT)))])


def test_nothing_is_left_unfinished() -> None:
    report([line for name, _, source in modules() for line in unfinished_complaints(source, name)])


def test_no_lock_file_is_tracked() -> None:
    locks = {"uv.lock", "poetry.lock", "pdm.lock", "pylock.toml", "package-lock.json"}
    assert not [path for path in tracked() if path.name in locks]


def test_no_file_names_a_package_registry() -> None:
    found: list[str] = []
    for path in tracked():
        content = path.read_bytes()
        if b"\0" not in content:
            found += host_complaints(content.decode("utf-8", errors="replace"), str(path.relative_to(ROOT)))
    report(found)


@pytest.mark.parametrize(
    "source",
    [
        "import time",
        "from time import monotonic",
        "import os.path",
        "from urllib.request import urlopen",
        "from urllib import request",
        "from uuid import uuid4",
        "import jq",
        "async def advance(): ...",
        "import datetime\ndatetime.datetime.now()",
        "print('here')",
        "open('file')",
    ],
)
def test_an_impurity_is_found(source: str) -> None:
    assert len(purity_complaints(source, "pelton.kernel.machine.advance")) == 1


def test_pure_code_is_left_alone() -> None:
    source = (
        "import json, math, re\nfrom datetime import datetime\nfrom urllib.parse import quote\nimport msgspec\nimport quickjs\n"
    )
    assert (
        purity_complaints(source + "quickjs.Context().eval('1')\nfrom .flow import go\n", "pelton.kernel.machine.advance") == []
    )


def test_lengths_are_counted_to_the_last_line() -> None:
    body = "    pass\n" * (FUNCTION_LINES - 1)
    assert length_complaints("def f():\n" + body, "m.py") == []
    assert len(length_complaints("def f():\n" + body + "    pass\n", "m.py")) == 1
    assert length_complaints("x = 1\n" * MODULE_LINES, "m.py") == []
    assert len(length_complaints("x = 1\n" * (MODULE_LINES + 1), "m.py")) == 1


def test_the_other_checks_find_what_they_look_for() -> None:
    assert len(language_complaints("one\nConductor's word", "m.sql")) == 1
    assert len(unfinished_complaints("raise NotImplementedError('later')", "m")) == 1
    for host in REGISTRY_HOSTS:
        assert host_complaints(f"see https://{host}/x", "m.md")
    assert host_complaints("my" + REGISTRY_HOSTS[0], "m.md") == []
