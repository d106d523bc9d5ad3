"""A web server that is no Prometheus, or one that has something against the request."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ssl import SSLContext
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit


class Answer(NamedTuple):
    status: int
    body: bytes
    location: str = ""


class Server:
    """What it was asked, and with which headers (their names in lower case)."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.headers: list[dict[str, str]] = []
        self.queries: list[dict[str, list[str]]] = []
        self.released = threading.Event()
        self.url = ""


@contextmanager
def answering(
    status: int,
    body: str,
    location: str = "",
    *,
    late: bool = False,
    drips: bool = False,
    tls: SSLContext | None = None,
) -> Iterator[Server]:
    """A server on loopback that says this to whatever it is asked; a `late` one only when all is over.

    One that `drips` says blank after blank first, until all is over.
    """
    server = Server(Answer(status, body.encode(), location))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server.headers.append({name.lower(): value for name, value in self.headers.items()})
            server.queries.append(parse_qs(urlsplit(self.path).query))
            if late:
                server.released.wait(60)
                return
            self.send_response(server.answer.status)
            if server.answer.location:
                self.send_header("Location", server.answer.location)
            self.end_headers()
            try:
                while drips and not server.released.wait(0.02):
                    self.wfile.write(b" ")
            except OSError:
                return  # whoever asked has gone
            self.wfile.write(server.answer.body)

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        if tls:
            http.socket = tls.wrap_socket(http.socket, server_side=True)
        server.url = f"{'https' if tls else 'http'}://127.0.0.1:{http.server_address[1]}"
        thread = threading.Thread(target=http.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server
        finally:
            server.released.set()
            http.shutdown()
            thread.join()
