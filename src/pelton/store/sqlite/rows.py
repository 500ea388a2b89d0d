"""Rows as bytes and back.

An open row is cut up: what a worker's lease changes and what is searched are columns; input, output and waits are columns or,
when large, rows of `blob`; the rest is one msgpack array. An ended row is one array, whole unless it is large. JSON may hold
integers beyond 64 bits, which msgpack cannot: they go as an extension.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

import msgspec
from msgspec.msgpack import Decoder, Encoder, Ext

from pelton.kernel.model.state import OpenStep, Run, Step, Thread
from pelton.store.rows import DeadLetter, DefinitionRow, Delivery, EventRow, HeldRow, InboxRow

OPEN_INLINE = 1024  # bytes of an open row's part that stay in the row: it is rewritten until the step ends
ENDED_INLINE = 8192  # bytes of a whole ended row: written once
INPUT, OUTPUT, WAITS = 0, 1, 2  # parts, as numbered in `blob` and as bits of `parts`
BIG_INT = 1

_encoder = Encoder()


def _ext(code: int, data: memoryview) -> Any:
    if code != BIG_INT:
        raise ValueError(f"unknown extension {code} in a stored row: the file was written by a newer version")
    return int(bytes(data))


decode_any = Decoder(ext_hook=_ext).decode
decode_run = Decoder(Run, ext_hook=_ext).decode
decode_step = Decoder(Step, ext_hook=_ext).decode
decode_thread = Decoder(Thread, ext_hook=_ext).decode
decode_held = Decoder(HeldRow, ext_hook=_ext).decode
decode_event = Decoder(EventRow, ext_hook=_ext).decode
decode_delivery = Decoder(Delivery, ext_hook=_ext).decode
decode_dead = Decoder(DeadLetter, ext_hook=_ext).decode
decode_inbox = Decoder(InboxRow, ext_hook=_ext).decode
decode_definition = Decoder(DefinitionRow, ext_hook=_ext).decode
_decode_open = Decoder(OpenStep, ext_hook=_ext).decode


def pack(value: Any) -> bytes:
    """Raises TypeError or msgspec.EncodeError when the value is not plain data."""
    try:
        return _encoder.encode(value)
    except OverflowError:
        return _encoder.encode(_extend(msgspec.to_builtins(value, builtin_types=(bytes,))))


def _extend(value: Any) -> Any:
    if type(value) is int:
        return value if -(1 << 63) <= value < 1 << 63 else Ext(BIG_INT, str(value).encode())
    if isinstance(value, dict):
        return {name: _extend(member) for name, member in value.items()}
    if isinstance(value, list | tuple):
        return [_extend(member) for member in value]
    return value


def open_body(step: OpenStep) -> bytes:
    """The array of an open row without its parts. They are taken out for the moment, so that nothing is copied."""
    kept = step.input, step.output, step.waits
    step.input = step.output = step.waits = None
    try:
        return pack(step)
    finally:
        step.input, step.output, step.waits = kept


def open_parts(step: OpenStep) -> tuple[int, list[bytes | None], list[tuple[int, bytes]]]:
    """Bits of the parts that go to `blob`; what stays in the row's columns; the blobs."""
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
    """An open row out of OPEN_COLUMNS, and the bits of what is still to be fetched from `blob`."""
    step = _decode_open(row[7])
    step.due, step.lease, step.started, step.polls, step.worker = row[2:7]
    if row[9] is not None:
        step.input = decode_any(row[9])
    if row[10] is not None:
        step.output = decode_any(row[10])
    if row[11] is not None:
        step.waits = decode_any(row[11])
    return step, row[8]


def event_ident(ns: str, source: str, event_id: str) -> bytes:
    """16 bytes for (ns, source, id); lengths are part of it, so that no two triples can be written alike."""
    text = f"{len(ns)}:{len(source)}:{ns}{source}{event_id}"
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
