"""Decoding hand-written JSON into the wire forms. Scalars are converted if their meaning is clear; null means the default, as
does an empty string for a number or a boolean."""

from __future__ import annotations

from typing import Any, TypeVar

from msgspec import Struct

from pelton.errors import Code, PeltonError
from pelton.transport import documents
from pelton.transport.decode import LENIENT, Decoder
from pelton.transport.validation import Problems, describe

T = TypeVar("T", bound=Struct)
MAX_PROBLEMS = 20


class _ParseProblems(Problems):
    def __init__(self) -> None:
        super().__init__(most=MAX_PROBLEMS)

    def summary(self) -> str:
        return f"JSON parse error: {super().summary()}"


_decoder = Decoder(LENIENT, typed_first=True, keep_null_entries=True, big_numbers=True, problems=_ParseProblems)


def decode(data: bytes, form: type[T]) -> T:
    """Raises PeltonError "invalid" that names up to 20 fields."""
    return _decoder.decode(data, form)


def convert(value: Any, form: type[T]) -> T:
    """Raises PeltonError "invalid" that names up to 20 fields."""
    return _decoder.convert(value, form)


def decode_list(data: bytes, form: type[T]) -> list[T]:
    """A list of forms; one form alone counts as a list of one. Raises PeltonError "invalid"."""
    return _decoder.convert_list(documents.parse(data, big_numbers=True), form)


def decode_map(data: bytes, what: str) -> dict[str, Any]:
    """An object with any members; an empty body and null count as an empty one. Raises PeltonError "invalid"."""
    if not data.strip():
        return {}
    value = documents.parse(data, big_numbers=True)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise PeltonError(Code.INVALID, f"JSON parse error: {what} must be an object, not {describe(value)}")
    return value


def decode_texts(data: bytes, what: str) -> list[str]:
    value = documents.parse(data)
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise PeltonError(Code.INVALID, f"JSON parse error: {what} must be a list of texts, not {describe(value)}")
    return value
