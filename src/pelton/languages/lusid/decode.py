"""Decoding JSON into the forms of `forms.py`. Scalars must have the exact type; null means absent, since clients send it for
members that they do not set."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from pelton.transport.decode import STRICT, Decoder

T = TypeVar("T", bound=Struct)

_decoder = Decoder(STRICT, bracket_keys=True)


def decode(data: bytes, form: type[T]) -> T:
    """Raises PeltonError "invalid" that names every field that does not fit."""
    return _decoder.decode(data, form)


def convert(value: Any, form: type[T]) -> T:
    """Raises PeltonError "invalid" that names every field that does not fit."""
    return _decoder.convert(value, form)


def plain(form: Struct) -> dict[str, Any]:
    """The form as JSON data, without what it does not have."""
    found: dict[str, Any] = msgspec.to_builtins(form)
    return found
