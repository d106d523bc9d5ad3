"""The two transports of OTLP, on free loopback ports; what to answer is the receiver's business."""

from __future__ import annotations

import gzip
import socket
import threading
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, TypeAlias

import grpc  # type: ignore[import-untyped,unused-ignore]
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped,unused-ignore]

from tests.support.otlp import SIGNALS, Attributes, Signal, service_name

_PATHS: Final[dict[str, Signal]] = {f"/v1/{signal}": signal for signal in SIGNALS}
_PROTOBUF: Final = "application/x-protobuf"
_MAX_CALLS: Final = 32  # a call that hangs holds one of them

# The mapping that gRPC itself documents between HTTP's codes and its own.
_GRPC_CODES: Final[dict[int, grpc.StatusCode]] = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.UNIMPLEMENTED,
}


@dataclass(frozen=True)
class ReceivedRequest:
    """An export request as it came over the wire, its body uncompressed, header names in lower case."""

    signal: Signal
    protocol: str
    headers: Attributes
    body: bytes


Handler: TypeAlias = Callable[[ReceivedRequest], tuple[int, bytes]]
"""Takes a request and returns the HTTP status of the answer (gRPC's is derived from it), and its body if it is 200."""


class GrpcServer:
    """OTLP/gRPC. Bodies are taken as bytes, so that tests can look at what was really sent."""

    def __init__(self, handler: Handler, port: int = 0) -> None:
        self._threads = ThreadPoolExecutor(_MAX_CALLS, thread_name_prefix="otlp-grpc")
        self._server = grpc.server(
            self._threads,
            options=(("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", -1)),
        )
        for signal in SIGNALS:
            method: Any = grpc.unary_unary_rpc_method_handler(_grpc_method(signal, handler))
            service = grpc.method_handlers_generic_handler(service_name(signal), {"Export": method})
            self._server.add_generic_rpc_handlers((service,))
        self.port = int(self._server.add_insecure_port(f"127.0.0.1:{port}"))
        self._server.start()

    def close(self) -> None:
        self._server.stop(grace=None).wait()
        self._threads.shutdown()


def _grpc_method(signal: Signal, handler: Handler) -> Callable[[bytes, Any], bytes]:
    def export(body: bytes, context: Any) -> bytes:
        headers = {str(key).lower(): value for key, value in context.invocation_metadata()}
        status, answer = handler(ReceivedRequest(signal, "grpc", headers, body))
        if status != 200:
            context.abort(_GRPC_CODES.get(status, grpc.StatusCode.UNAVAILABLE), f"refused with {status}")
        return answer

    return export


class HttpServer(ThreadingHTTPServer):
    """OTLP/HTTP with protobuf bodies, plain, gzip or deflate."""

    request_queue_size = 128
    daemon_threads = False  # closing waits for the threads: none of them outlives its test

    def __init__(self, handler: Handler, port: int = 0) -> None:
        self.handler = handler
        self._connections: set[Any] = set()
        super().__init__(("127.0.0.1", port), _HttpRequestHandler)
        self.port = int(self.server_address[1])
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,), name="otlp-http", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self.shutdown()
        self._thread.join()
        # Clients keep connections alive: each of them would hold a thread for ever.
        for connection in tuple(self._connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self.server_close()

    def process_request(self, request: Any, client_address: Any) -> None:
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that has gone is no error of ours; it happens whenever one times out."""


class _HttpRequestHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: HttpServer

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        signal = _PATHS.get(self.path)
        if signal is None:
            return self._answer(404, Status(message=f"no such path: {self.path}").SerializeToString())
        if self.headers.get_content_type() != _PROTOBUF:
            return self._answer(415, Status(message=f"only {_PROTOBUF} is taken").SerializeToString())
        try:
            body = _uncompressed(body, self.headers.get("Content-Encoding", "identity"))
        except (OSError, EOFError, ValueError, zlib.error) as error:
            return self._answer(400, Status(message=str(error)).SerializeToString())
        headers = {key.lower(): value for key, value in self.headers.items()}
        status, answer = self.server.handler(ReceivedRequest(signal, "http/protobuf", headers, body))
        if status == 200:
            return self._answer(200, answer)
        return self._answer(status, Status(message=f"refused with {status}").SerializeToString())

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", _PROTOBUF)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any, **options: Any) -> None:
        """Silent: pytest would show a line for each request."""


def _uncompressed(body: bytes, encoding: str) -> bytes:
    if encoding == "gzip":
        return gzip.decompress(body)
    if encoding == "deflate":
        return zlib.decompress(body)
    if encoding != "identity":
        raise ValueError(f"unknown content encoding {encoding!r}")
    return body
