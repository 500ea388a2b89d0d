"""The task definition that a run follows: its value, and its version, named by the instant since which it is valid."""

from __future__ import annotations

import msgspec
from msgspec import Raw, Struct

from pelton.languages.lusid.names import LONE
from pelton.runtime.rows import DefinitionRow


class BoundDefinition(Struct, rename="camel"):
    """`as_at`: microseconds."""

    value: Raw
    as_at: int


class StoredDefinition(Struct, rename="camel"):
    """What is read of a body: that of a definition, or of a version of the past, which has been bound already and knows when."""

    value: Raw
    as_at: int = 0


_kept = msgspec.json.Decoder(StoredDefinition).decode


def bound(row: DefinitionRow) -> bytes:
    if row.body.startswith(b'{"%s"' % LONE.encode()):
        return row.body
    kept = _kept(row.body)
    return msgspec.json.encode(BoundDefinition(kept.value, kept.as_at or row.since))
