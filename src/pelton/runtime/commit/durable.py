"""Durable signals and durable events, as they are kept in the store from one commit to a later one.

The tags and field names are stored data.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import Struct, msgpack

from pelton.kernel.model.signals import AnySignal, Signal
from pelton.runtime.api import EventIn
from pelton.store.packing import decoder, pack

_encode = msgpack.Encoder(enc_hook=repr).encode


class Durable(Struct, tag="durable", omit_defaults=True):
    """A durable signal with its number of hops, or with the fan-out under whose number its outcome is stored. `ns`: the only
    namespace whose runs it may reach, "" = not checked."""

    signal: AnySignal
    hops: int = 0
    many: int = 0
    ns: str = ""
    ancestor: int = 0  # as in Run


class DurableAnnouncement(Struct, tag="fact"):
    """An announcement on its way to becoming an event, as a durable job."""

    event: EventIn


decode_signal: Callable[[bytes], Any] = decoder(AnySignal | Durable)


def encode_signal(signal: Signal | Durable | DurableAnnouncement) -> bytes:
    try:
        return _encode(signal)
    except OverflowError:  # a number beyond 64 bits in a body
        return pack(signal)


def durable(signal: Signal, hops: int = 0, many: int = 0, ns: str = "", ancestor: int = 0) -> bytes:
    """A signal as the store keeps it."""
    return encode_signal(Durable(signal, hops, many, ns, ancestor) if hops or many or ns or ancestor else signal)  # type: ignore[arg-type]
