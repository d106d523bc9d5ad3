"""An application's telemetry: instrumented by its import, and one span, one measurement and one log record a call."""

from __future__ import annotations

import signal
import time

from opentelemetry import metrics, trace
from opentelemetry._logs import SeverityNumber, get_logger

from multiagents_otel import auto_instrument

LAST = "last"

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in a background job of a shell
    signal.signal(signal.SIGINT, signal.default_int_handler)
auto_instrument()
_counter = metrics.get_meter("app").create_counter(LAST)


def record() -> None:
    """Record what has to arrive, whatever ends the process afterwards."""
    with trace.get_tracer("app").start_as_current_span(LAST):
        _counter.add(1)
        get_logger("app").emit(timestamp=time.time_ns(), severity_number=SeverityNumber.INFO, body=LAST)
