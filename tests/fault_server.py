"""An object server on loopback that fails as it is told to, and a relay that makes a server answer late.

Per path, there is one fault for every further request.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import socket
import struct
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

from dalikit.storage.remote import forget_stores

__all__ = ["Fault", "FaultServer", "fault_server", "relay"]

Fault = Literal["ok", "401", "403", "404", "429", "503", "truncate", "stall", "reset", "ignore_range", "wrong_range"]

LIST_PAGE = 3
STALL_S = 30.0  # a client that waits longer than this has no timeout; the server's end lets it go sooner


class FaultServer(ThreadingHTTPServer):
    """Serves `objects` by GET and HEAD with ranges. An S3 client that signs nothing and uses paths can read it, too."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.objects: dict[str, bytes] = {}
        """By path, unquoted, with its leading slash: "/bucket/key"; or with its query: "/get?id=1"."""
        self.faults: dict[str, list[Fault]] = {}
        """By path: what the next GETs meet. When it is used up, all goes well."""
        self.etags = True
        """Whether answers carry an ETag."""
        self.weak = False
        """Whether the ETags are weak, which no If-Match is ever true of."""
        self.latency_s = 0.0
        """Before every answer."""
        self.requests: list[tuple[str, str, str | None]] = []
        """(method, path with its query, Range) of every request so far."""
        self.most_in_flight = 0
        self.closing = threading.Event()
        self.lock = threading.Lock()
        self._in_flight = 0

    @property
    def url(self) -> str:
        """Of the server, without a slash at the end."""
        return f"http://127.0.0.1:{self.server_port}"

    def num_requests(self, path: str) -> int:
        """How many GETs there were of a path."""
        return Counter(seen for method, seen, _ in self.requests if method == "GET")[path]

    def enter(self, count: int) -> None:
        """Counts requests that are being answered."""
        with self.lock:
            self._in_flight += count
            self.most_in_flight = max(self.most_in_flight, self._in_flight)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is no news."""


class _Handler(BaseHTTPRequestHandler):
    server: FaultServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 1 << 16

    def do_GET(self) -> None:
        self.server.enter(1)
        try:
            self._answer()
        finally:
            self.server.enter(-1)

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Says nothing."""

    def _answer(self) -> None:
        server, asked = self.server, self.headers.get("Range")
        path = unquote(urlsplit(self.path).path)
        with server.lock:
            server.requests.append((self.command, self.path, asked))
            script = server.faults.get(path) if self.command == "GET" else None
            fault: Fault = script.pop(0) if script else "ok"
        if server.latency_s:
            server.closing.wait(server.latency_s)
        query = parse_qs(urlsplit(self.path).query)
        data = server.objects.get(self.path, server.objects.get(path)) if "list-type" not in query else b""
        if fault == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            self.connection.close()
        elif data is None or fault.isdigit():
            status = int(fault) if fault.isdigit() else 404
            self._send(status, b"<Error><Code>Scripted</Code><Key>SECRET-IN-BODY</Key></Error>", {}, "ok")
        elif "list-type" in query:
            self._send(200, self._list(path, query).encode(), {}, fault)
        elif "If-Match" in self.headers and (server.weak or self.headers["If-Match"] != f'"{etag(data)}"'):
            self._send(412, b"", {}, "ok")
        else:
            self._send_object(data, asked, fault)

    def _list(self, bucket: str, query: dict[str, list[str]]) -> str:
        """S3's ListObjectsV2, `LIST_PAGE` names a page."""
        start = f"{bucket}/{query.get('prefix', [''])[0]}"
        after = query.get("continuation-token", [""])[0]
        names = sorted(name for name in self.server.objects if name.startswith(start) and name > after)
        more = len(names) > LIST_PAGE
        token = f"<NextContinuationToken>{escape(names[LIST_PAGE - 1])}</NextContinuationToken>" if more else ""
        contents = "".join(
            f"<Contents><Key>{escape(name.removeprefix(bucket + '/'))}</Key>"
            f"<Size>{len(self.server.objects[name])}</Size>"
            "<LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>"
            for name in names[:LIST_PAGE]
        )
        return f"<ListBucketResult>{contents}<IsTruncated>{str(more).lower()}</IsTruncated>{token}</ListBucketResult>"

    def _send_object(self, data: bytes, asked: str | None, fault: Fault) -> None:
        headers = {"Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT"}
        if self.server.etags:
            headers["ETag"] = ("W/" if self.server.weak else "") + f'"{etag(data)}"'
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", asked or "")
        if found is None or fault == "ignore_range":
            self._send(200, data, headers, fault)
            return
        start, stop = int(found[1]), min(int(found[2]) + 1 if found[2] else len(data), len(data))
        if start >= len(data):
            self._send(416, b"", {"Content-Range": f"bytes */{len(data)}"}, "ok")
            return
        shift = 1 if fault == "wrong_range" else 0
        headers["Content-Range"] = f"bytes {start + shift}-{stop - 1 + shift}/{len(data) + shift}"
        self._send(206, data[start:stop], headers, fault)

    def _send(self, status: int, body: bytes, headers: dict[str, str], fault: Fault) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if fault in ("truncate", "stall"):
            self.wfile.write(body[: len(body) // 2])
            self.wfile.flush()
            if fault == "stall":
                self.server.closing.wait(STALL_S)
            self.close_connection = True
            return
        self.wfile.write(body)


def etag(data: bytes) -> str:
    """Of an object, without its quotes."""
    return hashlib.md5(data).hexdigest()


@contextmanager
def fault_server() -> Iterator[FaultServer]:
    """A server that runs on a thread until the block ends."""
    server = FaultServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.closing.set()
        server.shutdown()
        thread.join()
        server.server_close()
        forget_stores()  # whose connections would count among what a later test has left open


@contextmanager
def relay(url: str, latency_s: float) -> Iterator[str]:
    """An address at which the server at `url` answers `latency_s` later: the way there takes that long."""
    loop, connections = asyncio.new_event_loop(), set[asyncio.Task[None]]()
    writers: set[asyncio.StreamWriter] = set()
    host, port = urlsplit(url).hostname, urlsplit(url).port

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay_s: float) -> None:
        with suppress(OSError):
            while data := await reader.read(1 << 18):
                await asyncio.sleep(delay_s)
                writer.write(data)
                await writer.drain()
        writer.close()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.add(writer)
        there, back = await asyncio.open_connection(host, port)
        writers.add(back)
        for task in (carry(reader, back, latency_s), carry(there, writer, 0)):
            connections.add(asyncio.ensure_future(task))

    async def stop() -> None:
        server.close()
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)
        for writer in writers:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    server = loop.run_until_complete(asyncio.start_server(accept, "127.0.0.1", 0))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        asyncio.run_coroutine_threadsafe(stop(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
