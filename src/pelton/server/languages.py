"""The languages of this server. A language is removed by deleting its folder and its line here.

What a language offers stands in modules of fixed names, loaded when they are needed: the server loads `language`, `pelton apply`
only `detect`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, Protocol

LANGUAGES: tuple[str, ...] = ("conductor", "lusid")


class Detected(Protocol):
    """What a document is. `requests`: (method, path, body) that register it; the next one is for when that is answered 409."""

    @property
    def kind(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def requests(self) -> Sequence[tuple[str, str, Any]]: ...


Detector = Callable[[Any], Detected | None]
"""None: not of this language. Raises ValueError naming the field when it is, and is wrong."""


def modules(part: str, languages: Sequence[str] = LANGUAGES) -> list[tuple[str, Any]]:
    """(language, its module `part`)."""
    return [(name, import_module(f"pelton.languages.{name}.{part}")) for name in languages]


def detectors() -> list[tuple[str, Detector]]:
    return [(name, module.detect) for name, module in modules("detect")]
