"""Pages in this API's format: `limit` and `page` of a query, `nextPage` and `previousPage` of a response."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from pelton.errors import FieldProblem, PeltonError
from pelton.languages.lusid.errors import LusidError
from pelton.runtime.caller import NAMESPACE
from pelton.transport.http.asgi import Request
from pelton.transport.paging import Page, page_token, question_hash, read_token

DEFAULT, MOST = 10, 5_000  # rows of a page


class Question(NamedTuple):
    """What a list was asked for. `at`: microseconds as the caller gave them, 0 = now."""

    namespace: str
    kind: str
    at: int
    filter: str
    sort: tuple[str, ...]

    @property
    def hash(self) -> bytes:
        whose = () if self.namespace == NAMESPACE else (self.namespace,)  # tokens of the default one are as they ever were
        return question_hash(*whose, self.kind, str(self.at), self.filter, *self.sort)


def limit_of(request: Request) -> int:
    """Raises WebError 400."""
    return request.query.integer("limit", DEFAULT, 1, MOST)


def page_of(request: Request, question: Question) -> Page:
    """Raises LusidError for a token that is none, or that was given for another question."""
    limit = limit_of(request)
    text = request.query.text("page")
    if not text:
        return Page(question.at, 0, limit)
    try:
        return read_token(text, question.hash, limit)
    except PeltonError as error:
        problem = FieldProblem("page", error.message, text[:100])
        raise LusidError("InvalidPageToken", f"page {error.message}", problems=[problem]) from None


def question(request: Request, kind: str, at: int, sorts: bool = True) -> Question:
    sort = tuple(request.query.texts("sortBy")) if sorts else ()
    return Question(request.caller.namespace, kind, at, request.query.text("filter"), sort)


def paged(found: Sequence[object], asked: Question, page: Page, pin: int, total: int) -> dict[str, object]:
    """The answer of a list. `found`: the rows of this page, of `total` in all. `pin`: the moment they were read at."""
    answer: dict[str, object] = {"values": found}
    end = page.start + len(found)
    if end < total:
        answer["nextPage"] = page_token(asked.hash, pin, end)
    if page.start:
        answer["previousPage"] = page_token(asked.hash, pin, max(page.start - page.limit, 0))
    answer["links"] = []
    return answer
