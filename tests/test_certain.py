"""Tests pass or fail by what the program does, not by how busy the machine is: none sleeps, reads a stopwatch, or gives up soon.

`tests/patience.py` says what to do instead. The moment (`time.time`) may be read: the program notes moments too.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent
STOPWATCHES = {"sleep", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "process_time", "thread_time"}
SOON = 15  # seconds

# Places where time itself is what a test needs, with what for. The helpers of tests/crash and tests/patience.py are left out.
NEEDED = {
    "client/test_worker.py": ("asyncio.sleep(2.5)",),  # work that outlasts its lease
    "languages/conductor/test_long_runs.py": ("time.thread_time()",),  # work, not time
    "net/test_http.py": ("asyncio.sleep(0.02)",),  # an answer that drips
    "runtime/test_together.py": ("asyncio.sleep(0.005)",),  # a source that looks now and then, as sources do
    "server/test_files.py": ("time.sleep(0.1)",),  # a slow writer
    "server/test_protocol.py": ("asyncio.sleep(0.02)", "asyncio.sleep(0.3)"),  # a slow line
    "sqs_server.py": ("time.monotonic()", "time.sleep(0.05)"),  # another program's start
}


def hasty(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name)):
            continue
        module, name = node.func.value.id, node.func.attr
        last = node.args[-1].value if node.args and isinstance(node.args[-1], ast.Constant) else None
        measures = module in {"time", "asyncio", "clocks"} and name in STOPWATCHES and last != 0
        gives_up = module == "asyncio" and name in {"timeout", "wait_for"} and isinstance(last, int | float) and last < SOON
        if measures or gives_up:
            yield ast.unparse(node)


def test_no_test_depends_on_the_machines_speed() -> None:
    found = {
        name: tuple(sorted(set(hasty(path.read_text()))))
        for path in sorted(ROOT.rglob("*.py"))
        if not (name := path.relative_to(ROOT).as_posix()).startswith("crash/") and name != "patience.py"
    }
    assert {name: calls for name, calls in found.items() if calls} == NEEDED, "see tests/patience.py"


@pytest.mark.parametrize(
    ("source", "calls"),
    [
        ("time.sleep(1)", ["time.sleep(1)"]),
        ("began = time.monotonic()", ["time.monotonic()"]),
        ("await asyncio.sleep(0)", []),
        ("await asyncio.wait_for(it, 2)", ["asyncio.wait_for(it, 2)"]),
        ("await asyncio.wait_for(it, PATIENCE)", []),
        ("time.time()", []),
    ],
)
def test_the_check_sees_what_it_should(source: str, calls: list[str]) -> None:
    assert list(hasty(source)) == calls
