"""The language's entry point for the rest of Pelton. Quick to import: each part is loaded on first use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pelton.languages.plugin import Detected, Example, Host, Offer, read_examples


class ConductorPlugin:
    name = "conductor"

    def detect(self, document: Any) -> Detected | None:
        from pelton.languages.conductor.detect import detect  # noqa: PLC0415 - loads what checks definitions

        return detect(document)

    def removal(self, kind: str, identity: str) -> tuple[str, str] | None:
        from pelton.languages.conductor.detect import removal  # noqa: PLC0415 - loads what checks definitions

        return removal(kind, identity)

    def examples(self) -> Sequence[Example]:
        return read_examples("pelton.languages.conductor")

    def offer(self, host: Host) -> Offer:
        from pelton.languages.conductor.language import offer  # noqa: PLC0415 - loads all of the language

        return offer(host)


PLUGIN = ConductorPlugin()
