"""``auto_instrument()``: the one line."""

from __future__ import annotations

import logging
import threading
from typing import Any

from multiagents_otel import pipeline, semconv
from multiagents_otel.config import Options
from multiagents_otel.instrumentation import MultiAgentsInstrumentor
from multiagents_otel.instrumentation.process_metrics import record_process_metrics
from multiagents_otel.lifecycle import Lifecycle, resource_of

_logger = logging.getLogger("multiagents_otel")

_lifecycle: Lifecycle | None = None
_lock = threading.RLock()


def auto_instrument(
    *,
    tracer_provider: Any = None,
    meter_provider: Any = None,
    logger_provider: Any = None,
    **options: Any,
) -> None:
    """Instrument multiagents-framework, and build what is needed to export its telemetry.

    Call it once, at the start of each process, before or after the framework is imported; a second call
    does nothing. Providers that are set already are used; those that are missing are built: OTLP exporters, over
    HTTP unless told otherwise (``OTEL_EXPORTER_OTLP_*``, ``OTEL_{TRACES,METRICS,LOGS}_EXPORTER``),
    ``OTEL_SERVICE_NAME``, ``OTEL_RESOURCE_ATTRIBUTES``, ``OTEL_TRACES_SAMPLER`` and the SDK's other variables,
    or all of it from ``OTEL_CONFIG_FILE``. Metrics leave every 30 s (``OTEL_METRIC_EXPORT_INTERVAL``, ms). At
    exit and on SIGTERM what is queued is flushed, for at most ``flush_timeout`` seconds.

    Args:
        tracer_provider: used instead of the global one.
        meter_provider: used instead of the global one.
        logger_provider: used instead of the global one.
        **options: any option of :data:`multiagents_otel.config.OPTIONS` by its name.

    Raises:
        OptionError: an unknown option or a wrong value. Nothing has been changed then.
        TypeError: a hook that is no plain function.
    """
    chosen = Options(options)
    with _lock:
        _activate(chosen, options, tracer_provider, meter_provider, logger_provider)


def _activate(
    chosen: Options, options: dict[str, Any], tracer_provider: Any, meter_provider: Any, logger_provider: Any
) -> None:
    instrumentor = MultiAgentsInstrumentor()
    active = instrumentor.is_instrumented_by_opentelemetry
    if active and options:
        _logger.warning("multiagents_otel is active already: the options of this call are not used")
    if _lifecycle is None:
        given = {"traces": tracer_provider, "metrics": meter_provider, "logs": logger_provider}
        given = {signal: provider for signal, provider in given.items() if provider is not None}
        _watch(pipeline.ensure(given), chosen.flush_timeout)
        record_process_metrics(meter_provider)
    # OTEL_CONFIG_FILE may have activated it just now, with the options that it holds.
    if not instrumentor.is_instrumented_by_opentelemetry:
        instrumentor.instrument(
            tracer_provider=tracer_provider, meter_provider=meter_provider, logger_provider=logger_provider, **options
        )


def instrument_event_bus(bus: Any, system: str | None = None) -> None:
    """Instrument an event bus of your own; see :meth:`MultiAgentsInstrumentor.instrument_event_bus`."""
    MultiAgentsInstrumentor().instrument_event_bus(bus, system)


def after_launcher() -> None:
    """Called by ``opentelemetry-instrument`` when every instrumentor is in place, whoever built the providers."""
    if MultiAgentsInstrumentor().is_instrumented_by_opentelemetry and _lifecycle is None:
        _watch(pipeline.Pipeline(pipeline.present(), frozenset()), Options().flush_timeout)


def _watch(used: pipeline.Pipeline, flush_timeout: float) -> None:
    """See to the end of the process, and tell the user once of what will not work."""
    global _lifecycle
    owned = [used.providers[signal] for signal in used.built]
    _lifecycle = Lifecycle(used.providers.values(), owned, flush_timeout)
    _lifecycle.install()
    if not pipeline.exports_anything(used):
        _logger.warning("nothing will be exported: %s", pipeline.why_nothing())
    for signal, provider in used.providers.items():
        resource = resource_of(provider)
        if signal not in used.built and resource and semconv.SERVICE_INSTANCE_ID not in resource.attributes:
            _logger.warning(
                "the %s provider's resource has no %s: processes of one service will overwrite each other's series; "
                "add one, a UUID for each process",
                signal,
                semconv.SERVICE_INSTANCE_ID,
            )
            break
