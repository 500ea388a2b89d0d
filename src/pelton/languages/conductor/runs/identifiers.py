"""Public ids of runs and tasks, and names of tasks, as callers write them."""

from __future__ import annotations

from collections.abc import Container
from typing import Protocol


class Ids(Protocol):
    """Public ids, read. What is not one of ours is None."""

    def run_id(self, key: int) -> str: ...
    def step_id(self, key: int, n: int) -> str: ...
    def parse_run_id(self, text: str) -> int | None: ...
    def parse_step_id(self, text: str) -> tuple[int, int] | None: ...


def split_reference(reference: str, known: Container[str]) -> tuple[str, int]:
    """Reference name and iteration of `ref` or `ref__3`; a task that is really called `ref__3` goes first."""
    base, found, number = reference.rpartition("__")
    if reference in known or not found or not number.isascii() or not number.isdigit() or len(number) > 9:
        return reference, 0
    return base, int(number)
