"""OTLP JSON, as small as a test wants it: spans, log records and metrics with what is said of them, and no more."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from multiagents_otel import semconv

Data = dict[str, object]

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
OTHER_TRACE = "0af7651916cd43dd8448eb211c80319c"
TRANSACTION = "txn-1"
START = 1_767_225_600_000_000_000  # 2026-01-01 00:00:00 UTC
MS = 1_000_000

ORDERS = ("orders", "11110000-aaaa")
WORKER_A = ("workers", "aaaa0000-1111")
WORKER_B = ("workers", "bbbb0000-2222")


def value(content: object) -> Data:
    if isinstance(content, bool):
        return {"boolValue": content}
    if isinstance(content, int):
        return {"intValue": str(content)}
    if isinstance(content, float):
        return {"doubleValue": content}
    if isinstance(content, list):
        return {"arrayValue": {"values": [value(entry) for entry in content]}}
    return {"stringValue": content}


def attributes(content: Data) -> list[Data]:
    return [{"key": key, "value": value(entry)} for key, entry in content.items()]


def resource(process: tuple[str, str]) -> Data:
    return {"attributes": attributes({semconv.SERVICE_NAME: process[0], semconv.SERVICE_INSTANCE_ID: process[1]})}


@dataclass(frozen=True)
class Call:
    """A span: times in ms after the start, ids as small numbers."""

    number: int
    parent: int
    name: str
    start: float
    end: float
    process: tuple[str, str] = ORDERS
    error: str = ""
    message: str = ""
    extra: tuple[tuple[str, object], ...] = ()
    trace: str = TRACE
    transaction: str = TRANSACTION
    events: tuple[Data, ...] = ()
    links: tuple[Data, ...] = ()

    def data(self) -> Data:
        found: Data = {semconv.WORKFLOW_ID: "order", semconv.TRANSACTION_ID: self.transaction, **dict(self.extra)}
        if self.error:
            found[semconv.ERROR_TYPE] = self.error
        return {
            "traceId": self.trace,
            "spanId": f"{self.number:016x}",
            "parentSpanId": f"{self.parent:016x}" if self.parent else "",
            "name": self.name,
            "kind": 1,
            "startTimeUnixNano": str(START + int(self.start * MS)),
            "endTimeUnixNano": str(START + int(self.end * MS)),
            "attributes": attributes(found),
            "events": list(self.events),
            "links": list(self.links),
            "status": {"code": 2, "message": self.message} if self.error else {},
        }


def spans(*calls: Call) -> Data:
    return {
        "resourceSpans": [
            {"resource": resource(call.process), "scopeSpans": [{"scope": {"name": "x"}, "spans": [call.data()]}]}
            for call in calls
        ]
    }


def workflow(
    number: int = 1,
    *,
    end: float = 100,
    status: str = "completed",
    failed_step: str = "",
    process: tuple[str, str] = ORDERS,
    error: str = "",
    message: str = "",
    trace: str = TRACE,
    transaction: str = TRANSACTION,
) -> Call:
    extra: list[tuple[str, object]] = [(semconv.WORKFLOW_STATUS, status)]
    if failed_step:
        extra.append((semconv.FAILED_STEP, failed_step))
    name = semconv.workflow_span("order")
    return Call(number, 0, name, 0, end, process, error, message, tuple(extra), trace, transaction)


def exception(kind: str, message: str) -> Data:
    return {
        "name": "exception",
        "timeUnixNano": str(START),
        "attributes": attributes({"exception.type": kind, "exception.message": message}),
    }


def log(
    name: str,
    at: float = 0,
    *,
    trace: str = TRACE,
    flags: int = 1,
    transaction: str = TRANSACTION,
    extra: Data | None = None,
) -> Data:
    """A log record; its span is number 1, its time in ms after the start."""
    found: Data = {semconv.WORKFLOW_ID: "order", semconv.TRANSACTION_ID: transaction, **(extra or {})}
    record: Data = {
        "timeUnixNano": str(START + int(at * MS)),
        "severityText": "INFO",
        "eventName": name,
        "traceId": trace,
        "spanId": f"{1:016x}" if trace else "",
        "flags": flags,
        "attributes": attributes(found),
    }
    return {"resourceLogs": [{"resource": resource(ORDERS), "scopeLogs": [{"logRecords": [record]}]}]}


def metrics(*entries: Data, process: tuple[str, str] = ORDERS) -> Data:
    return {
        "resourceMetrics": [
            {"resource": resource(process), "scopeMetrics": [{"scope": {"name": "x"}, "metrics": list(entries)}]}
        ]
    }


def point(content: Data, labels: Data | None = None, *, start: int = 1, time: int = 10) -> Data:
    return {
        "attributes": attributes(labels or {}),
        "startTimeUnixNano": str(START + start),
        "timeUnixNano": str(START + time),
        **content,
    }


def total(name: str, *points: Data, unit: str = "{event}", temporality: object = 2, monotonic: bool = True) -> Data:
    return {
        "name": name,
        "unit": unit,
        "sum": {"aggregationTemporality": temporality, "isMonotonic": monotonic, "dataPoints": list(points)},
    }


def histogram(name: str, *points: Data, temporality: object = 2, unit: str = "s") -> Data:
    return {
        "name": name,
        "unit": unit,
        "histogram": {"aggregationTemporality": temporality, "dataPoints": list(points)},
    }


def many(count: int) -> list[Data]:
    return [
        spans(
            workflow(
                n, end=n, trace=f"{n:032x}", transaction=f"txn-{n:03}",
                error="ValueError" if n % 10 == 0 else "", status="failed" if n % 10 == 0 else "completed",
            )
        )
        for n in range(1, count + 1)
    ]  # fmt: skip


def write(path: Path, lines: Iterable[Data | str]) -> None:
    path.write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines))


HAPPY = [
    spans(
        workflow(),
        Call(2, 1, "step.validate", 1, 60),
        Call(3, 2, "send command.validate", 2, 4),
        Call(4, 3, "process command.validate", 10, 55, WORKER_A),
        Call(5, 4, "worker.validate", 12, 50, WORKER_A),
        Call(6, 1, "step.ship", 61, 99),
    )
]
