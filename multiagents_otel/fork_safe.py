"""What keeps a pipeline at work in a forked child: connections, threads, locks and sums of its own."""

from __future__ import annotations

import _thread
import logging
import math
import threading
from collections.abc import Callable
from typing import Any, Final

from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

from multiagents_otel.core.exporting import EXPORTING
from multiagents_otel.core.forking import on_fork

_logger = logging.getLogger("multiagents_otel")

_FORK_WAITS_SECONDS: Final = 0.25


class ProcessExporter:
    """An exporter that a forked child makes anew, with connections of its own.

    A fork waits until an export that is under way is done, for a moment (it may hang): a child of a fork in the
    midst of one gets the locks of gRPC, or of HTTP's connection pool, as they were, and gRPC then aborts it.
    """

    def __init__(self, factory: Callable[[], Any]) -> None:
        self._factory = factory
        self._exporter: Any = factory()
        self._parents: list[Any] = []
        self._exporting = threading.Lock()
        self._holder: int | None = None  # the thread whose fork holds the lock
        on_fork(before=self._before_fork, in_parent=self._after_fork, in_child=self._in_child)

    def export(self, *args: Any, **kwargs: Any) -> Any:
        """Export as the exporter does."""
        with self._exporting:
            return self.__getattr__("export")(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        if name in ("_exporter", "_factory"):  # while it is copied or unpickled
            raise AttributeError(name)
        if self._exporter is None:
            self._exporter = self._factory()
        return getattr(self._exporter, name)

    def _before_fork(self) -> None:
        if self._exporting.acquire(timeout=_FORK_WAITS_SECONDS):
            self._holder = _thread.get_ident()

    def _after_fork(self) -> None:
        if self._holder == _thread.get_ident():  # another thread may fork at the same time
            self._holder = None
            self._exporting.release()

    def _in_child(self) -> None:
        held, self._holder = self._holder == _thread.get_ident(), None
        self._exporting = threading.Lock()
        exporter, self._exporter = self._exporter, None
        if held and ".proto.http" in type(exporter).__module__:
            exporter.shutdown()  # closes this process's copies of the sockets: the connections stay the parent's
        else:
            self._parents.append(exporter)  # kept, for its end would close what is still the parent's


class ForkSafeReader(PeriodicExportingMetricReader):
    """A periodic reader whose thread starts anew in a forked child, whatever its parent's one held.

    Collecting has no deadline: on a busy machine it would lose all metrics of the export. The exporter has its own.
    """

    def _set_collect_callback(self, func: Any) -> None:  # type: ignore[misc]
        def collect(reader: Any, **_deadline: Any) -> Any:
            try:
                with EXPORTING:
                    return func(reader, timeout_millis=math.inf)
            except BaseException as error:
                if isinstance(error, Exception) or threading.current_thread() is not self._daemon_thread:
                    raise
                # The SDK catches an Exception of each callback; the thread would die of anything else.
                _logger.warning(
                    "the metrics of one interval are lost: a metric callback raised %s", type(error).__name__
                )
                return None

        super()._set_collect_callback(func and collect)  # type: ignore[arg-type]

    def _at_fork_reinit(self) -> None:
        self._shutdown_event = threading.Event()
        super()._at_fork_reinit()  # type: ignore[no-untyped-call]


def forget_measurements(provider: Any) -> None:
    """In a forked child: what the parent measured is the parent's, and so are the locks that its threads held."""
    consumer = getattr(provider, "_measurement_consumer", None)
    if consumer is None:
        return
    try:
        consumer._lock = threading.Lock()
        for reader, storage in consumer._reader_storages.items():
            reader._export_lock = threading.Lock()
            storage._lock = threading.RLock()
            storage._instrument_view_instrument_matches.clear()
    except Exception:
        _logger.debug("the metrics of a provider could not be renewed after a fork", exc_info=True)
