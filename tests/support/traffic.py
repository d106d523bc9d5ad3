"""Transactions and log records as OTLP bytes, made once and stamped with ids: thousands a second from one thread."""

from __future__ import annotations

import http.client
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, SeverityNumber
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from multiagents_otel import semconv
from tests.support.deadline import DEADLINE
from tests.support.expected import message_attributes, step_attributes, worker_attributes
from tests.support.otlp import Attributes, Signal

_TRACE: Final = bytes(range(0xE0, 0xF0))  # stands where a trace id goes; no other field of ours holds these bytes
_START: Final = 1_767_225_600_000_000_000
_MS: Final = 1_000_000
_LEN: Final = 2  # protobuf's wire type of what follows its own length
_TRANSACTION: Final = "5bd6a0de-1f0e-4a8e-9a5b-0d6f2f7a3c11"


class Shape:
    """A transaction's spans. The first line of the tree is the root, which leaves last, as the instrumentation's does.

    ``attributes`` and ``milliseconds`` (5 for each span that is not named) go by the spans' names. Span ids are numbers
    from ``first`` on; ``parent`` is the number of a span outside.
    """

    def __init__(
        self,
        tree: str,
        *,
        attributes: Mapping[str, Attributes] | None = None,
        milliseconds: Mapping[str, int] | None = None,
        first: int = 1,
        parent: int = 0,
    ) -> None:
        made = list(_spans(tree, attributes or {}, milliseconds or {}, first, parent))
        self.names: Final = tuple(span.name for span in reversed(made))
        self._templates: Final = [_field(2, span.SerializeToString()) for span in reversed(made)]
        self.size: Final = sum(map(len, self._templates))

    def __len__(self) -> int:
        return len(self._templates)

    def stamped(self, trace_id: bytes) -> list[bytes]:
        """Its spans in the order in which they end, each ready for ``traces``."""
        return [template.replace(_TRACE, trace_id) for template in self._templates]


def trace_ids(seed: int) -> Iterator[bytes]:
    """The same random trace ids each time."""
    pick = random.Random(seed)
    while True:
        yield pick.randbytes(16)


def traces(spans: Iterable[bytes], service: str = "orders") -> bytes:
    """An export request of these spans, all of one process."""
    return _request(spans, service)


def logs(records: Iterable[bytes], service: str = "orders") -> bytes:
    """An export request of these log records, all of one process."""
    return _request(records, service)


def log_record(trace_id: bytes, body: str) -> bytes:
    """A record ready for ``logs``; an empty trace id is allowed."""
    record = LogRecord(
        time_unix_nano=_START,
        severity_number=SeverityNumber.SEVERITY_NUMBER_INFO,
        body=AnyValue(string_value=body),
        trace_id=trace_id,
    )
    return _field(2, record.SerializeToString())


class Client:
    """An OTLP/HTTP client on one kept connection, that neither queues nor tries again."""

    def __init__(self, port: int, timeout: float = DEADLINE) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)

    def send(self, signal: Signal, body: bytes) -> int:
        """The answer's status. OSError or HTTPException: there was no answer."""
        try:
            self._connection.request("POST", f"/v1/{signal}", body, {"Content-Type": "application/x-protobuf"})
            answer = self._connection.getresponse()
            answer.read()
            return answer.status
        except (OSError, http.client.HTTPException):
            self.close()
            raise

    def close(self) -> None:
        self._connection.close()


def batches(spans: Sequence[bytes], size: int) -> Iterator[bytes]:
    """Export requests of this many spans each."""
    for start in range(0, len(spans), size):
        yield traces(spans[start : start + size])


# --- protobuf ---------------------------------------------------------------------------------------


def _request(items: Iterable[bytes], service: str) -> bytes:
    """Traces and logs have the same field numbers: resource 1, scope 2; scope 1, items 2."""
    resource = Resource(attributes=_pairs({"service.name": service, "service.instance.id": f"{service}-1"}))
    scope = InstrumentationScope(name=semconv.SCOPE_NAME, version="1")
    scoped = _field(1, scope.SerializeToString()) + b"".join(items)
    return _field(1, _field(1, resource.SerializeToString()) + _field(2, scoped))


def _field(number: int, content: bytes) -> bytes:
    length = len(content)
    encoded = bytearray([number << 3 | _LEN])
    while length > 0x7F:
        encoded.append(length & 0x7F | 0x80)
        length >>= 7
    encoded.append(length)
    return bytes(encoded) + content


def _pairs(attributes: Attributes) -> list[KeyValue]:
    return [KeyValue(key=key, value=_value(value)) for key, value in attributes.items()]


def _value(value: Any) -> AnyValue:
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, int):
        return AnyValue(int_value=value)
    if isinstance(value, float):
        return AnyValue(double_value=value)
    return AnyValue(string_value=str(value))


def _spans(
    tree: str, attributes: Mapping[str, Attributes], milliseconds: Mapping[str, int], first: int, parent: int
) -> Iterator[Span]:
    """One for each line ``name KIND [ERROR error.type]``, two spaces of indentation for each level."""
    above = [_span_id(parent) if parent else b""]
    for number, line in enumerate(tree.splitlines(), first):
        level = (len(line) - len(line.lstrip())) // 2
        *name_parts, kind, error = _words(line)
        name = " ".join(name_parts)
        span_id = _span_id(number)
        above[level + 1 :] = [span_id]
        told = _typical(name) | ({"error.type": error} if error else {}) | attributes.get(name, {})
        yield Span(
            trace_id=_TRACE,
            span_id=span_id,
            parent_span_id=above[level],
            name=name,
            kind=Span.SpanKind.Value(f"SPAN_KIND_{kind}"),
            start_time_unix_nano=_START,
            end_time_unix_nano=_START + milliseconds.get(name, 5) * _MS,
            attributes=_pairs(told),
            status=Status(code=Status.STATUS_CODE_ERROR, message="declined") if error else None,
            flags=1,
        )


def _span_id(number: int) -> bytes:
    return number.to_bytes(8, "big")


def _words(line: str) -> list[str]:
    """Name, kind and error type (empty where there is none) of a tree's line."""
    ok, _, error = line.strip().partition(" ERROR ")
    return [*ok.split(" "), error]


def _typical(name: str) -> Attributes:
    """As many attributes as the real span of this name has, of the same sizes."""
    common = {"workflow.transaction_id": _TRANSACTION, "workflow.id": "order_processing"}
    what, _, rest = name.partition(" ")
    if what in ("send", "process"):
        correlation = f"{_TRANSACTION}.ship"
        return common | message_attributes(
            what, f"multiagents:{rest}", _TRANSACTION, correlation, "CommandEvent", "redis"
        )
    kind, _, rest = name.partition(".")
    if kind == "step":
        return common | step_attributes(rest, f"{rest}_order", _TRANSACTION, 0.001)
    if kind == "worker":
        return common | worker_attributes("ship", rest)
    return common | {"workflow.status": "completed"} if kind == "workflow" else common
