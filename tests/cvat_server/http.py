"""HTTP: one thread a connection, connections that stay open, and the faults of the wire."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit

from .routing import Reply, Request

if TYPE_CHECKING:
    from .app import App
    from .faults import Fault, Faults


@dataclass(frozen=True)
class Record:
    """One request in the log.

    ``status`` is None where the connection was closed without an answer; ``at`` is a time of ``time.monotonic``.
    """

    method: str
    path: str
    query: str
    status: int | None
    bytes_in: int
    bytes_out: int
    at: float


class Listener(ThreadingHTTPServer):
    """The listening socket with what the handlers of its connections share."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, app: App, faults: Faults, log: list[Record]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.app = app
        self.faults = faults
        self.log = log
        self.hook: Callable[[str, str], Any] | None = None

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away in the middle is what tests do; it is no error of the server."""


class Handler(BaseHTTPRequestHandler):
    """Reads requests from one connection and writes the answers."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 1 << 16
    server: Listener

    def answer(self) -> None:
        """Answer one request."""
        body = self._body()
        address = urlsplit(self.path)
        began = time.monotonic()
        if self.server.hook is not None:
            self.server.hook(self.command, self.path)
        faults = self.server.faults.of(self.command, self.path)
        reply = self._before(faults)
        if reply is None:
            request = Request(
                method=self.command,
                path=unquote(address.path),
                query=dict(parse_qsl(address.query, keep_blank_values=True)),
                headers=self.headers,
                body=body,
                url=self._url(),
            )
            reply = self.server.app.handle(request)
        reply = self._after(faults, reply)
        drops = [fault for fault in faults if fault.kind == "drop"]
        payload = b"" if drops and drops[0].when == "before" else reply.payload()
        self.server.log.append(
            Record(
                method=self.command,
                path=address.path,
                query=address.query,
                status=None if drops else reply.status,
                bytes_in=len(body),
                bytes_out=len(payload),
                at=began,
            )
        )
        if drops:
            self._drop(reply, payload, drops[0])
        else:
            self._write(reply, payload)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do_OPTIONS = answer

    def _url(self) -> str:
        # Addresses in the answers are those that the client came by.
        return str(self.headers.get("Origin") or f"http://{self.headers.get('Host')}").rstrip("/")

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            parts = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _before(self, faults: list[Fault]) -> Reply | None:
        for fault in faults:
            if fault.when == "before":
                if fault.kind == "slow":
                    time.sleep(fault.seconds)
                elif fault.kind == "status":
                    return _error(fault)
                else:
                    return Reply(0)
        return None

    def _after(self, faults: list[Fault], reply: Reply) -> Reply:
        for fault in faults:
            if fault.when == "after":
                if fault.kind == "slow":
                    time.sleep(fault.seconds)
                elif fault.kind == "status":
                    reply = _error(fault)
        return reply

    def _head(self, reply: Reply, payload: bytes) -> None:
        self.send_response(reply.status)
        if payload:
            self.send_header("Content-Type", reply.content_type)
        if reply.status not in (204, 304):
            self.send_header("Content-Length", str(len(payload)))
        self.send_header("X-Frame-Options", "DENY")
        for name, value in reply.headers.items():
            for one in value if isinstance(value, list) else [value]:
                self.send_header(name, one)
        self.end_headers()

    def _write(self, reply: Reply, payload: bytes) -> None:
        self._head(reply, payload)
        if self.command != "HEAD":
            self.wfile.write(payload)
        self.wfile.flush()

    def _drop(self, reply: Reply, payload: bytes, fault: Fault) -> None:
        if fault.when == "after" and fault.bytes:
            self._head(reply, payload)
            self.wfile.write(payload[: fault.bytes])
            self.wfile.flush()
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, format: str, *args: Any) -> None:
        """The server keeps its own log."""


def _error(fault: Fault) -> Reply:
    headers = {"Retry-After": str(fault.retry_after)} if fault.retry_after is not None else {}
    return Reply(fault.status, {"detail": f"A test asked for status {fault.status}."}, headers)
