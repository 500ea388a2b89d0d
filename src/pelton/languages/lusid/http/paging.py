"""Page tokens: opaque, of the alphabet of base64, and good for the same question only.

A token holds the moment that page one was read at, so that a listing stays the same while things change, where the next page
begins, and a hash of the question. It is no secret: who makes one up can only ask for what he may ask for anyway.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Sequence
from hashlib import blake2b
from typing import NamedTuple

from pelton.errors import FieldProblem
from pelton.languages.lusid.errors import LusidError
from pelton.transport.http.asgi import Request

DEFAULT, MOST = 10, 5_000  # rows of a page
LONGEST = 500  # characters of a token
_HASH = 8
_PACKED = struct.Struct(f">qq{_HASH}s")


class Question(NamedTuple):
    """What a list was asked for. `at`: microseconds as the caller gave them, 0 = now."""

    kind: str
    at: int
    filter: str
    sort: tuple[str, ...]

    @property
    def hash(self) -> bytes:
        digest = blake2b(digest_size=_HASH)
        for part in (self.kind, str(self.at), self.filter, *self.sort):
            digest.update(f"{len(part)}:{part}".encode("utf-8", "surrogatepass"))
        return digest.digest()


class Page(NamedTuple):
    """`at`: the moment to read at, 0 = now. `start`: where the page begins, in whatever counts the rows."""

    at: int
    start: int
    limit: int


def limit_of(request: Request) -> int:
    """Raises LusidError."""
    return request.query.integer("limit", DEFAULT, 1, MOST)


def page_of(request: Request, question: Question) -> Page:
    """Raises LusidError for a token that is none, or that was given for another question."""
    limit = limit_of(request)
    text = request.query.text("page").replace(" ", "+")  # the plus sign of a query that nobody encoded
    if not text:
        return Page(question.at, 0, limit)
    try:
        if len(text) > LONGEST:
            raise ValueError
        at, start, hashed = _PACKED.unpack(base64.b64decode(text, validate=True))
    except (ValueError, struct.error):
        raise _bad("is no page token; send the nextPage or previousPage of an answer as it was", text) from None
    if hashed != question.hash or at < 0 or start < 0:
        raise _bad("was given for another list; filter, sortBy and asAt must be those of the first page", text)
    return Page(at, start, limit)


def token(question: Question, at: int, start: int) -> str:
    return base64.b64encode(_PACKED.pack(at, start, question.hash)).decode()


def question(request: Request, kind: str, at: int, sorts: bool = True) -> Question:
    return Question(kind, at, request.query.text("filter"), tuple(request.query.texts("sortBy")) if sorts else ())


def paged(found: Sequence[object], asked: Question, page: Page, pin: int, total: int) -> dict[str, object]:
    """The answer of a list. `found`: the rows of this page, of `total` in all. `pin`: the moment they were read at."""
    answer: dict[str, object] = {"values": found}
    end = page.start + len(found)
    if end < total:
        answer["nextPage"] = token(asked, pin, end)
    if page.start:
        answer["previousPage"] = token(asked, pin, max(page.start - page.limit, 0))
    answer["links"] = []
    return answer


def _bad(message: str, text: str) -> LusidError:
    shown = text[:100]
    return LusidError("InvalidPageToken", f"page {message}", problems=[FieldProblem("page", message, shown)])
