"""A real OTLP backend for tests: takes gRPC and HTTP, remembers everything, misbehaves on demand."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Final, TypeVar

from tests.support.deadline import DEADLINE
from tests.support.otlp import (
    ReceivedEvent,
    ReceivedExemplar,
    ReceivedLink,
    ReceivedLog,
    ReceivedPoint,
    ReceivedSpan,
    decode,
    encoded_response,
)
from tests.support.otlp_servers import GrpcServer, HttpServer, ReceivedRequest

__all__ = [
    "OtlpReceiver",
    "ReceivedEvent",
    "ReceivedExemplar",
    "ReceivedLink",
    "ReceivedLog",
    "ReceivedPoint",
    "ReceivedRequest",
    "ReceivedSpan",
]

T = TypeVar("T")

_ACCEPT: Final = 200
_HANG: Final = 0
_UNAVAILABLE: Final = 503
_SHOWN: Final = 40


class OtlpReceiver:
    """Collects what is exported to it. Properties give copies, safe to keep while more arrives."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._mode = _ACCEPT
        self._rejected = (0, "")
        self._spans: list[ReceivedSpan] = []
        self._points: dict[str, ReceivedPoint] = {}
        self._logs: list[ReceivedLog] = []
        self._requests: list[ReceivedRequest] = []
        self._refused = 0
        self._held = 0
        self._faults: list[str] = []
        self._grpc: GrpcServer | None = None
        self._http: HttpServer | None = None

    def __enter__(self) -> OtlpReceiver:
        self.plug()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.unplug()

    # --- where to send to -----------------------------------------------------------------------

    @property
    def grpc_endpoint(self) -> str:
        if self._grpc is None:
            raise RuntimeError("the receiver has not been entered")
        return f"http://127.0.0.1:{self._grpc.port}"

    @property
    def http_endpoint(self) -> str:
        """The base address, without ``/v1/traces``."""
        if self._http is None:
            raise RuntimeError("the receiver has not been entered")
        return f"http://127.0.0.1:{self._http.port}"

    def environment(self, protocol: str = "grpc", interval_ms: int = 100) -> dict[str, str]:
        """Environment variables that make a process export here, and soon."""
        endpoints = {"grpc": self.grpc_endpoint, "http/protobuf": self.http_endpoint}
        return {
            "OTEL_EXPORTER_OTLP_ENDPOINT": endpoints[protocol],
            "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
            "OTEL_BSP_SCHEDULE_DELAY": str(interval_ms),
            "OTEL_BLRP_SCHEDULE_DELAY": str(interval_ms),
            "OTEL_METRIC_EXPORT_INTERVAL": str(interval_ms),
        }

    # --- what has arrived -----------------------------------------------------------------------

    @property
    def spans(self) -> list[ReceivedSpan]:
        """In the order of arrival."""
        with self._changed:
            return list(self._spans)

    @property
    def metrics(self) -> list[ReceivedPoint]:
        """The latest point of each stream (resource, scope, name and attributes)."""
        with self._changed:
            return list(self._points.values())

    @property
    def logs(self) -> list[ReceivedLog]:
        """In the order of arrival."""
        with self._changed:
            return list(self._logs)

    @property
    def requests(self) -> list[ReceivedRequest]:
        """Every request whatever its answer was, refused and held ones too."""
        with self._changed:
            return list(self._requests)

    @property
    def raw_bytes(self) -> bytes:
        """The uncompressed bodies of all requests: what has left the sender's process."""
        return b"\n".join(request.body for request in self.requests)

    @property
    def refused(self) -> int:
        """How many requests were answered with an error."""
        with self._changed:
            return self._refused

    @property
    def held(self) -> int:
        """How many requests hang right now."""
        with self._changed:
            return self._held

    def metric(self, name: str, attributes: Mapping[str, Any] | None = None) -> list[ReceivedPoint]:
        """The latest points of a metric, of those streams that have (at least) these attributes."""
        wanted = (attributes or {}).items()
        return [point for point in self.metrics if point.name == name and wanted <= point.attributes.items()]

    def total(self, name: str, attributes: Mapping[str, Any] | None = None) -> float:
        """Sums a metric over processes and streams (a histogram's count); 0 when there is none."""
        points = self.metric(name, attributes)
        deltas = [point for point in points if point.temporality == "DELTA"]
        if deltas:
            raise AssertionError(f"the latest points of {name} can't be summed: they are deltas: {deltas}")
        return sum((point.value if point.count is None else point.count) or 0 for point in points)

    def clear(self) -> None:
        """Forgets all that has arrived; how requests are answered stays as it is."""
        with self._changed:
            for collected in (self._spans, self._points, self._logs, self._requests, self._faults):
                collected.clear()
            self._refused = 0

    # --- waiting --------------------------------------------------------------------------------

    def wait_for(self, predicate: Callable[[OtlpReceiver], T], timeout: float = DEADLINE) -> T:
        """Waits until the predicate is true of this receiver, and returns what it returned."""
        with self._changed:
            result = self._changed.wait_for(lambda: predicate(self), timeout)
            if not result:
                raise AssertionError(f"not within {timeout} s; what has arrived:\n{self.summary()}")
            return result

    def never(self, predicate: Callable[[OtlpReceiver], object], within: float) -> None:
        """Watches for a while that the predicate does not become true."""
        with self._changed:
            if self._changed.wait_for(lambda: predicate(self), within):
                raise AssertionError(f"it should not have; what has arrived:\n{self.summary()}")

    def summary(self) -> str:
        """What has arrived, for a reader."""
        with self._changed:
            spans = Counter(f"{span.name} {span.kind} {span.status}" for span in self._spans)
            metrics = Counter(f"{point.name} {point.kind}" for point in self._points.values())
            logs = Counter(f"{log.severity} {log.event_name or log.body!r}"[:160] for log in self._logs)
            requests = Counter(f"{request.protocol} {request.signal}" for request in self._requests)
            lines = [
                *_section("spans", spans),
                *_section("metrics (streams)", metrics),
                *_section("logs", logs),
                *_section("requests", requests),
            ]
            if self._refused or self._held:
                lines.append(f"refused: {self._refused}, hanging: {self._held}")
            lines.extend(f"FAULT: {fault}" for fault in self._faults)
            return "\n".join(lines)

    # --- misbehaving ----------------------------------------------------------------------------

    def accept(self) -> None:
        """Answers as a healthy backend does."""
        self._rejected = (0, "")
        self._answer_with(_ACCEPT)

    def reject(self, count: int, message: str = "") -> None:
        """Answers as a backend that accepts a request but for its first items: OTLP's ``partial_success``."""
        self._rejected = (count, message)
        self._answer_with(_ACCEPT)

    def refuse(self, status: int = _UNAVAILABLE) -> None:
        """Answers with this HTTP status; with gRPC's UNAVAILABLE or what corresponds to the status."""
        if not 300 <= status <= 599:
            raise ValueError(f"{status} refuses nothing")
        self._answer_with(status)

    def hang(self) -> None:
        """Takes requests and does not answer them. ``accept`` or ``refuse`` ends that.

        What hung is then refused and not collected, so that a sender which tries again delivers once.
        """
        self._answer_with(_HANG)

    def unplug(self) -> None:
        """Listens no more: connections are refused. ``plug`` ends that, on the same ports."""
        mode = self._mode
        self.refuse()  # releases what hangs, else its threads could not be joined
        if self._grpc:
            self._grpc.close()
        if self._http:
            self._http.close()
        self._answer_with(mode)

    def plug(self) -> None:
        """Listens, and answers as it did before."""
        self._grpc = GrpcServer(self._receive, self._grpc.port if self._grpc else 0)
        self._http = HttpServer(self._receive, self._http.port if self._http else 0)

    def _answer_with(self, mode: int) -> None:
        with self._changed:
            self._mode = mode
            self._changed.notify_all()

    def _receive(self, request: ReceivedRequest) -> tuple[int, bytes]:
        """Called by the servers' threads for each request."""
        with self._changed:
            self._requests.append(request)
            if self._mode == _HANG:
                return self._hold(), b""
            status, answer = self._mode, b""
            if status == _ACCEPT:
                status, answer = self._collect(request)
            self._refused += status != _ACCEPT
            self._changed.notify_all()
            return status, answer

    def _hold(self) -> int:
        self._held += 1
        self._changed.notify_all()
        self._changed.wait_for(lambda: self._mode != _HANG)
        self._held -= 1
        self._refused += 1
        self._changed.notify_all()
        return _UNAVAILABLE

    def _collect(self, request: ReceivedRequest) -> tuple[int, bytes]:
        try:
            decoded = decode(request.signal, request.body)
        except ValueError as error:
            self._faults.append(str(error))
            return 400, b""
        count, message = self._rejected
        rejected = min(count, len(decoded))
        for item in decoded[rejected:]:
            if isinstance(item, ReceivedSpan):
                self._spans.append(item)
            elif isinstance(item, ReceivedLog):
                self._logs.append(item)
            else:
                self._collect_point(item)
        return _ACCEPT, encoded_response(request.signal, rejected, message)

    def _collect_point(self, point: ReceivedPoint) -> None:
        # Requests of several exporter threads may overtake each other.
        known = self._points.get(point.stream)
        if known is None or known.time_ns <= point.time_ns:
            self._points[point.stream] = point


def _section(title: str, counts: Counter[str]) -> list[str]:
    lines = [f"{title}: {counts.total() or 'none'}"]
    lines.extend(f"  {count} x {what}" for what, count in sorted(counts.items())[:_SHOWN])
    if len(counts) > _SHOWN:
        lines.append(f"  and {len(counts) - _SHOWN} more")
    return lines
