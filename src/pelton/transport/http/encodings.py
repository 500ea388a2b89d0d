"""Bodies that were compressed on their way: undone, within the limit of bodies that were not."""

from __future__ import annotations

import zlib

from pelton.errors import FieldProblem
from pelton.transport.http.errors import WebError

GZIP, ZLIB = 31, 15  # as zlib calls the two formats
FORMATS = {"gzip": GZIP, "x-gzip": GZIP, "deflate": ZLIB}
PLAIN = frozenset({"", "identity"})
MOST_MEMBERS = 100  # of one gzip body, which may be several put together


def undone(coding: str, body: bytes, limit: int) -> bytes:
    """The body that was encoded. Raises WebError: 415 for other encodings, 400 for what is not in this one, 413 above `limit`."""
    name = coding.strip().lower()
    if name in PLAIN:
        return body
    kind = FORMATS.get(name)
    if kind is None:
        message = f"the content encoding {coding[:50]!r} is not supported; use gzip, deflate or none"
        problem = FieldProblem("content-encoding", message, coding[:50])
        raise WebError(415, message, problems=[problem], headers={"accept-encoding": "gzip, deflate"})
    found: list[bytes] = []
    size = 0
    for _ in range(MOST_MEMBERS):
        if not body:
            return b"".join(found)
        unpacker = zlib.decompressobj(kind)
        try:
            found.append(unpacker.decompress(body, limit - size + 1))
        except zlib.error:
            break
        size += len(found[-1])
        if size > limit:
            raise WebError(413, f"the body has more than {limit} bytes when it is unpacked; the limit is {limit}")
        if not unpacker.eof:
            break
        body = unpacker.unused_data
    message = f"the body is not {name}, as its content encoding says, or not all of it"
    raise WebError(400, message, problems=[FieldProblem("content-encoding", message, name)])
