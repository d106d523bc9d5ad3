"""``process.*`` and ``cpython.gc.*``, by opentelemetry-instrumentation-system-metrics where that is installed."""

from __future__ import annotations

import logging
import os
from fnmatch import fnmatchcase
from typing import Any, Final

import psutil

_logger = logging.getLogger("multiagents_otel")

_EXCLUDED: Final = "OTEL_PYTHON_SYSTEM_METRICS_EXCLUDED_METRICS"
DISABLED: Final = "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS"

_CONFIG: Final[dict[str, list[str] | None]] = {
    "process.context_switches": ["involuntary", "voluntary"],
    "process.cpu.time": ["user", "system"],
    "process.cpu.utilization": ["user", "system"],
    "process.memory.usage": None,
    "process.memory.virtual": None,
    "process.open_file_descriptor.count": None,
    "process.thread.count": None,
    "cpython.gc.collections": None,
    "cpython.gc.collected_objects": None,
    "cpython.gc.uncollectable_objects": None,
}
"""A collection costs 0.3 ms. The package's whole set takes 12 to 16 ms, most of it for the machine's own figures."""


def record_process_metrics(meter_provider: Any = None) -> bool:
    """Have the process told of; whether that could be done.

    Not if the package is not installed, if the user has turned it on already, or has disabled it
    (``OTEL_PYTHON_DISABLED_INSTRUMENTATIONS``). ``OTEL_PYTHON_SYSTEM_METRICS_EXCLUDED_METRICS`` holds.
    """
    if "system_metrics" in words_of(DISABLED):
        return False
    try:
        from opentelemetry.instrumentation.system_metrics import SystemMetricsInstrumentor
    except ImportError:
        return False
    users = SystemMetricsInstrumentor._instance
    if users is not None and users.is_instrumented_by_opentelemetry:
        return False

    class ProcessMetrics(SystemMetricsInstrumentor):  # type: ignore[misc, unused-ignore]
        """One of our own: the package's is one object, and whoever constructs it anew changes what it records."""

        _instance = None
        _process: psutil.Process | None = None

        @property
        def _proc(self) -> psutil.Process:
            # The package takes note of the process once; a forked child is another one.
            if self._process is None or self._process.pid != os.getpid():
                self._process = psutil.Process()
                self._process.cpu_percent()  # the first answer is always 0.0
            return self._process

        @_proc.setter
        def _proc(self, _process: psutil.Process) -> None: ...

    excluded = words_of(_EXCLUDED)
    config = {name: of for name, of in _CONFIG.items() if not any(fnmatchcase(name, glob) for glob in excluded)}
    try:
        ProcessMetrics(config=config).instrument(meter_provider=meter_provider)
    except Exception as error:
        _logger.warning("the process' own metrics could not be turned on: %s: %s", type(error).__name__, error)
        return False
    return True


def words_of(variable: str) -> list[str]:
    return [word for part in os.environ.get(variable, "").split(",") if (word := part.strip())]
