"""A short session of odd input; `python -m tests.fuzz` is the long one."""

from __future__ import annotations

from tests.fuzz.session import fuzz

from pelton.store.memory.store import MemoryStore

INPUTS = 1_000


async def test_odd_input_is_refused_in_due_form() -> None:
    report = await fuzz(INPUTS, 1, MemoryStore())
    assert not report.faults, report.text()
    assert sum(report.statuses.values()) >= INPUTS
    assert len(report.routes) > 150
    assert sum(count for status, count in report.statuses.items() if status < 300) > INPUTS / 10
