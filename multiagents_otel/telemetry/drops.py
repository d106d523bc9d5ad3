"""Accounting of dropped telemetry: spans, log records and data points that are recorded and never exported.

The SDK's batch processors discard the oldest item of a full queue, ignore the result of an export, and abandon what
is queued when their shutdown times out. Outlets count these losses; :data:`DROPS` holds the sums of the process.
"""

from __future__ import annotations

import itertools
import json
import logging
import threading
import weakref
from collections import Counter, deque
from collections.abc import Callable, Iterable
from typing import Any, Final

from multiagents_otel import semconv
from multiagents_otel.core.forking import on_fork
from multiagents_otel.local_log import warn_locally
from multiagents_otel.processing.redaction import scrub
from multiagents_otel.telemetry.ledger import Key

_logger = logging.getLogger("multiagents_otel")

_ITEMS: Final = {"traces": "span", "metrics": "data point", "logs": "log record"}
_QUEUE_SIZES: Final = {"traces": "OTEL_BSP_MAX_QUEUE_SIZE", "logs": "OTEL_BLRP_MAX_QUEUE_SIZE"}
_CAUSES: Final = {
    semconv.QUEUE_FULL: (
        "the queue of {capacity} was full, since more is recorded than the backend accepts. "
        "Check that the backend is reachable and fast enough, raise {queue_size}, or sample fewer traces"
    ),
    semconv.EXPORT_FAILED: (
        "the export failed{detail}. Check the address (OTEL_EXPORTER_OTLP_ENDPOINT), the credentials "
        "(OTEL_EXPORTER_OTLP_HEADERS), and the state of the backend"
    ),
    semconv.REJECTED: (
        "the backend accepted the request and rejected a part of it{detail}. "
        "Check the limits and the log of the backend"
    ),
    semconv.SHUTDOWN: (
        "still queued when the pipeline was shut down, or recorded after that. Check that the backend is reachable, "
        "and shut the provider down last"
    ),
}
_MAX_DETAIL: Final = 200


class Drops:
    """The sums of dropped items by signal and reason, and one WARNING for each; an instance for each process."""

    def __init__(self) -> None:
        self._counts: dict[Key, int] = {}
        self._reported: set[Key] = set()
        self._outlets: weakref.WeakSet[_Outlet] = weakref.WeakSet()
        # Reentrant: a signal's handler may flush while this thread counts.
        self._lock = threading.RLock()
        self._hooked = False

    def watch(self, signal: str, holder: Any) -> None:
        """Count what a batch processor, a simple processor or a metric reader of the SDK drops.

        Args:
            signal: ``traces``, ``metrics`` or ``logs``.
            holder: the object that holds the exporter, and the queue if there is one.
        """
        name = next((name for name in ("_exporter", "span_exporter") if name in vars(holder)), None)
        if name is None or isinstance(exporter := getattr(holder, name), CountingExporter):
            return
        outlet = _Outlet(self, signal)
        with self._lock:
            if not self._hooked:
                self._hooked = True
                on_fork(in_child=self._after_fork)
            for reason in outlet.attach(holder):
                self._counts.setdefault((signal, reason), 0)
            self._outlets.add(outlet)
        setattr(holder, name, CountingExporter(exporter, outlet))

    def counts(self) -> dict[Key, int]:
        """Return the sums by signal and reason, 0 for what can be counted and has not happened."""
        for outlet in list(self._outlets):
            outlet.settle()
        with self._lock:
            return self._counts.copy()

    def close(self) -> str:
        """Count what the pipelines that are being shut down still hold. Return it in words, for a report."""
        lost: Counter[str] = Counter()
        for outlet in list(self._outlets):
            if outlet.ending:
                lost[outlet.signal] += outlet.close(report=False)
        return ", ".join(_items(signal, amount) for signal, amount in lost.items() if amount)

    def add(self, signal: str, reason: str, amount: int, *, report: bool = True, **details: Any) -> None:
        """Count dropped items, and report the first ones of a signal and reason."""
        key = (signal, reason)
        with self._lock:
            self._counts[key] = self._counts.get(key, 0) + amount
            report = report and key not in self._reported
            self._reported.add(key)
        if report:
            warn_locally(
                _logger,
                "%s dropped: %s. Later losses are only counted, in %s (signal=%s, reason=%s)",
                _items(signal, amount) + (" was" if amount == 1 else " were"),
                _CAUSES[reason].format(queue_size=_QUEUE_SIZES.get(signal), **details),
                semconv.OTEL_DROPPED.name,
                signal,
                reason,
            )

    def _after_fork(self) -> None:
        self._lock = threading.RLock()
        self._counts = dict.fromkeys(self._counts, 0)
        for outlet in list(self._outlets):
            outlet.after_fork()


DROPS: Final = Drops()
"""Those of this process."""


_append: Final = deque.appendleft


class _Queue(deque[Any]):
    """A batch processor's queue that knows how many items it has discarded, without a lock for each of them.

    An item is counted as added after it is in, and as taken before it is out: a reader that asks for the sums in the
    order added, present, taken never takes an item on its way for a discarded one.
    """

    def __init__(self, items: Iterable[Any], capacity: int | None) -> None:
        super().__init__(items, capacity)
        self._add = itertools.count(len(self)).__next__  # atomic, which += is not
        self._reads = 0
        self._taken = 0

    def appendleft(self, item: Any) -> None:
        """Add the newest item."""
        _append(self, item)
        self._add()

    def pop(self) -> Any:  # type: ignore[override]
        """Take the oldest item; the SDK does so under its export lock."""
        self._taken += 1
        return super().pop()

    def clear(self) -> None:
        """Forget all items and sums: in a forked child they are the parent's."""
        super().clear()
        self._add, self._reads, self._taken = itertools.count().__next__, 0, 0

    def count_added(self) -> int:
        """Return how many items were ever added; call it under a lock."""
        self._reads += 1
        return self._add() - self._reads + 1

    def count_discarded(self, added: int) -> int:
        """Return how many of the first ``added`` items were discarded, at least."""
        return added - len(self) - self._taken


class _Outlet:
    """One exporter's way out of the process: its queue, and the batch that is being exported."""

    def __init__(self, drops: Drops, signal: str) -> None:
        self._drops = drops
        self.signal = signal
        self._queue: _Queue | None = None
        self._closed = False
        self._lock = threading.RLock()
        self.ending = False
        self.after_fork()

    def attach(self, holder: Any) -> list[str]:
        """Take over a holder's queue and its shutdown. Return the reasons that can be counted."""
        reasons = [semconv.EXPORT_FAILED, semconv.REJECTED, semconv.SHUTDOWN]
        queue = getattr(holder, "_queue", None)
        if isinstance(queue, deque):
            holder._queue = self._queue = _Queue(queue, queue.maxlen)
            reasons.append(semconv.QUEUE_FULL)
        shutdown = holder.shutdown

        def shut_down(*args: Any, **kwargs: Any) -> Any:
            self.ending = True
            if self._queue is not None:
                holder.emit = self._late
            try:
                return shutdown(*args, **kwargs)
            finally:
                self.close()

        holder.shutdown = shut_down
        return reasons

    def after_fork(self) -> None:
        """In a forked child: what is queued and exported is the parent's."""
        self._lock = threading.RLock()
        self._discarded = 0
        self._finished = 0
        self._exporting: Any = None

    def settle(self) -> None:
        """Count what the queue has discarded since the last call."""
        if (queue := self._queue) is None:
            return
        with self._lock:
            new = queue.count_discarded(queue.count_added()) - self._discarded
            if new <= 0 or self._closed:
                return
            self._discarded += new
        self._drops.add(self.signal, semconv.QUEUE_FULL, new, capacity=queue.maxlen)

    def start(self, batch: Any) -> None:
        """An export begins."""
        self.settle()
        self._exporting = batch

    def finish(self, batch: Any, failed: bool, rejected: int, detail: str) -> None:
        """An export has ended, one way or the other."""
        with self._lock:
            self._exporting = None
            if self._queue is not None:
                self._finished += len(batch)
            if self._closed:
                return
        if failed:
            self._drops.add(self.signal, semconv.EXPORT_FAILED, _size(batch), detail=detail)
        elif rejected:
            self._drops.add(self.signal, semconv.REJECTED, rejected, detail=detail)
        self.settle()

    def close(self, *, report: bool = True) -> int:
        """Count what has not left as lost at the shutdown, once. Return how much it was."""
        self.settle()
        with self._lock:
            if self._closed:
                return 0
            self._closed = True
            if self._queue is not None:
                lost = self._queue.count_added() - self._discarded - self._finished
            else:
                lost = _size(self._exporting)
        if lost > 0:
            self._drops.add(self.signal, semconv.SHUTDOWN, lost, report=report)
        return max(0, lost)

    def _late(self, item: Any) -> None:
        self._drops.add(self.signal, semconv.SHUTDOWN, 1)


def _items(signal: str, amount: int) -> str:
    return f"{amount:,} {_ITEMS[signal]}{'' if amount == 1 else 's'}"


def _size(batch: Any) -> int:
    """The items of a batch: its length, or the data points of a MetricsData."""
    if batch is None:
        return 0
    if (resources := getattr(batch, "resource_metrics", None)) is None:
        return len(batch)
    return sum(
        len(metric.data.data_points)
        for resource in resources
        for scope in resource.scope_metrics
        for metric in scope.metrics
    )


class CountingExporter:
    """Counts the batches that an exporter does not get through. Everything but ``export`` is the exporter's own."""

    def __init__(self, exporter: Any, outlet: _Outlet) -> None:
        self._exporter = exporter
        self._outlet = outlet

    def export(self, batch: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Export as the exporter does."""
        self._outlet.start(batch)
        _answer.clear()
        failed, raised = True, ""
        try:
            result = self._exporter.export(batch, *args, **kwargs)
            failed = getattr(result, "name", None) == "FAILURE" or bool(_answer.redirect)
            return result
        except BaseException as exception:
            if not isinstance(exception, Exception) and threading.current_thread() is threading.main_thread():
                raise  # the application flushes, and a signal handler or a timeout of its own ends that
            # The SDK would log a traceback for each batch, and its thread would die of what is no Exception.
            _logger.debug("an exporter raised", exc_info=True)
            raised = scrub(f"{type(exception).__name__}: {exception}")[:_MAX_DETAIL]
            return None
        finally:
            detail = raised or _answer.redirect or _answer.message
            self._outlet.finish(batch, failed, _answer.rejected, f" ({detail})" if detail else "")

    def __getattr__(self, name: str) -> Any:
        if name == "_exporter":  # while it is copied or unpickled
            raise AttributeError(name)
        return getattr(self._exporter, name)


# --- the backend's answers ------------------------------------------------------------------------


class _Answer(threading.local):
    """What the backend said to the last request of this thread, which OTLP exporters do not look at."""

    rejected = 0
    message = ""
    redirect = ""

    def clear(self) -> None:
        self.rejected, self.message, self.redirect = 0, "", ""

    def partial(self, rejected: int, message: str) -> None:
        self.rejected += max(0, rejected)
        self.message = scrub(message)[:_MAX_DETAIL]


_answer = _Answer()


def observe_answers(exporter: Any) -> Any:
    """Note the rejected items in the answers to an OTLP exporter's requests. Return the exporter.

    A redirect is noted as well: the exporter takes it for a success, or for a page that it gets in its place.
    """
    transport = getattr(getattr(exporter, "_client", None), "_transport", exporter)  # before 1.43: the exporter
    hooks = getattr(getattr(transport, "_session", None), "hooks", None)
    if isinstance(hooks, dict):
        hooks.setdefault("response", []).append(_on_response)
    elif callable(stub := getattr(exporter, "_stub", None)) and getattr(exporter, "_client", None) is not None:
        exporter._stub = lambda channel: _observe_stub(stub(channel))  # the exporter reconnects with it
        _observe_stub(exporter._client)
    return exporter


def _on_response(response: Any, *_args: Any, **_kwargs: Any) -> None:
    if 300 <= response.status_code < 400:
        _answer.redirect = f"the backend answered with a redirect, {response.status_code}"
    elif response.request.method == "POST":
        _answer.redirect = _answer.message = ""
        if not response.ok:
            _answer.message = f"the backend answered {response.status_code}"
        elif body := response.content:
            _guarded(_read, body, response.headers.get("Content-Type", ""))


def _read(body: bytes, content_type: str) -> None:
    if content_type.startswith("application/json"):
        partial = json.loads(body).get("partialSuccess", {})
        rejected = next((int(value) for name, value in partial.items() if name.startswith("rejected")), 0)
        _answer.partial(rejected, str(partial.get("errorMessage", "")))
        return
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

    # The answers of all signals have the same fields, named differently.
    _partial(ExportTraceServiceResponse.FromString(body))


def _observe_stub(client: Any) -> Any:
    export: Callable[..., Any] = client.Export

    def observed(*args: Any, **kwargs: Any) -> Any:
        try:
            response = export(*args, **kwargs)
        except Exception as exception:
            code = getattr(exception, "code", lambda: None)()
            _answer.message = f"the backend answered {getattr(code, 'name', code)}"
            raise
        _guarded(_partial, response)
        return response

    client.Export = observed
    return client


def _partial(response: Any) -> None:
    partial = response.partial_success
    rejected = next((value for field, value in partial.ListFields() if field.number == 1), 0)
    _answer.partial(rejected, partial.error_message)


def _guarded(read: Callable[..., None], *args: Any) -> None:
    try:
        read(*args)
    except Exception:
        _logger.debug("the backend's answer could not be read", exc_info=True)
