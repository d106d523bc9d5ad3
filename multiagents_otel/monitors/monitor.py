"""What every monitor is: a span processor, an observer of the core's operations, and harmless."""

from __future__ import annotations

import functools
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar

from opentelemetry.sdk.trace import SpanProcessor

from multiagents_otel import framework_interfaces
from multiagents_otel.core.forking import on_fork
from multiagents_otel.core.scope import FRAME
from multiagents_otel.monitors.windows import Windows
from multiagents_otel.telemetry.observers import OBSERVERS, Observer

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.metrics.view import View
    from opentelemetry.sdk.trace import ReadableSpan, Span

_BATCH: Final = 64

P = ParamSpec("P")
T = TypeVar("T")


def harmless(otherwise: Callable[[], Any]) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """A method that never raises: it returns ``otherwise()`` then, and the fault is counted."""

    def decorate(method: Callable[P, T]) -> Callable[P, T]:
        @functools.wraps(method)
        def call(*args: P.args, **kwargs: P.kwargs) -> T:
            try:
                return method(*args, **kwargs)
            except Exception:
                OBSERVERS.guard.caught("monitor")
                told: T = otherwise()
                return told

        return call

    return decorate


def harmless_async(otherwise: Callable[[], Any]) -> Callable[[Callable[P, Awaitable[T]]], Callable[P, Awaitable[T]]]:
    """The same for a coroutine function."""

    def decorate(method: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
        @functools.wraps(method)
        async def call(*args: P.args, **kwargs: P.kwargs) -> T:
            try:
                return await method(*args, **kwargs)
            except Exception:
                OBSERVERS.guard.caught("monitor")
                told: T = otherwise()
                return told

        return call

    return decorate


def nothing() -> None:
    """What a method that returns nothing returns otherwise."""


def in_operation(event_id: object) -> bool:
    """Whether an operation of this event is under way here: it tells of the event itself."""
    frame = FRAME.get()
    sending, delivery, execution = frame.sending, frame.delivery, frame.execution
    return bool(
        (sending is not None and sending.event.id == event_id)
        or (execution is not None and execution.delivery.message.id == event_id)
        or (delivery is not None and not delivery.deferred and delivery.message.id == event_id)
    )


class Monitor(Observer, SpanProcessor):
    """Hears of the operations of this process, whether or not their spans are recorded.

    Attached to a TracerProvider it also counts the spans of the contract's shape that somebody else made; those
    of operations have been told of already.

    Attributes:
        logger: the user's, of the framework's ``ILogger`` kind, or None.
    """

    _instruments: tuple[str, ...] = ()
    """Prefixes of the names of the instruments whose figures these are."""

    _windows: Windows

    def __init__(self, logger: Any) -> None:
        self.logger = logger
        # Reentrant: a log handler or a signal's may ask in the midst of the thread's own booking.
        self._lock = threading.RLock()
        self._backlog: deque[tuple[float, Callable[..., object], tuple[Any, ...]]] = deque()
        self._running = False
        framework_interfaces.serve()
        OBSERVERS.add(self)
        on_fork(in_child=self._in_forked_child)

    def _in_forked_child(self) -> None:
        self._lock = threading.RLock()
        self._backlog.clear()
        self._reset()  # what has been counted is the parent's

    def _reset(self) -> None:
        """Begin anew: nothing has been seen yet."""

    def _later(self, call: Callable[..., object], *args: Any) -> None:
        """Have something booked, as of now, with what comes next.

        In the midst of the application's work a call finds nothing of its own in the processor's caches; many in a
        row cost a third. Whoever asks has all of it booked first. No lock is waited for.
        """
        backlog = self._backlog
        backlog.append((time.monotonic(), call, args))
        if len(backlog) >= _BATCH and self._lock.acquire(blocking=False):
            try:
                self._catch_up()
            finally:
                self._lock.release()

    def _catch_up(self) -> None:
        """Book what is waiting; the lock is held."""
        backlog, windows = self._backlog, self._windows
        while backlog:
            now, call, args = backlog.popleft()
            try:
                windows.advance(now)
                call(*args)
            except Exception:
                OBSERVERS.guard.caught("monitor")

    @contextmanager
    def _caught_up(self) -> Iterator[None]:
        """The lock, with everything booked up to now."""
        with self._lock:
            self._catch_up()
            self._windows.advance(time.monotonic())
            yield

    async def start(self) -> None:
        """Begin; nothing has to be started, and calling it twice does no harm."""
        self._running = True

    async def stop(self) -> None:
        """End; what was counted can still be asked for."""
        self._running = False

    def views(self) -> list[View]:
        """The contract's histogram buckets for the instruments of these figures, as OpenTelemetry Views."""
        from multiagents_otel.telemetry.instruments import views

        return views(self._instruments)

    # --- the span processor --------------------------------------------------------------------

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Nothing: a span counts when it ends."""

    @harmless(nothing)
    def on_end(self, span: ReadableSpan) -> None:
        """Count a span of the contract's shape, but for those whose operation has told."""
        if not OBSERVERS.has_told(span.instrumentation_scope):
            self._count_span(span)

    def _count_span(self, span: ReadableSpan) -> None:
        """A span that no operation of this process has told of."""

    def shutdown(self) -> None:
        """Nothing has to be closed."""

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """True: nothing is ever queued."""
        return True
