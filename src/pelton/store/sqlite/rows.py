"""Steps as rows of SQLite and back.

An open row is split: the fields that a lease changes or that are searched are columns; input, output and waits are columns or,
if large, rows of `blob`; the rest is one msgpack array. An ended row is one array, whole unless it is large.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

from pelton.kernel.model.state import OpenStep, Step
from pelton.store.packing import decode_any, decode_open, pack

OPEN_INLINE = 1024  # bytes of an open row's part that stay in the row: it is rewritten until the step ends
ENDED_INLINE = 8192  # bytes of a whole ended row: written once
INPUT, OUTPUT, WAITS = 0, 1, 2  # parts, as numbered in `blob` and as bits of `parts`


def open_body(step: OpenStep) -> bytes:
    """The array of an open row without its parts, which are taken out temporarily so that nothing is copied."""
    kept = step.input, step.output, step.waits
    step.input = step.output = step.waits = None
    try:
        return pack(step)
    finally:
        step.input, step.output, step.waits = kept


def open_parts(step: OpenStep) -> tuple[int, list[bytes | None], list[tuple[int, bytes]]]:
    """Bits of the parts that go to `blob`; the values of the row's columns; the blobs."""
    bits = 0
    columns: list[bytes | None] = []
    blobs: list[tuple[int, bytes]] = []
    for part, value in enumerate((step.input, step.output, step.waits)):
        if value is None:
            columns.append(None)
            continue
        data = pack(value)
        if len(data) <= OPEN_INLINE:
            columns.append(data)
        else:
            columns.append(None)
            blobs.append((part, data))
            bits |= 1 << part
    return bits, columns, blobs


def ended_row(step: Step) -> tuple[int, bytes, list[tuple[int, bytes]]]:
    """Bits, the array, the blobs."""
    body = pack(step)
    if len(body) <= ENDED_INLINE:
        return 0, body, []
    kept = step.input, step.output
    bits = 0
    blobs: list[tuple[int, bytes]] = []
    for part, value in enumerate(kept):
        data = pack(value)
        if len(data) > OPEN_INLINE:
            blobs.append((part, data))
            bits |= 1 << part
    try:
        if bits & 1:
            step.input = None
        if bits & 2:
            step.output = None
        return bits, pack(step), blobs
    finally:
        step.input, step.output = kept


OPEN_COLUMNS = "run, n, due, lease, started, polls, worker, body, parts, input, output, waits"


def open_from(row: Any) -> tuple[OpenStep, int]:
    """An open row from OPEN_COLUMNS, and the bits of the parts still to be read from `blob`."""
    step = decode_open(row[7])
    step.due, step.lease, step.started, step.polls, step.worker = row[2:7]
    if row[9] is not None:
        step.input = decode_any(row[9])
    if row[10] is not None:
        step.output = decode_any(row[10])
    if row[11] is not None:
        step.waits = decode_any(row[11])
    return step, row[8]


def event_ident(ns: str, source: str, event_id: str) -> bytes:
    """16 bytes for (ns, source, id); lengths are included, so that different triples cannot collide by concatenation."""
    text = f"{len(ns)}:{len(source)}:{ns}{source}{event_id}"
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
