"""Pages of lists: opaque base64 tokens, each valid for one query only.

A token contains the instant at which the first page was read, so that a listing stays consistent while data changes, where the
next page starts, and a hash of the query. It is not secret: a forged token gives access only to what its author may read anyway.
"""

from __future__ import annotations

import base64
import struct
from hashlib import blake2b
from typing import NamedTuple

from pelton.errors import Code, PeltonError

LONGEST = 500  # characters of a token
_HASH = 8  # bytes
_PACKED = struct.Struct(f">qq{_HASH}s")


class Page(NamedTuple):
    """`at`: the instant to read as of, 0 = now. `start`: where the page starts, in whatever unit counts rows. `limit`: its
    rows."""

    at: int
    start: int
    limit: int

    @property
    def end(self) -> int:
        return self.start + self.limit


def question_hash(*parts: str) -> bytes:
    """A short hash of a query: kind, filter, order and everything else that must be the same for all pages."""
    digest = blake2b(digest_size=_HASH)
    for part in parts:
        digest.update(f"{len(part)}:{part}".encode("utf-8", "surrogatepass"))
    return digest.digest()


def page_token(question: bytes, at: int, start: int) -> str:
    return base64.b64encode(_PACKED.pack(at, start, question)).decode()


def read_token(text: str, question: bytes, limit: int) -> Page:
    """The page that a token refers to. Raises PeltonError INVALID if it is not a token, or belongs to another query."""
    text = text.replace(" ", "+")  # the plus sign of a query that was not encoded
    try:
        if len(text) > LONGEST:
            raise ValueError
        at, start, hashed = _PACKED.unpack(base64.b64decode(text, validate=True))
    except (ValueError, struct.error):
        raise PeltonError(Code.INVALID, "is not a page token; send one from a response unchanged", value=text[:100]) from None
    if hashed != question or at < 0 or start < 0:
        message = "belongs to another list; use the same filter, order and instant as for the first page"
        raise PeltonError(Code.INVALID, message, value=text[:100])
    return Page(at, start, limit)
