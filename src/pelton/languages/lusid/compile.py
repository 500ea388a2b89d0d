"""What a run follows of a task definition: its value, and the version that it is, named by the moment since when it holds."""

from __future__ import annotations

import msgspec
from msgspec import Raw, Struct

from pelton.languages.lusid.entities import Envelope
from pelton.runtime.rows import DefinitionRow


class Bound(Struct, rename="camel"):
    """`as_at`: microseconds."""

    value: Raw
    as_at: int


_envelope = msgspec.json.Decoder(Envelope).decode


LONE = "worker run"  # the one member of the body of the process that a worker's run on its own follows


def bound(row: DefinitionRow) -> bytes:
    if row.body.startswith(b'{"%s"' % LONE.encode()):
        return row.body
    return msgspec.json.encode(Bound(_envelope(row.body).value, row.since))
