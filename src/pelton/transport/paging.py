"""Pages of lists: opaque tokens, of the alphabet of base64, each good for one question only.

A token holds the moment that the first page was read at, so that a listing stays the same while things change, where the next
page begins, and a hash of the question. It is no secret: whoever makes one up can only ask for what they may ask for anyway.
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
    """`at`: the moment to read at, 0 = now. `start`: where the page begins, in whatever counts the rows. `limit`: rows of it."""

    at: int
    start: int
    limit: int

    @property
    def end(self) -> int:
        return self.start + self.limit


def question_hash(*parts: str) -> bytes:
    """What a list was asked for, in few bytes: kind, filter, order and whatever else must be the same from page to page."""
    digest = blake2b(digest_size=_HASH)
    for part in parts:
        digest.update(f"{len(part)}:{part}".encode("utf-8", "surrogatepass"))
    return digest.digest()


def page_token(question: bytes, at: int, start: int) -> str:
    return base64.b64encode(_PACKED.pack(at, start, question)).decode()


def read_token(text: str, question: bytes, limit: int) -> Page:
    """The page that a token leads to. Raises PeltonError INVALID for a text that is no token, or one of another question."""
    text = text.replace(" ", "+")  # the plus sign of a query that was not encoded
    try:
        if len(text) > LONGEST:
            raise ValueError
        at, start, hashed = _PACKED.unpack(base64.b64decode(text, validate=True))
    except (ValueError, struct.error):
        raise PeltonError(Code.INVALID, "is no page token; send one of an answer as it was", value=text[:100]) from None
    if hashed != question or at < 0 or start < 0:
        message = "was given for another list; filter, order and moment must be those of the first page"
        raise PeltonError(Code.INVALID, message, value=text[:100])
    return Page(at, start, limit)
