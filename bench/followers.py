"""Followers that do not read, and slow readers of large events: what they cost the server's memory and everybody else's time.

uv run python bench/followers.py
"""

from __future__ import annotations

import socket
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

from msgspec import json

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.processes import memory
from bench.workloads import server

from pelton.client import Client

EVENTS, LARGE = 40, 3_900_000  # events, and bytes of each
STREAMS, READERS = 60, 10
SECONDS = 20.0
SLOW = 64_000  # bytes a slow reader takes at a time, ten times a second


def connection(url: str, path: str, accept: str) -> socket.socket:
    parts = urlsplit(url)
    found = socket.socket()
    found.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8_192)
    found.connect((parts.hostname, parts.port))
    found.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: {accept}\r\n\r\n".encode())
    found.setblocking(False)
    return found


def main() -> None:
    with server() as pelton, Client(pelton.url) as client:
        measure(pelton.url, pelton.pid, client)


def measure(url: str, pid: int, client: Client) -> None:
    for number in range(EVENTS):
        body = {"specversion": "1.0", "id": f"{number}", "source": "/bench", "type": "large", "data": "x" * LARGE}
        client.request("POST", "/v1/events", json.encode(body), content_type="application/cloudevents+json")
    print(f"before: {memory(pid)[1]:,.0f} MB")
    keys = [each.key for each in client.events(after="0", limit=1).events]
    while len(keys) < EVENTS and (more := client.events(after=keys[-1], limit=10).events):
        keys += [each.key for each in more]
    streams = [
        connection(url, f"/v1/events?after={keys[number % (EVENTS - 1)]}&limit=10", "text/event-stream")
        for number in range(STREAMS)
    ]
    readers = [connection(url, "/v1/events?limit=100", "application/json") for _ in range(READERS)]
    slowest, end = 0.0, time.monotonic() + SECONDS
    waits: list[float] = []
    most = 0.0
    while time.monotonic() < end:
        for place, each in enumerate(readers):
            try:
                if not each.recv(SLOW):
                    each.close()
                    readers[place] = connection(url, "/v1/events?limit=100", "application/json")
            except BlockingIOError:
                pass
        began = time.monotonic()
        client.request("GET", "/health")
        waits.append((time.monotonic() - began) * 1000)
        most = max(most, memory(pid)[1])
        time.sleep(0.1)
    waits.sort()
    slowest = waits[-1]
    print(f"with {STREAMS} streams that do not read and {READERS} slow readers: {most:,.0f} MB at most")
    print(f"/health: {waits[len(waits) // 2]:.0f} ms in the middle, {slowest:.0f} ms at most")
    for each in [*streams, *readers]:
        each.close()


if __name__ == "__main__":
    main()
