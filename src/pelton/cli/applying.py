"""What `pelton apply` does with the documents that it has read: compares them with what the server has, and sends those that are
new or changed, whatever their order."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

from pelton.client.client import Client
from pelton.client.errors import RequestRefused
from pelton.models import AppliedDocument

ABSENT = 404
T = TypeVar("T")


class Document(NamedTuple):
    """A document, and where it goes. `requests`: (method, path, body) in order; when one gets 409, the next is tried. The others:
    see `pelton.languages.plugin.Detected`."""

    where: str
    language: str
    kind: str
    name: str
    requests: tuple[tuple[str, str, Any], ...]
    identity: str = ""
    current: str = ""
    normal: Any = None
    seen: Callable[[Any], Any] | None = None

    @property
    def noted(self) -> AppliedDocument:
        return AppliedDocument(self.language, self.kind, self.identity or self.name)


class DocumentComparison:
    """The server, as documents are compared with it. What it answers is kept, since some answers are about many documents."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self._answers: dict[str, Any] = {}

    def has(self, document: Document) -> Any:
        """What it has of a document, in the form of `normal`; None if it has none, or cannot say. Raises ClientError."""
        path = document.current
        if not path:
            return None
        if path not in self._answers:
            try:
                self._answers[path] = self.client.request("GET", path)
            except RequestRefused as error:
                if error.status != ABSENT:
                    raise
                self._answers[path] = None
        answer = self._answers[path]
        return document.seen(answer) if answer is not None and document.seen is not None else answer

    def change(self, document: Document) -> str:
        """new, changed or same. Raises ClientError."""
        found = self.has(document)
        if found is None:
            return "new"
        return "same" if found == document.normal else "changed"


def send(client: Client, document: Document) -> None:
    """Raises ClientError."""
    *others, last = document.requests
    for method, path, body in others:
        try:
            client.request(method, path, json.dumps(body).encode())
        except RequestRefused as error:
            if error.status == 409:
                continue
            raise
        return
    method, path, body = last
    client.request(method, path, json.dumps(body).encode())


def in_any_order(things: Sequence[T], do: Callable[[T], None]) -> Iterator[tuple[T, RequestRefused | None]]:
    """Does each thing; those that are refused are tried again after the others, which they may need. Yields each with its last
    refusal, None if it was done. Raises ClientError."""
    left = list(things)
    while left:
        refused: list[tuple[T, RequestRefused]] = []
        for each in left:
            try:
                do(each)
            except RequestRefused as error:
                refused.append((each, error))
            else:
                yield each, None
        if len(refused) == len(left):
            yield from refused
            return
        left = [each for each, _ in refused]


def difference(document: Document, before: Any) -> Iterator[str]:
    """The lines of a unified diff between what the server has and the document."""
    old, new = (_lines(each) if each is not None else [] for each in (before, document.normal))
    what = f"{document.language} {document.kind} {document.name}"
    yield from difflib.unified_diff(old, new, f"server: {what}", f"{document.where}: {what}", lineterm="", n=2)


def _lines(value: Any) -> list[str]:
    return json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True).splitlines()
