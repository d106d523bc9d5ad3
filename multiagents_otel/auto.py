"""Activation of the instrumentation, and the flush of what it has recorded."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from typing import Any

from multiagents_otel import monitoring, pipeline, semconv
from multiagents_otel.config import Options, file_of_environment
from multiagents_otel.config.environment import corrected_environment
from multiagents_otel.configuration import MonitoringConfig, configuration_in_force
from multiagents_otel.core.exporting import EXPORTING
from multiagents_otel.diagnostics import report
from multiagents_otel.ending import ENDING
from multiagents_otel.instrumentation import PROVIDERS, MultiAgentsInstrumentor
from multiagents_otel.instrumentation.process_metrics import DISABLED, record_process_metrics, words_of
from multiagents_otel.lifecycle import Lifecycle, resource_of
from multiagents_otel.logs.writer import flush_writers
from multiagents_otel.monitoring import Monitoring

_logger = logging.getLogger("multiagents_otel")

_lifecycle: Lifecycle | None = None
_bystander: Lifecycle | None = None
_lock = threading.RLock()


def activate(chosen: Options, providers: Mapping[str, Any], config: MonitoringConfig, config_given: bool) -> Monitoring:
    """Instrument the framework, build the missing providers, and prepare the end of the process.

    Args:
        chosen: the resolved options.
        providers: the providers of the call by signal; None where the call has none.
        config: the resolved configuration.
        config_given: whether the call has a configuration.
    """
    with _lock, corrected_environment():
        return _activate(chosen, providers, config, config_given)


def _activate(
    chosen: Options, providers: Mapping[str, Any], config: MonitoringConfig, config_given: bool
) -> Monitoring:
    instrumentor, on = MultiAgentsInstrumentor(), monitoring.current()
    was_active, first = instrumentor.is_instrumented_by_opentelemetry, _lifecycle is None
    if was_active and (chosen.arguments or (config_given and on and on.asked)):
        _logger.warning("multiagents_otel is active already: the options of this call are not used")
    # OTEL_CONFIG_FILE may activate it before we do, with the options that it holds.
    with instrumentor.asking(config, chosen):
        if first:
            there = {signal: provider for signal, provider in providers.items() if provider is not None}
            _watch(pipeline.ensure(there), _flush_timeout(chosen))
        else:
            ENDING.arm()  # a fork, or a server, may have taken away what was ready for the end
        if not instrumentor.is_instrumented_by_opentelemetry:
            instrumentor.instrument(**{name: providers[signal] for signal, name in PROVIDERS.items()})
    active = MultiAgentsInstrumentor._active
    if active and not (was_active and config_given):
        config = active.config
    if first and config.worker_monitoring.track_resource_usage:
        record_process_metrics(providers["metrics"])
    if on is None or not was_active or (config_given and not on.asked):
        on = monitoring.turn_on(config, config_given or file_of_environment() is not None)
    return on


def _flush_timeout(chosen: Options | None = None) -> float:
    active = MultiAgentsInstrumentor._active
    options = active.telemetry.options if active else chosen or Options(configured=configuration_in_force().settings())
    return options.flush_timeout


def flush(timeout: float | None = None) -> bool:
    """Implement :func:`multiagents_otel.flush`."""
    global _bystander
    if EXPORTING.depth:
        return False  # this thread would wait for itself
    try:
        lifecycle = _lifecycle
        if lifecycle is None:  # MultiAgentsInstrumentor().instrument() leaves the end to the application
            lifecycle = _bystander = _bystander or Lifecycle({}, (), _flush_timeout())
            active = MultiAgentsInstrumentor._active
            with corrected_environment():
                lifecycle.providers = {**pipeline.present(), **(active.providers if active else {})}
        written = flush_writers()
        return lifecycle.flush(timeout) and written
    except Exception:
        _logger.debug("telemetry could not be flushed", exc_info=True)
        return False


def instrument_event_bus(bus: Any, system: str | None = None) -> None:
    """Instrument an event bus of your own; see :meth:`MultiAgentsInstrumentor.instrument_event_bus`."""
    MultiAgentsInstrumentor().instrument_event_bus(bus, system)


def after_launcher() -> None:
    """Called by ``opentelemetry-instrument`` when every instrumentor is in place, whoever built the providers."""
    instrumentor = MultiAgentsInstrumentor()
    if not instrumentor.is_instrumented_by_opentelemetry and instrumentor.lacks_metadata and not _disabled():
        instrumentor.instrument()  # the launcher asks for the framework's metadata
    if not instrumentor.is_instrumented_by_opentelemetry:
        return
    if _lifecycle is None:
        _watch(pipeline.Pipeline(pipeline.present(), frozenset()), _flush_timeout())
    active = MultiAgentsInstrumentor._active
    if active and monitoring.current() is None:
        monitoring.turn_on(active.config, file_of_environment() is not None)
    report.install()  # opentelemetry-instrument keeps the doctor's own sitecustomize from being run


def _disabled() -> bool:
    """Whether the user has turned this instrumentation off for launchers."""
    return not {"*", "multiagents"}.isdisjoint(words_of(DISABLED))


def _watch(used: pipeline.Pipeline, flush_timeout: float) -> None:
    """See to the end of the process, and tell the user once of what will not work."""
    global _lifecycle
    _lifecycle = Lifecycle(used.providers, used.built, flush_timeout, used.failed)
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
