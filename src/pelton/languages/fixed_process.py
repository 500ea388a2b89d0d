"""The compiler of a process that a language brings along itself, the same for everybody: definitions of it say nothing more."""

from __future__ import annotations

from collections.abc import Callable

from pelton.kernel.expressions.base import JSON, Invalid
from pelton.kernel.matching.handlers import Handler
from pelton.kernel.model.process import Process
from pelton.runtime.rows import DefinitionRow, EventRow


class FixedProcess:
    """A `runtime.language.Language` with one process and no handlers. `process(version, definition)` creates it."""

    def __init__(self, name: str, process: Callable[[int, int], Process]) -> None:
        self.name = name
        self._process = process

    def bind(self, row: DefinitionRow, refer: Callable[[str, str, int], DefinitionRow | None]) -> bytes:
        return row.body

    def compile(self, name: str, version: int, body: bytes, definition: int) -> Process:
        return self._process(version, definition)

    def payload(self, event: EventRow) -> JSON:
        return event.body

    def handler(self, row: DefinitionRow) -> Handler:
        """Raises Invalid."""
        raise Invalid(f"{self.name} has no handlers")
