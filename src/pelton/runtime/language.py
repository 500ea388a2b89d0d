"""A language as the runtime sees it: what turns its definitions into what runs follow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from pelton.kernel.expressions.base import JSON
from pelton.kernel.matching.handlers import Handler
from pelton.kernel.model.process import Process
from pelton.store.rows import DefinitionRow, EventRow


class Language(Protocol):
    """A language's compiler, as seen by the runtime. All methods are pure and raise expressions.base.Invalid."""

    @property
    def name(self) -> str: ...
    def bind(self, row: DefinitionRow, refer: Callable[[str, str, int], DefinitionRow | None]) -> bytes:
        """The body of the bound definition: the process with everything that it refers to (policies). `refer(kind, name,
        version)`."""
        ...

    def compile(self, name: str, version: int, body: bytes, definition: int) -> Process:
        """Compiles a bound body."""
        ...

    def payload(self, event: EventRow) -> JSON:
        """An event's body in the form that this language's handlers see."""
        ...

    def handler(self, row: DefinitionRow) -> Handler:
        """Compiles a handler; its actions are `HandlerAction`s."""
        ...
