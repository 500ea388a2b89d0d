"""An SQS service that keeps its promise and no more: at least once. It stands before a real one and doubles what passes.

What the real service handed out is handed out again to the next caller of that queue, with the same message ids, as after a
visibility timeout that ran out; and what is sent is sent twice, as by a sender that crashed before it noted the answer.
"""

from __future__ import annotations

import json
import threading
from collections import defaultdict
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit


class Server(ThreadingHTTPServer):
    daemon_threads = True  # long polls may be under way at the end
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A caller that hangs up while it polls is nothing to talk about."""


class Doubling:
    """`receives`, `sends`: what of the two is doubled. `again`: how many messages were handed out a second time."""

    def __init__(self, target: str, *, receives: bool = True, sends: bool = False) -> None:
        self.receives = receives
        self.sends = sends
        self.again = 0
        self._target = urlsplit(target)
        self._due: defaultdict[str, list[bytes]] = defaultdict(list)
        self._lock = threading.Lock()
        doubling = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", "0")))
                status, answer = doubling.answer(self.path, dict(self.headers), body)
                self.send_response(status)
                self.send_header("content-type", "application/x-amz-json-1.0")
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, path: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        operation = headers.get("X-Amz-Target", headers.get("x-amz-target", "")).rpartition(".")[2]
        queue = json.loads(body or b"{}").get("QueueUrl", "")
        if operation == "ReceiveMessage" and self.receives:
            with self._lock:
                if self._due[queue]:
                    found = self._due[queue].pop()
                    self.again += len(json.loads(found)["Messages"])
                    return 200, found
        status, answer = self._forward(path, headers, body)
        if operation == "ReceiveMessage" and self.receives and status == 200 and json.loads(answer).get("Messages"):
            with self._lock:
                self._due[queue].append(answer)
        if operation == "SendMessageBatch" and self.sends:
            self._forward(path, headers, body)
        return status, answer

    def _forward(self, path: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        connection = HTTPConnection(self._target.hostname or "", self._target.port, timeout=60)
        try:
            connection.request("POST", path, body, headers)
            found = connection.getresponse()
            return found.status, found.read()
        except OSError:
            return 503, b"{}"
        finally:
            connection.close()
