"""Rows to msgpack and back, in the form that every store uses.

JSON may contain integers beyond 64 bits, which msgpack cannot represent: they are stored as an extension type.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgspec
from msgspec.msgpack import Decoder, Encoder, Ext

from pelton.kernel.model.state import OpenStep, Run, Step, StepAttempt, StepCheckpoint, Thread
from pelton.store.rows import (
    CopyRow,
    DeadLetter,
    DefinitionRow,
    Delivery,
    EventRow,
    HeldRow,
    KeptRow,
    PauseRow,
    PendingSignalRow,
    SecretRow,
    StickyRow,
)

UNFIT = (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError)
"""The exceptions raised by a group that contains something other than plain data, or a number beyond 64 bits for a column."""

BIG_INT = 1

_encoder = Encoder()
_sizer = Encoder(enc_hook=repr)
_big_sizer = msgspec.json.Encoder(enc_hook=repr)
UNSIZED = 4_096  # bytes that a value counts as whose size cannot be told


def _ext(code: int, data: memoryview) -> Any:
    if code != BIG_INT:
        raise ValueError(f"unknown extension {code} in a stored row: the file was written by a newer version")
    return int(bytes(data))


decode_any = Decoder(ext_hook=_ext).decode
decode_run = Decoder(Run, ext_hook=_ext).decode
decode_step = Decoder(Step, ext_hook=_ext).decode
decode_thread = Decoder(Thread, ext_hook=_ext).decode
decode_attempt = Decoder(StepAttempt, ext_hook=_ext).decode
decode_checkpoint = Decoder(StepCheckpoint, ext_hook=_ext).decode
decode_held = Decoder(HeldRow, ext_hook=_ext).decode
decode_kept = Decoder(KeptRow, ext_hook=_ext).decode
decode_sticky = Decoder(StickyRow, ext_hook=_ext).decode
decode_copy = Decoder(CopyRow, ext_hook=_ext).decode
decode_event = Decoder(EventRow, ext_hook=_ext).decode
decode_delivery = Decoder(Delivery, ext_hook=_ext).decode
decode_dead = Decoder(DeadLetter, ext_hook=_ext).decode
decode_pending_signal = Decoder(PendingSignalRow, ext_hook=_ext).decode
decode_secret = Decoder(SecretRow, ext_hook=_ext).decode
decode_pause = Decoder(PauseRow, ext_hook=_ext).decode
decode_definition = Decoder(DefinitionRow, ext_hook=_ext).decode
decode_open = Decoder(OpenStep, ext_hook=_ext).decode


def kept_row(body: bytes, taken: int, n: int) -> KeptRow:
    """What is told of an event after it was written lies beside its body."""
    row = decode_kept(body)
    row.taken, row.n = taken, n
    return row


def sticky_row(body: bytes, got: int) -> StickyRow:
    row = decode_sticky(body)
    row.got = got
    return row


def pack(value: Any) -> bytes:
    """Raises TypeError or msgspec.EncodeError if the value is not plain data."""
    try:
        return _encoder.encode(value)
    except OverflowError:
        return _encoder.encode(_extend(msgspec.to_builtins(value, builtin_types=(bytes,))))


def decoder(kind: Any) -> Callable[[bytes], Any]:
    """For what `pack` has made of values of this type."""
    return Decoder(kind, ext_hook=_ext).decode


def size_of(value: Any) -> int:
    """About how many bytes a value takes. Never raises: whatever it is, it is there already, and can only be counted."""
    for sizer in (_sizer, _big_sizer):  # the second one knows numbers beyond 64 bits
        with suppress(*UNFIT):
            return len(sizer.encode(value))
    return UNSIZED


def _extend(value: Any) -> Any:
    if type(value) is int:
        return value if -(1 << 63) <= value < 1 << 63 else Ext(BIG_INT, str(value).encode())
    if isinstance(value, dict):
        return {name: _extend(member) for name, member in value.items()}
    if isinstance(value, list | tuple):
        return [_extend(member) for member in value]
    return value
