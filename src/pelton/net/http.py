"""The port through which all outgoing HTTP goes, so that the address rules are in one place.

Invariants:
* A connection is made to an address that was checked, never to a name: the name is resolved once, the rules check the
  results, and the socket is opened to one of them. A later, different DNS answer has no effect.
* Without permission no loopback, link-local, private or otherwise special address is reached, however it is written
  (`127.1`, `0x7f000001`, `::ffff:127.0.0.1`, a name), including over kept-alive connections.
* Redirects are not followed, proxies from the environment are not used, cookies are not stored.
* Everything is bounded: the time of the whole exchange, the size of the reply after decompression, connections in total and
  per host, so that a slow host delays only itself.

Built on httpcore, the connection layer of httpx, because it lets us open the sockets; a rewritten URL with httpx itself would
share TLS connections between names that have the same address.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
import ssl
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import NamedTuple

import httpcore
import httpx
from httpcore import AnyIOBackend
from msgspec import Struct

from pelton.net.faults import Permanent, Temporary

MAX_URL = 8_192  # characters
MAX_HEADER_BYTES = 65_536  # of a request's headers together
MAX_ADDRESSES = 4  # of one name, tried in turn

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_OURS = frozenset(  # what belongs to the connection, or is computed here
    {
        "host", "content-length", "transfer-encoding", "connection", "keep-alive", "proxy-authorization", "proxy-connection",
        "te", "trailer", "upgrade", "expect", "accept-encoding",
    }
)  # fmt: skip
_REFUSED_METHODS = frozenset({"CONNECT", "TRACE"})
_HOST = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*\.?", re.ASCII)
_IPV6 = re.compile(r"[0-9a-f:.]+", re.ASCII | re.IGNORECASE)
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_ISATAP = frozenset({0x0000_5EFE, 0x0200_5EFE})  # the third of four words of an address that has an IPv4 address as the last


def _networks(*texts: str) -> tuple[Network, ...]:
    return tuple(map(ipaddress.ip_network, texts))


# What is special is listed here: what the standard library calls global differs from one version of Python to the next.
_UNICAST = ipaddress.IPv6Network("2000::/3")  # all of IPv6 that is given out; the rest is special, listed here or not
_LOOPBACK = _networks("127.0.0.0/8", "::1/128")
_PRIVATE = _networks("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "198.18.0.0/15", "fc00::/7")
_NEVER: tuple[tuple[str, tuple[Network, ...]], ...] = (
    # Where clouds serve credentials or talk to their machines, inside ranges that are otherwise public or private.
    ("a cloud's metadata", _networks(
        "100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254", "fd00:42::42",
        "fd00:c1::a9fe:a9fe",
    )),
    ("a link-local", _networks("169.254.0.0/16", "fe80::/10")),
    ("a multicast", _networks("224.0.0.0/4", "ff00::/8")),
    ("an unspecified", _networks("0.0.0.0", "::")),  # noqa: S104 - refused, not bound
    ("a reserved", _networks(
        "0.0.0.0/8", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4",
        "2001::/23", "2001:db8::/32", "3fff::/20",
    )),
)  # fmt: skip
_PORTS = {"http": 80, "https": 443}


class HttpReply(Struct, frozen=True):
    status: int
    reason: str
    headers: tuple[tuple[str, str], ...]  # as received, in order, names may repeat
    body: bytes  # decompressed

    def header(self, name: str) -> str | None:
        """The first header of that name, in any case."""
        return next(iter(self.all_headers(name)), None)

    def all_headers(self, name: str) -> list[str]:
        lower = name.lower()
        return [value for key, value in self.headers if key.lower() == lower]


class AddressRules:
    """Which addresses may be connected to.

    `allow`: exceptions, each a host name or `host:port` (whatever it resolves to), an address, or a network (`10.1.0.0/16`).
    `allow_private`: loopback and private networks are allowed, as on a developer's machine; link-local addresses (where clouds
    serve credentials) stay refused unless listed in `allow`. Raises ValueError for an entry that is none of these."""

    def __init__(self, allow: Iterable[str] = (), allow_private: bool = False) -> None:
        self.allow_private = allow_private
        self._networks: list[Network] = []
        self._hosts: set[str] = set()
        for entry in allow:
            try:
                self._networks.append(ipaddress.ip_network(entry.strip("[]"), strict=False))
                continue
            except ValueError:
                pass
            host, _, port = entry.lower().partition(":")
            if not _HOST.fullmatch(host) or (port and not (port.isdecimal() and 0 < int(port) < 65_536)) or entry.endswith(":"):
                raise ValueError(
                    f"the allowed address {entry!r} is not a host name, host:port, IP address or network (10.1.0.0/16)"
                )
            self._hosts.add(f"{host.rstrip('.')}:{port}" if port else host.rstrip("."))

    def refuses(self, host: str, port: int, address: str) -> str | None:
        """What kind of forbidden address this is; None if it is allowed."""
        name = host.lower().rstrip(".")
        if name in self._hosts or f"{name}:{port}" in self._hosts:
            return None
        candidates = list(_meanings(ipaddress.ip_address(address)))
        if any(_inside(candidates[0], network) for network in self._networks):
            return None
        return next((kind for kind in map(self._kind, candidates) if kind is not None), None)

    def _kind(self, address: Address) -> str | None:
        for kind, networks in _NEVER:
            if _among(address, networks):
                return kind
        if _among(address, _LOOPBACK):
            return None if self.allow_private else "a loopback"
        if _among(address, _PRIVATE):
            return None if self.allow_private else "a private"
        return None if address.version == 4 or address in _UNICAST else "a reserved"


def _among(address: Address, networks: Iterable[Network]) -> bool:
    return any(_inside(address, network) for network in networks)


def _inside(address: Address, network: Network) -> bool:
    return address.version == network.version and address in network


def _meanings(address: Address) -> Iterable[Address]:
    """The address and the IPv4 addresses embedded in it, since translators on the way may use one of those."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            yield address.ipv4_mapped
            return
        inner: list[Address | None] = [address.sixtofour, *(address.teredo or ())]
        if address in _NAT64:
            inner = [_last_word(address)]
        else:
            if int(address) >> 32 & 0xFFFF_FFFF in _ISATAP:
                inner.append(_last_word(address))
            yield address
        yield from (found for found in inner if found is not None)
    else:
        yield address


def _last_word(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address:
    return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)


async def _look_up(host: str, port: int) -> list[str]:
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


class GuardedBackend(httpcore.AsyncNetworkBackend):
    """Opens sockets for httpcore, to checked addresses only. `look_up` returns a name's addresses, once per connection;
    `inner` opens them."""

    def __init__(
        self,
        rules: AddressRules,
        look_up: Callable[[str, int], Awaitable[list[str]]] = _look_up,
        inner: httpcore.AsyncNetworkBackend | None = None,
    ) -> None:
        self._rules = rules
        self._look_up = look_up
        self._inner = inner or AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the name is the base class's
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Raises Permanent if the rules allow none of the host's addresses."""
        failure: Exception = httpcore.ConnectError("the name has no address")
        try:
            async with asyncio.timeout(timeout):
                for address in await self._resolve(host, port):
                    try:
                        return await self._inner.connect_tcp(address, port, None, local_address, socket_options)
                    except httpcore.NetworkError as error:
                        failure = error
        except TimeoutError:
            raise httpcore.ConnectTimeout("no connection in time") from None
        raise failure

    async def _resolve(self, host: str, port: int) -> list[str]:
        try:
            found = await self._look_up(host, port)
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError(f"the name could not be resolved ({error})") from None
        addresses = list(dict.fromkeys(found))
        refused = {address: self._rules.refuses(host, port, address) for address in addresses}
        permitted = [address for address in addresses if refused[address] is None]
        kinds = sorted({kind for kind in refused.values() if kind is not None})
        if kinds and not permitted:
            raise Permanent(_forbidden(host, port, kinds[0]))
        return permitted[:MAX_ADDRESSES]

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ASYNC109 - the name is the base class's
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        raise Permanent("Unix sockets cannot be reached by HTTP")

    async def sleep(self, seconds: float) -> None:
        await self._inner.sleep(seconds)


def _forbidden(host: str, port: int, kind: str) -> str:
    # Without the address itself: the addresses of an inner network are not disclosed.
    return (
        f"the host {host} (port {port}) has {kind} address, which Pelton does not connect to: "
        "use a public address, or have the operator add the host to the allowed addresses"
    )


class _Target(NamedTuple):
    url: httpcore.URL
    host: str  # as resolved: ASCII, without brackets
    port: int
    authority: str  # the Host header
    place: str  # for error texts: without path and query, which may hold secrets


class _Slots:
    """At most `limit` exchanges with one host at a time. Entries exist only while one is held or awaited."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._hosts: dict[tuple[str, int], tuple[asyncio.Semaphore, list[None]]] = {}

    @asynccontextmanager
    async def hold(self, target: _Target, seconds: float | None) -> AsyncIterator[None]:
        """`seconds`: how long to wait for a turn, None = until it comes. Turns come in the order of asking."""
        key = (target.host, target.port)
        semaphore, users = self._hosts.setdefault(key, (asyncio.Semaphore(self._limit), []))
        users.append(None)
        try:
            try:
                async with asyncio.timeout(seconds):
                    await semaphore.acquire()
            except TimeoutError:
                raise Temporary(
                    f"{target.place}: {self._limit} requests to this host are in progress and none completed within {seconds:g} s"
                ) from None
            try:
                yield
            finally:
                semaphore.release()
        finally:
            users.pop()
            if not users:
                del self._hosts[key]


class GuardedHttp:
    """`allow` and `allow_private` as for AddressRules; `ssl_context` replaces the usual trust in public authorities."""

    def __init__(
        self,
        *,
        allow: Iterable[str] = (),
        allow_private: bool = False,
        ssl_context: ssl.SSLContext | None = None,
        max_connections: int = 200,
        max_per_host: int = 16,
        keep_alive: float = 15.0,
    ) -> None:
        self._rules = AddressRules(allow, allow_private)
        self._slots = _Slots(max_per_host)
        self._connections = asyncio.Semaphore(max_connections)
        self._closed = False
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=ssl_context or httpcore.default_ssl_context(),
            max_connections=max_connections,
            max_keepalive_connections=max_connections // 2,
            keepalive_expiry=keep_alive,
            network_backend=GuardedBackend(self._rules),
        )

    def check(self, url: str) -> str | None:
        """Why this URL cannot be requested, in one sentence with the remedy; None if it can, as far as is known without I/O."""
        try:
            target = _target(url)
        except Permanent as refused:
            return str(refused)
        try:
            kind = self._rules.refuses(target.host, target.port, target.host)
        except ValueError:  # a name, to be checked when it is resolved
            return None
        return None if kind is None else _forbidden(target.host, target.port, kind)

    async def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
        body: bytes = b"",
        *,
        connect_timeout: float = 5.0,
        read_timeout: float = 30.0,
        max_response: int = 1_048_576,
        status_only: bool = False,
        patient: bool = False,
    ) -> HttpReply:
        """One exchange; a reply with any status is a reply. Times in seconds, sizes in bytes. `connect_timeout` limits the wait
        for a free slot and the connection set-up; both timeouts together limit the whole exchange. Connection headers (Host,
        Content-Length...) are set here and ignored in `headers`.

        `patient`: when as many requests to the host are in progress as there may be, waits until one is over, instead of as long
        as for a connection; this time does not count.

        `status_only`: only the status matters; as much of the body is returned as arrived in time and within the limit.

        Raises Temporary (network, timeout, broken reply) and Permanent (refused URL, method, header or address; reply
        beyond `max_response`)."""
        if self._closed:
            raise Temporary("the HTTP port is closed: the server is stopping")
        target = _target(url)
        request = httpcore.Request(
            _method(method),
            target.url,
            headers=_headers(target, method, headers, body),
            content=body,
            extensions={
                "timeout": {
                    "connect": connect_timeout,
                    "pool": read_timeout if patient else connect_timeout,
                    "read": read_timeout,
                    "write": read_timeout,
                }
            },
        )
        async with self._slots.hold(target, None if patient else connect_timeout), self._room(patient):
            deadline = asyncio.get_running_loop().time() + connect_timeout + read_timeout
            with _explained(target, connect_timeout, read_timeout):
                async with asyncio.timeout_at(deadline):
                    response = await self._pool.handle_async_request(request)
            try:
                reader = _BodyReader(target, response, max_response, status_only)
                with _explained(target, connect_timeout, read_timeout):
                    try:
                        async with asyncio.timeout_at(deadline):
                            await reader.read()
                    except (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError, TimeoutError):
                        if not status_only:
                            raise
            finally:
                await response.aclose()
        return reader.reply()

    @asynccontextmanager
    async def _room(self, patient: bool) -> AsyncIterator[None]:
        """While there are as many connections as there may be, who is patient waits here, and others where their time counts."""
        if not patient:
            yield
            return
        async with self._connections:
            yield

    async def close(self) -> None:
        self._closed = True
        await self._pool.aclose()


class _explained:  # noqa: N801 - reads as a statement
    """Turns exceptions of the connection layer into Temporary and Permanent, with a text for people."""

    def __init__(self, target: _Target, connect: float, read: float) -> None:
        self._place = target.place
        self._connect = connect
        self._total = connect + read

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, (httpcore.ConnectTimeout, httpcore.PoolTimeout)):
            raise Temporary(f"{self._place}: no connection within {self._connect:g} s") from error
        if isinstance(error, (httpcore.TimeoutException, TimeoutError)):
            raise Temporary(
                f"{self._place}: no complete reply in time (at most {self._total:g} s including the connection)"
            ) from error
        if isinstance(error, httpcore.ConnectError):
            raise Temporary(f"{self._place} could not be reached: {str(error) or 'connection refused'}") from error
        if isinstance(error, httpcore.LocalProtocolError):
            raise Permanent(f"{self._place}: the request is not valid HTTP: {error}") from error
        if isinstance(error, (httpcore.NetworkError, httpcore.ProtocolError, OSError)):
            detail = str(error) or "the connection was lost"
            raise Temporary(f"{self._place}: {detail}") from error


class _BodyReader:
    """Reads a reply's body, decompressed, up to the limit."""

    def __init__(self, target: _Target, response: httpcore.Response, limit: int, cut: bool) -> None:
        self._place = target.place
        self._response = response
        self._limit = limit
        self._cut = cut
        self._body = bytearray()
        self._headers = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in response.headers)
        coding = [value.strip().lower() for name, value in self._headers if name.lower() == "content-encoding"]
        self._compressed = coding in (["gzip"], ["x-gzip"], ["deflate"])
        self._inflater = zlib.decompressobj(wbits=47)  # gzip or zlib, whichever it is

    async def read(self) -> None:
        """Raises Permanent beyond the limit (or stops there, if truncation is allowed), Temporary if the compression is
        broken."""
        empty = True
        async for chunk in self._response.aiter_stream():
            empty = False
            if not self._take(chunk):
                if self._cut:
                    return
                raise Permanent(f"{self._place}: the reply is larger than the limit of {self._limit} bytes")
        if self._compressed and not empty and not self._inflater.eof and not self._cut:
            raise Temporary(f"{self._place}: the compressed reply is truncated")

    def _take(self, chunk: bytes) -> bool:
        """Whether the body is still within the limit. Never holds more than one byte beyond it."""
        if not self._compressed:
            self._body += chunk[: self._limit + 1 - len(self._body)]
        while self._compressed and chunk and len(self._body) <= self._limit:
            if self._inflater.eof:  # a file of several members
                self._inflater = zlib.decompressobj(wbits=47)
            try:
                self._body += self._inflater.decompress(chunk, self._limit + 1 - len(self._body))
            except zlib.error as error:
                raise Temporary(f"{self._place}: the compressed reply is broken: {error}") from None
            chunk = self._inflater.unconsumed_tail or self._inflater.unused_data
        if len(self._body) <= self._limit:
            return True
        del self._body[self._limit :]
        return False

    def reply(self) -> HttpReply:
        headers = self._headers
        if self._compressed:  # they describe what was on the wire, not the body that is handed over
            headers = tuple(h for h in headers if h[0].lower() not in ("content-encoding", "content-length"))
        reason = self._response.extensions.get("reason_phrase", b"").decode("latin-1")
        return HttpReply(self._response.status, reason, headers, bytes(self._body))


def _target(url: str) -> _Target:
    """Raises Permanent. The parsed form is used for connecting, so no other interpretation of the text matters."""
    if len(url) > MAX_URL:
        raise Permanent(f"the URL has {len(url)} characters, the limit is {MAX_URL}")
    try:
        parsed = httpx.URL(url)
        host = parsed.raw_host.decode("ascii").strip("[]")
    except (httpx.InvalidURL, UnicodeError, ValueError) as error:
        raise Permanent(f"the URL is malformed ({error}): use the form https://host/path") from None
    if parsed.scheme not in _PORTS:
        raise Permanent(f"the URL has the scheme {parsed.scheme[:40]!r}: only http and https are supported")
    if not host:
        raise Permanent("the URL has no host: use the form https://host/path")
    if not _HOST.fullmatch(host) and not _IPV6.fullmatch(host):
        raise Permanent(f"the URL has the host {host[:80]!r}, which is neither a name nor an address")
    if parsed.userinfo:
        raise Permanent("the URL carries a user name or password: send them in an Authorization header instead")
    port = _PORTS[parsed.scheme] if parsed.port is None else parsed.port
    if not 0 < port < 65_536:
        raise Permanent(f"the URL has the port {port}: it must be between 1 and 65535")
    authority = parsed.netloc.decode("ascii")
    target = httpcore.URL(scheme=parsed.raw_scheme, host=host.encode("ascii"), port=port, target=parsed.raw_path or b"/")
    return _Target(target, host, port, authority, f"{parsed.scheme}://{authority}")


def _method(method: str) -> str:
    upper = method.upper()
    if not _TOKEN.fullmatch(upper) or len(upper) > 20 or upper in _REFUSED_METHODS:
        raise Permanent(f"the HTTP method {method[:40]!r} is not supported: use GET, POST, PUT, PATCH, DELETE, HEAD or OPTIONS")
    return upper


def _headers(
    target: _Target, method: str, headers: Mapping[str, str] | Iterable[tuple[str, str]], body: bytes
) -> list[tuple[bytes, bytes]]:
    """Raises Permanent for a header that HTTP cannot carry."""
    given = list(headers.items() if isinstance(headers, Mapping) else headers)
    result = [(b"Host", target.authority.encode("ascii")), (b"Accept-Encoding", b"gzip, deflate")]
    names = {name.lower() for name, _ in given}
    if "user-agent" not in names:
        result.append((b"User-Agent", b"pelton"))
    if "accept" not in names:
        result.append((b"Accept", b"*/*"))
    for name, value in given:
        if not _TOKEN.fullmatch(name):
            raise Permanent(f"the header name {name[:80]!r} is not valid in HTTP: use letters, digits and -")
        if _CONTROL.search(value):
            raise Permanent(f"the value of the header {name[:80]!r} has a line break or another control character: remove it")
        if name.lower() not in _OURS:
            result.append((name.encode("ascii"), value.strip().encode("utf-8", "replace")))
    if body or method.upper() in ("POST", "PUT", "PATCH"):
        result.append((b"Content-Length", str(len(body)).encode()))
    size = sum(len(name) + len(value) + 4 for name, value in result)
    if size > MAX_HEADER_BYTES:
        raise Permanent(f"the headers have {size} bytes, the limit is {MAX_HEADER_BYTES}")
    return result
