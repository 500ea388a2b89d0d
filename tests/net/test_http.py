"""The HTTP port against real servers on loopback, and its rules about addresses."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import ipaddress
import socket
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpcore
import msgspec
import pytest
import uvicorn
from httpcore import AnyIOBackend
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route
from tests.patience import PATIENCE

from pelton.connectors.port import Permanent, Temporary
from pelton.net.http import AddressRules, GuardedBackend, GuardedHttp

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def echo(request: Request) -> Response:
    body = await request.body()
    return JSONResponse(
        {
            "method": request.method,
            "target": request.url.path + "?" + request.url.query,
            "headers": [[name.decode(), value.decode("latin-1")] for name, value in request.headers.raw],
            "body": body.decode(),
        },
        status_code=int(request.query_params.get("status", "200")),
        headers={"X-One": "1"},
    )


async def packed(request: Request) -> Response:
    size = int(request.query_params["size"])
    how = request.query_params["how"]
    plain = b"a" * size
    if how == "gzip":
        data = gzip.compress(plain[: size // 2]) + gzip.compress(plain[size // 2 :])  # two members
    elif how == "deflate":
        data = zlib.compress(plain)
    elif how == "short":
        how, data = "gzip", gzip.compress(plain)[:-6]
    else:
        how, data = "gzip", b"this is not compressed"
    return Response(data, headers={"Content-Encoding": how})


async def away(request: Request) -> Response:
    return RedirectResponse("/echo")


@pytest.fixture
async def web() -> AsyncIterator[str]:
    routes = [
        Route("/echo", echo, methods=["GET", "POST", "PUT", "DELETE", "PATCH"]),
        Route("/packed", packed),
        Route("/away", away),
    ]
    server = uvicorn.Server(uvicorn.Config(Starlette(routes=routes), log_level="error", lifespan="off"))
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    await serving


@contextlib.asynccontextmanager
async def raw(handler: Handler) -> AsyncIterator[str]:
    """A server that answers whatever the test wants, well formed or not."""
    tasks: set[asyncio.Task[Any]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        with contextlib.suppress(OSError, asyncio.CancelledError):
            await handler(reader, writer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture
async def port() -> AsyncIterator[GuardedHttp]:
    port = GuardedHttp(allow_private=True)
    yield port
    await port.close()


@pytest.fixture
async def strict() -> AsyncIterator[GuardedHttp]:
    port = GuardedHttp()
    yield port
    await port.close()


class TestExchange:
    async def test_what_is_sent_and_what_comes_back(self, port: GuardedHttp, web: str) -> None:
        headers = [
            ("X-A", "1"),
            ("X-A", "2"),
            ("Host", "evil"),
            ("Content-Length", "999"),
            ("Transfer-Encoding", "chunked"),
            ("X-U", "é"),
        ]
        reply = await port.request("post", f"{web}/echo?a=b%20c&d#fragment", headers, b'{"x":1}')
        assert (reply.status, reply.reason) == (200, "OK")
        assert reply.header("x-one") == "1"
        assert reply.header("missing") is None
        seen = msgspec.json.decode(reply.body)
        assert (seen["method"], seen["target"], seen["body"]) == ("POST", "/echo?a=b%20c&d", '{"x":1}')
        names = {name.lower(): [v for n, v in seen["headers"] if n.lower() == name.lower()] for name, _ in seen["headers"]}
        assert names["x-a"] == ["1", "2"]
        assert names["host"] == [web.removeprefix("http://")]
        assert names["content-length"] == ["7"]
        assert "transfer-encoding" not in names
        assert names["user-agent"] == ["pelton"]
        assert names["x-u"][0].encode("latin-1").decode() == "é"

    @pytest.mark.parametrize("status", [201, 404, 500, 599])
    async def test_any_status_is_a_reply(self, port: GuardedHttp, web: str, status: int) -> None:
        assert (await port.request("GET", f"{web}/echo?status={status}")).status == status

    async def test_redirects_are_not_followed(self, port: GuardedHttp, web: str) -> None:
        reply = await port.request("GET", f"{web}/away")
        assert (reply.status, reply.header("Location")) == (307, "/echo")

    async def test_headers_may_repeat_in_a_reply(self, port: GuardedHttp) -> None:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 299 Quite Good\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nContent-Length: 2\r\n\r\nok")
            await writer.drain()

        async with raw(answer) as url:
            reply = await port.request("GET", url)
        assert (reply.status, reply.reason, reply.body) == (299, "Quite Good", b"ok")
        assert reply.all_headers("set-cookie") == ["a", "b"]

    async def test_a_connection_is_used_again(self, port: GuardedHttp) -> None:
        connections = 0

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal connections
            connections += 1
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")

        async with raw(answer) as url:
            with contextlib.suppress(asyncio.IncompleteReadError):
                for _ in range(3):
                    assert (await port.request("GET", url)).status == 204
            assert connections == 1
            await port.close()

    async def test_a_closed_port_says_so(self, web: str) -> None:
        port = GuardedHttp(allow_private=True)
        await port.close()
        with pytest.raises(Temporary, match="closed"):
            await port.request("GET", web)


class TestLimits:
    async def test_a_reply_of_the_limit_and_one_byte_more(self, port: GuardedHttp, web: str) -> None:
        url = f"{web}/packed?how=deflate&size=1000"
        assert len((await port.request("GET", url, max_response=1_000)).body) == 1_000
        with pytest.raises(Permanent, match="larger than the limit of 999 bytes"):
            await port.request("GET", url, max_response=999)
        plain = f"{web}/echo"
        with pytest.raises(Permanent, match="larger than the limit of 10 bytes"):
            await port.request("GET", plain, max_response=10)

    async def test_a_small_reply_that_swells(self, port: GuardedHttp, web: str) -> None:
        """50 MB in 50 kB: refused without being unpacked."""
        with pytest.raises(Permanent, match="larger than the limit of 5000 bytes"):
            await port.request("GET", f"{web}/packed?how=deflate&size=50000000", max_response=5_000)

    @pytest.mark.parametrize("how", ["gzip", "deflate"])
    async def test_unpacking(self, port: GuardedHttp, web: str, how: str) -> None:
        reply = await port.request("GET", f"{web}/packed?how={how}&size=300001")
        assert reply.body == b"a" * 300_001
        assert reply.header("Content-Encoding") is None
        assert reply.header("Content-Length") is None

    @pytest.mark.parametrize(("how", "said"), [("short", "truncated"), ("none", "is broken")])
    async def test_broken_compression(self, port: GuardedHttp, web: str, how: str, said: str) -> None:
        with pytest.raises(Temporary, match=said):
            await port.request("GET", f"{web}/packed?how={how}&size=100")

    async def test_only_the_status_matters(self, port: GuardedHttp, web: str) -> None:
        reply = await port.request("GET", f"{web}/packed?how=deflate&size=50000000", max_response=100, status_only=True)
        assert (reply.status, reply.body) == (200, b"a" * 100)

    async def test_nobody_answers(self, port: GuardedHttp) -> None:
        async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()

        async with raw(silent) as url:
            with pytest.raises(Temporary, match="no complete reply in time"):
                await port.request("GET", url, read_timeout=0.1)

    async def test_a_reply_that_drips_for_ever(self, port: GuardedHttp) -> None:
        """Each read is quick enough; the whole is not."""

        async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
            while True:
                writer.write(b".")
                await writer.drain()
                await asyncio.sleep(0.02)

        async with raw(drip) as url, asyncio.timeout(PATIENCE):
            with pytest.raises(Temporary, match="no complete reply in time"):
                await port.request("GET", url, connect_timeout=0.2, read_timeout=0.1)
            reply = await port.request("GET", url, connect_timeout=0.5, read_timeout=0.5, status_only=True)
            assert reply.status == 200
            assert set(reply.body) <= {ord(".")}

    @pytest.mark.parametrize(
        "answer",
        [b"", b"SSH-2.0-OpenSSH_9\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort", b"HTTP/1.1 200 OK\r\nA: b" * 9_000],
    )
    async def test_broken_replies(self, port: GuardedHttp, answer: bytes) -> None:
        async def answering(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            await writer.drain()

        async with raw(answering) as url:
            with pytest.raises(Temporary, match=url):
                await port.request("GET", url)

    async def test_a_slow_host_holds_up_itself_only(self, web: str) -> None:
        began = asyncio.Event()

        async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            began.set()
            await reader.read()

        port = GuardedHttp(allow_private=True, max_per_host=1)
        async with raw(silent) as url, asyncio.timeout(PATIENCE):
            stuck = asyncio.create_task(port.request("GET", url))
            await began.wait()
            with pytest.raises(Temporary, match="1 requests to this host are in progress"):
                await port.request("GET", url, connect_timeout=0.05)
            assert (await port.request("GET", f"{web}/echo")).status == 200
            stuck.cancel()
            with pytest.raises(asyncio.CancelledError):
                await stuck
            assert not port._slots._hosts
        await port.close()

    async def test_who_is_patient_waits_for_a_turn_and_that_time_does_not_count(self, web: str) -> None:
        """More requests than a host may have at once: whatever they take, the others come when there is room."""
        served, go = 0, asyncio.Event()

        async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal served
            served += 1
            await reader.readuntil(b"\r\n\r\n")
            await go.wait()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            await writer.drain()

        port = GuardedHttp(allow_private=True, max_per_host=2, max_connections=3)
        async with raw(slow) as url, raw(slow) as other, asyncio.timeout(PATIENCE):
            waiting = [
                asyncio.create_task(port.request("GET", place, connect_timeout=0.2, read_timeout=PATIENCE, patient=True))
                for place in (url, other) * 6
            ]
            with pytest.raises(Temporary):  # longer than any of them may take to connect
                await port.request("GET", url, connect_timeout=0.3)
            assert served == 3
            waiting.pop().cancel()
            go.set()
            assert [reply.status for reply in await asyncio.gather(*waiting)] == [200] * 11
            assert not port._slots._hosts
        await port.close()

    async def test_nobody_listens(self, port: GuardedHttp, unused_tcp_port: int) -> None:
        with pytest.raises(Temporary, match=f"http://127.0.0.1:{unused_tcp_port} could not be reached"):
            await port.request("GET", f"http://127.0.0.1:{unused_tcp_port}/?secret=1")

    async def test_a_name_that_does_not_exist(self, strict: GuardedHttp) -> None:
        with pytest.raises(Temporary, match="could not be resolved"):
            await strict.request("GET", "http://no-such-host.invalid/")


class TestRefusals:
    @pytest.mark.parametrize(
        ("url", "said"),
        [
            ("", "scheme ''"),
            ("/path", "scheme ''"),
            ("ftp://example.com", "scheme 'ftp'"),
            ("file:///etc/passwd", "scheme 'file'"),
            ("gopher://example.com", "only http and https"),
            ("http://", "no host"),
            ("http://user:pw@example.com/", "Authorization header"),
            ("http://example.com:99999/", "malformed|between 1 and 65535"),
            ("http://example.com:0/", "between 1 and 65535"),
            ("http://exa mple.com/", "neither a name nor an address"),
            ("http://example.com/a\r\nX: y", "malformed"),
            ("http://[::1", "malformed"),
            ("http://example.com/" + "x" * 8_200, "the limit is 8192"),
        ],
    )
    async def test_urls(self, strict: GuardedHttp, url: str, said: str) -> None:
        with pytest.raises(Permanent, match=said):
            await strict.request("GET", url)
        assert strict.check(url)

    @pytest.mark.parametrize("method", ["", "GET /", "CONNECT", "trace", "G\r\nT", "X" * 21])
    async def test_methods(self, port: GuardedHttp, method: str) -> None:
        with pytest.raises(Permanent, match="HTTP method"):
            await port.request(method, "http://127.0.0.1:9/")

    @pytest.mark.parametrize(
        ("name", "value"),
        [("a b", "x"), ("", "x"), ("a\r\n", "x"), ("a", "x\r\ny: z"), ("a", "x\0"), ("ü", "x"), ("a", "x" * 70_000)],
    )
    async def test_headers(self, port: GuardedHttp, name: str, value: str) -> None:
        with pytest.raises(Permanent, match="header"):
            await port.request("GET", "http://127.0.0.1:9/", {name: value})


FORBIDDEN = [
    "127.0.0.1", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "0.0.0.0", "0", "localhost", "LOCALHOST",
    "10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "169.254.169.254", "224.0.0.1", "240.0.0.1", "255.255.255.255",
    "192.0.2.1", "198.18.0.1", "[::1]", "[::]", "[fe80::1]", "[fc00::1]", "[fd00:ec2::254]", "[ff02::1]",
    "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::ffff:a9fe:a9fe]", "[64:ff9b::7f00:1]", "[64:ff9b::a00:1]", "[2002:7f00:1::]",
    "[2002:a00:1::1]", "[2001:0:0:0:0:0:80ff:fffe]", "[::127.0.0.1]", "[2001:db8::1]",
    "192.0.0.192", "192.0.0.8", "168.63.129.16", "100.100.100.200", "192.88.99.1", "203.0.113.7", "[fd00:ec2::23]",
    "[fd20:ce::254]",
    "[2002:a83f:8110::1]", "[64:ff9b::a83f:8110]", "[::ffff:192.0.0.192]", "[2001:2::1]", "[2001:20::1]", "[3fff::1]",
    "[::ffff:0:a9fe:a9fe]", "[2606:4700::5efe:a9fe:a9fe]", "[2606:4700::200:5efe:a00:1]",
    "[fec0::1]", "[64:ff9b:1::a00:1]", "[4000::1]", "\uff11\uff12\uff17.0.0.1", "127\u30020\u30020\u30021",
]  # fmt: skip


METADATA = [  # of clouds, inside ranges that are otherwise public, private, or special in some versions of Python only
    "192.0.0.192", "168.63.129.16", "100.100.100.200", "169.254.170.2", "169.254.42.42", "fd00:ec2::254", "fd00:ec2::23",
    "fd20:ce::254", "fd00:42::42", "fd00:c1::a9fe:a9fe", "fe80::a9fe:a9fe",
]  # fmt: skip


def embedded(address: str) -> list[str]:
    """The ways to write an IPv4 address as one of IPv6 that something on the way may take apart again."""
    number = int(ipaddress.IPv4Address(address))
    flipped = number ^ 0xFFFF_FFFF
    values = [
        0xFFFF << 32 | number,
        0x0064_FF9B << 96 | number,
        0x2002 << 112 | number << 80 | 1,
        0x2001 << 112 | 0x0808_0808 << 64 | flipped,
        0x2606_4700 << 96 | 0x5EFE << 32 | number,
    ]
    return [str(ipaddress.IPv6Address(value)) for value in values]


class TestAddresses:
    @pytest.mark.parametrize("host", FORBIDDEN)
    async def test_inner_addresses_are_never_connected_to(self, strict: GuardedHttp, host: str) -> None:
        hits = 0

        async def count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal hits
            hits += 1

        async with raw(count) as url:
            with pytest.raises(Permanent, match=r"which Pelton does not connect to|malformed|neither a name nor an address"):
                await strict.request("GET", f"http://{host}:{url.rpartition(':')[2]}/", connect_timeout=2)
        assert hits == 0

    def test_literal_addresses_are_refused_without_io(self, strict: GuardedHttp) -> None:
        assert "a loopback address" in str(strict.check("http://127.0.0.1/"))
        assert "a link-local address" in str(strict.check("http://169.254.169.254/latest"))
        assert strict.check("https://1.1.1.1/") is None
        assert strict.check("https://example.com/") is None

    @pytest.mark.parametrize("address", ["1.1.1.1", "8.8.8.8", "2606:4700:4700::1111", "64:ff9b::101:101", "::ffff:8.8.8.8"])
    def test_public_addresses(self, address: str) -> None:
        assert AddressRules().refuses("x", 80, address) is None

    @pytest.mark.parametrize("address", METADATA)
    def test_a_clouds_metadata_is_opened_by_name_only(self, address: str) -> None:
        ways = [address, *(embedded(address) if "." in address else ())]
        for way in ways:
            assert AddressRules().refuses("x", 80, way) is not None
            assert AddressRules(allow_private=True).refuses("x", 80, way) is not None
            assert AddressRules(["10.0.0.0/8"], allow_private=True).refuses("x", 80, way) is not None
        assert AddressRules([address]).refuses("x", 80, address) is None

    def test_what_is_special_does_not_depend_on_the_standard_library(self, monkeypatch: pytest.MonkeyPatch) -> None:
        rules, opened = AddressRules(), AddressRules(allow_private=True)
        kinds = ("is_global", "is_private", "is_reserved", "is_link_local", "is_loopback", "is_multicast", "is_unspecified")
        for version in (ipaddress.IPv4Address, ipaddress.IPv6Address):
            for kind in kinds:
                for wrong in (True, False):
                    monkeypatch.setattr(version, kind, wrong)
                    assert rules.refuses("x", 80, "1.1.1.1") is None
                    assert rules.refuses("x", 80, "2606:4700::1") is None
                    for address in ("127.0.0.1", "10.0.0.1", "192.0.0.8", "::1", "fc00::1", "2001:db8::1", "fec0::1"):
                        assert rules.refuses("x", 80, address) is not None
                    assert opened.refuses("x", 80, "10.0.0.1") is None

    async def test_private_ones_may_be_opened(self, web: str) -> None:
        rules = AddressRules(allow_private=True)
        for address in ("127.0.0.1", "::1", "10.1.2.3", "100.64.0.1", "192.168.0.1", "fc00::1", "::ffff:10.0.0.1"):
            assert rules.refuses("x", 80, address) is None
        for address in (
            "169.254.169.254",
            "fe80::1",
            *METADATA,
            "224.0.0.1",
            "0.0.0.0",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
        ):
            assert rules.refuses("x", 80, address) is not None

    @pytest.mark.parametrize("entry", ["127.0.0.1", "127.0.0.0/8", "localhost", "LocalHost", "localhost:{port}", "localhost."])
    async def test_the_allow_list(self, web: str, entry: str) -> None:
        number = web.rpartition(":")[2]
        port = GuardedHttp(allow=[entry.format(port=number)])
        host = "127.0.0.1" if entry[0].isdigit() else "localhost"
        assert (await port.request("GET", f"http://{host}:{number}/echo")).status == 200
        await port.close()

    def test_the_allow_list_opens_no_more_than_it_says(self) -> None:
        rules = AddressRules(["localhost:8080", "10.1.0.0/16", "hooks.internal"])
        assert rules.refuses("localhost", 8081, "127.0.0.1")
        assert rules.refuses("localhost.evil.com", 8080, "127.0.0.1")
        assert rules.refuses("evil-hooks.internal", 80, "10.2.0.1")
        assert rules.refuses("x", 80, "10.2.0.1")
        assert rules.refuses("x", 80, "10.1.255.1") is None
        assert rules.refuses("x", 80, "::ffff:10.1.0.1") is None
        assert rules.refuses("Hooks.Internal.", 80, "10.2.0.1") is None

    @pytest.mark.parametrize("entry", ["", "a b", "http://x", "x:", "x:y", "x:0", "x:70000", "*.example.com", "10.0.0.0/40"])
    def test_entries_that_are_none(self, entry: str) -> None:
        with pytest.raises(ValueError, match="is not a host name"):
            AddressRules([entry])

    async def test_the_name_is_resolved_once(self) -> None:
        """A name server that changes its answer cannot lead a checked name elsewhere: there is no second question."""
        asked: list[str] = []
        opened: list[str] = []
        answers = iter([["8.8.8.8", "127.0.0.1"], ["127.0.0.1"]])

        async def look_up(host: str, port: int) -> list[str]:
            asked.append(host)
            return next(answers)

        class Recorder(AnyIOBackend):
            async def connect_tcp(self, host: str, *rest: Any, **more: Any) -> httpcore.AsyncNetworkStream:
                opened.append(host)
                raise httpcore.ConnectError("recorded")

        backend = GuardedBackend(AddressRules(), look_up, Recorder())
        with pytest.raises(httpcore.ConnectError, match="recorded"):
            await backend.connect_tcp("rebinding.example", 80)
        assert asked == ["rebinding.example"]
        assert opened == ["8.8.8.8"]
        with pytest.raises(Permanent, match="a loopback address"):
            await backend.connect_tcp("rebinding.example", 80)
        assert opened == ["8.8.8.8"]

    async def test_sockets_of_the_machine(self) -> None:
        with pytest.raises(Permanent, match="Unix sockets"):
            await GuardedBackend(AddressRules(allow_private=True)).connect_unix_socket("/run/docker.sock")

    @given(st.text(max_size=60))
    def test_any_text_is_checked_without_an_error(self, text: str) -> None:
        for url in (text, f"http://{text}", f"https://example.com:{text}/{text}"):
            answer = CHECKING.check(url)
            assert answer is None or answer


CHECKING = GuardedHttp()
