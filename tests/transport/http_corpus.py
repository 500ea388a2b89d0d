"""Requests as bytes: good, odd and hostile ones, for every HTTP server that is to treat them alike."""

from __future__ import annotations

from typing import NamedTuple


class Case(NamedTuple):
    """`unlike`: which of the other servers answers otherwise, and why ours is right."""

    data: bytes
    unlike: dict[str, str] = {}  # noqa: RUF012 - never changed


LINE = b"GET /a HTTP/1.1\r\nHost: x\r\n"
SENDS = b"POST /a HTTP/1.1\r\nHost: x\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
H2C = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
NEXT = b"GET /next HTTP/1.1\r\nHost: x\r\n\r\n"
STRICTER = "h11 knows nothing of this, or is stricter than the standard asks"
NEEDS_HOST = "RFC 9112 3.2: a request in HTTP/1.1 without exactly one Host is answered by 400"
UPGRADE = "RFC 9110 7.8: a server may ignore Upgrade, and then answers as if it were not there, body included"
H11_LENIENT = "h11 takes a bare LF for the end of a line; what another server in front reads otherwise can smuggle a request"
ENDS_BEFORE_ANSWER = "the response to what arrived before goes out first: uvicorn puts the refusal in its place"
TRAILER = "trailers are no headers: they come past what a proxy has checked"
LOWERED = "h11 writes the value anew"
OLD = "both end every connection of HTTP/1.0"
SPACES = "llhttp leaves a tab at the end of a value"
H11_VERSIONS = "h11 takes any version for 1.1"
SMUGGLED = "RFC 9112 6.1: a request with both is likely an attack, and may be refused"
WAITS = "h11 waits for more; ours has seen that it can never be a chunk"
NO_VERSION = "HTTP/0.9 has no Host, no status and no end: nobody speaks it"
ONE_LENGTH = "h11 takes them for one; RFC 9112 6.3 lets a server refuse it"
FOLDED = "h11 unfolds it; RFC 9112 5.2 lets a server refuse it"
NO_PROXY = "CONNECT leads nowhere here"


def chunked(*pieces: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + end


CASES: dict[str, Case] = {
    # good
    "get": Case(LINE + b"\r\n"),
    "query": Case(b"GET /a?b=c&d=%20e HTTP/1.1\r\nHost: x\r\n\r\n"),
    "query of a query": Case(b"GET /a?b=c?d HTTP/1.1\r\nHost: x\r\n\r\n"),
    "empty query": Case(b"GET /a? HTTP/1.1\r\nHost: x\r\n\r\n"),
    "encoded path": Case(b"GET /a%2Fb%C3%A4/%7Ec HTTP/1.1\r\nHost: x\r\n\r\n"),
    "post": Case(SENDS + b"Content-Length: 3\r\n\r\nabc"),
    "empty post": Case(SENDS + b"Content-Length: 0\r\n\r\n"),
    "post without length": Case(SENDS + b"\r\n"),
    "chunked": Case(SENDS + CHUNKED + b"\r\n" + chunked(b"abc", b"de")),
    "chunked and empty": Case(SENDS + CHUNKED + b"\r\n" + chunked()),
    "chunk extension": Case(SENDS + CHUNKED + b"\r\n3;a=b\r\nabc\r\n0\r\n\r\n"),
    "trailer": Case(SENDS + CHUNKED + b"\r\n" + chunked(b"abc", end=b"0\r\nX-T: 1\r\n\r\n"), {"httptools": TRAILER}),
    "chunk size in capitals": Case(SENDS + b"Transfer-Encoding: Chunked\r\n\r\nA\r\n0123456789\r\n0\r\n\r\n", {"h11": LOWERED}),
    "head": Case(b"HEAD /a HTTP/1.1\r\nHost: x\r\n\r\n"),
    "put": Case(b"PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\na"),
    "patch": Case(b"PATCH /a HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\na"),
    "delete with a body": Case(b"DELETE /a HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\na"),
    "options": Case(b"OPTIONS /a HTTP/1.1\r\nHost: x\r\n\r\n"),
    "get with a body": Case(LINE + b"Content-Length: 3\r\n\r\nabc" + NEXT),
    "two on a connection": Case(LINE + b"\r\n" + NEXT),
    "many on a connection": Case(NEXT * 20),
    "post and get": Case(SENDS + b"Content-Length: 3\r\n\r\nabc" + NEXT),
    "chunked and get": Case(SENDS + CHUNKED + b"\r\n" + chunked(b"abc") + NEXT),
    "close": Case(LINE + b"Connection: close\r\n\r\n"),
    "close with a body": Case(SENDS + b"Connection: close\r\nContent-Length: 3\r\n\r\nabc"),
    "http 1.0": Case(b"GET /a HTTP/1.0\r\n\r\n"),
    "http 1.0 that stays": Case(b"GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" + NEXT, {"h11": OLD, "httptools": OLD}),
    "host in capitals": Case(b"GET /a HTTP/1.1\r\nHOST: x\r\n\r\n"),
    "a header twice": Case(LINE + b"X-A: 1\r\nX-A: 2\r\n\r\n"),
    "an empty header": Case(LINE + b"X-A:\r\n\r\n"),
    "spaces about a value": Case(LINE + b"X-A: \t 1 \t\r\n\r\n", {"h11": SPACES}),
    "latin-1 in a value": Case(LINE + b"X-A: \xe4\r\n\r\n"),
    "absolute form": Case(b"GET http://x/a?b=c HTTP/1.1\r\nHost: x\r\n\r\n", {"h11": "h11's server leaves the target as it is"}),
    # odd
    "empty lines first": Case(b"\r\n\r\n" + LINE + b"\r\n", {"h11": STRICTER}),
    "expect": Case(SENDS + b"Expect: 100-continue\r\nContent-Length: 3\r\n\r\nabc"),
    "asterisk": Case(b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n"),
    "fragment": Case(b"GET /a#b HTTP/1.1\r\nHost: x\r\n\r\n", {"h11": "h11's server leaves the fragment in the path"}),
    "slashes": Case(b"GET //a//b HTTP/1.1\r\nHost: x\r\n\r\n"),
    "long path": Case(b"GET /" + b"a" * 8_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n"),
    "upgrade": Case(LINE + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"),
    "h2c": Case(
        LINE + H2C + b"HTTP2-Settings: AAMA\r\n\r\n" + NEXT, {"httptools": UPGRADE}
    ),
    "h2c with a body": Case(
        SENDS + H2C + b"Content-Length: 3\r\n\r\nabc" + NEXT, {"httptools": UPGRADE}
    ),
    "h2c with chunks": Case(
        SENDS + b"Connection: Upgrade\r\nUpgrade: h2c\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(b"abc", b"d") + NEXT,
        {"httptools": UPGRADE},
    ),
    "h2c and the end": Case(
        SENDS + b"Connection: Upgrade, close\r\nUpgrade: h2c\r\nContent-Length: 3\r\n\r\nabc", {"httptools": UPGRADE}
    ),
    "the preface of http 2": Case(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", {"h11": H11_VERSIONS}),
    # hostile
    "no host": Case(b"GET /a HTTP/1.1\r\n\r\n", {"httptools": NEEDS_HOST}),
    "two hosts": Case(LINE + b"Host: y\r\n\r\n", {"httptools": NEEDS_HOST}),
    "two lengths": Case(SENDS + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd" + NEXT),
    "the same length twice": Case(SENDS + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc" + NEXT, {"h11": ONE_LENGTH}),
    "two lengths in one": Case(SENDS + b"Content-Length: 3, 4\r\n\r\nabcd" + NEXT),
    "length and chunked": Case(
        SENDS + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(b"abc") + NEXT, {"h11": SMUGGLED}
    ),
    "chunked and length": Case(
        SENDS + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n" + chunked(b"abc") + NEXT, {"h11": SMUGGLED}
    ),
    "chunked in other words": Case(SENDS + b"Transfer-Encoding: xchunked\r\n\r\n" + chunked(b"abc") + NEXT),
    "chunked, then another": Case(SENDS + b"Transfer-Encoding: chunked, identity\r\n\r\n" + chunked(b"abc") + NEXT),
    "chunked twice": Case(SENDS + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(b"abc") + NEXT),
    "space before the colon": Case(LINE + b"Content-Length : 3\r\n\r\nabc"),
    "a folded header": Case(LINE + b"X-A: 1\r\n 2\r\n\r\n", {"h11": FOLDED}),
    "a folded length": Case(SENDS + b"Content-Length:\r\n 3\r\n\r\nabc", {"h11": FOLDED}),
    "bare LF": Case(b"GET /a HTTP/1.1\nHost: x\n\n", {"h11": H11_LENIENT}),
    "bare LF in the head": Case(LINE + b"X-A: 1\nX-B: 2\r\n\r\n", {"h11": H11_LENIENT}),
    "bare CR": Case(LINE + b"X-A: 1\rX-B: 2\r\n\r\n"),
    "NUL in a value": Case(LINE + b"X-A: a\x00b\r\n\r\n"),
    "NUL in the path": Case(b"GET /a\x00 HTTP/1.1\r\nHost: x\r\n\r\n"),
    "a byte in the path": Case(b"GET /\xe4 HTTP/1.1\r\nHost: x\r\n\r\n"),
    "negative length": Case(SENDS + b"Content-Length: -1\r\n\r\n"),
    "length with a sign": Case(SENDS + b"Content-Length: +3\r\n\r\nabc"),
    "length in hex": Case(SENDS + b"Content-Length: 0x3\r\n\r\nabc"),
    "huge length": Case(SENDS + b"Content-Length: 99999999999999999999999\r\n\r\nabc"),
    "huge chunk": Case(SENDS + CHUNKED + b"\r\nfffffffffffffffff1\r\nabc", {"h11": WAITS}),
    "chunk that is no number": Case(SENDS + CHUNKED + b"\r\nxyz\r\nabc\r\n0\r\n\r\n"),
    "chunk longer than it says": Case(SENDS + CHUNKED + b"\r\n2\r\nabc\r\n0\r\n\r\n"),
    "chunk with a bare LF": Case(SENDS + CHUNKED + b"\r\n3\nabc\n0\n\n", {"h11": WAITS}),
    "connect": Case(b"CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n", {"h11": NO_PROXY}),
    "no version": Case(b"GET /a\r\n\r\n", {"httptools": NO_VERSION}),
    "http 9.9": Case(b"GET /a HTTP/9.9\r\nHost: x\r\n\r\n", {"h11": H11_VERSIONS}),
    "no method": Case(b" /a HTTP/1.1\r\nHost: x\r\n\r\n"),
    "unknown method": Case(b"BREW /a HTTP/1.1\r\nHost: x\r\n\r\n", {"h11": "h11 takes any word for a method"}),
    "no path": Case(b"GET  HTTP/1.1\r\nHost: x\r\n\r\n"),
    "relative path": Case(b"GET a HTTP/1.1\r\nHost: x\r\n\r\n", {"h11": "h11's server leaves the target as it is"}),
    "header without a colon": Case(LINE + b"X-A\r\n\r\n"),
    "header without a name": Case(LINE + b": 1\r\n\r\n"),
    "bytes": Case(bytes(range(256))),
    "tls": Case(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 50),
    "many headers": Case(LINE + b"".join(b"X-%d: 1\r\n" % n for n in range(250)) + b"\r\n", {
        "httptools": "more than 200 headers are refused", "h11": "more than 200 headers are refused"}),
    "a good one, then a bad one": Case(NEXT + b"BAD\r\n\r\n", {"httptools": ENDS_BEFORE_ANSWER}),
    "after the end": Case(LINE + b"Connection: close\r\n\r\n" + NEXT),
    "unfinished head": Case(LINE),
    "unfinished body": Case(SENDS + b"Content-Length: 10\r\n\r\nabc"),
    "unfinished chunks": Case(SENDS + CHUNKED + b"\r\n3\r\nabc\r\n"),
}  # fmt: skip
