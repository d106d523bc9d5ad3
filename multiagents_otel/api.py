"""``auto_instrument()`` and ``flush()``. The import of this module loads nothing of OpenTelemetry."""

from __future__ import annotations

import sys
from functools import cache
from typing import Any

from multiagents_otel.config import OptionArguments, Options, describe_options
from multiagents_otel.config.environment import corrected_environment
from multiagents_otel.configuration import Configuration, configuration_in_force
from multiagents_otel.monitoring import Monitoring

if sys.version_info >= (3, 11):
    from typing import Unpack
else:
    from typing_extensions import Unpack


@describe_options
def auto_instrument(
    *,
    config: Configuration | None = None,
    tracer_provider: Any = None,
    meter_provider: Any = None,
    logger_provider: Any = None,
    **options: Unpack[OptionArguments],
) -> Monitoring:
    """Instrument multiagents-framework, and build what is needed to export its telemetry.

    Call it once, at the start of each process, before or after the framework is imported; a second call
    only prepares the end of the process again, where a fork or a server has undone that. Providers that are set
    already are used; those that are missing are built: OTLP exporters, over HTTP unless set otherwise
    (``OTEL_EXPORTER_OTLP_*``, ``OTEL_{TRACES,METRICS,LOGS}_EXPORTER``),
    ``OTEL_SERVICE_NAME``, ``OTEL_RESOURCE_ATTRIBUTES``, ``OTEL_TRACES_SAMPLER`` and the SDK's other variables,
    or all of it from ``OTEL_CONFIG_FILE``. Metrics leave every 30 s (``OTEL_METRIC_EXPORT_INTERVAL``, ms). At
    exit, on SIGTERM and on SIGHUP what is queued is flushed, which waits for backends for at most ``flush_timeout``
    seconds.

    Args:
        config: a :class:`MonitoringConfig`, a dict of its sections, or the path of a YAML or JSON file; by default
            the file that the variable ``MULTIAGENTS_OTEL_CONFIG`` names.
        tracer_provider: used instead of the global one.
        meter_provider: used instead of the global one.
        logger_provider: used instead of the global one.
        **options: the options of :class:`multiagents_otel.config.OptionArguments`; they win over the environment and
            over ``config``. ``help()`` lists them.

    Returns:
        What the configuration has turned on: ``event_monitor``, ``worker_monitor``, ``metrics_collector`` (None each
        if it is not on) and ``logger``; without a configuration there is nothing on. A second call returns the same.

    Raises:
        OptionError: an unknown option, which is a TypeError too, or a wrong value. Nothing has been changed then.
        TypeError: a hook that is no plain function.
        OSError: the file can't be read.
    """
    configuration = configuration_in_force(config)
    chosen = Options(options, configured=configuration.settings())
    providers = {"traces": tracer_provider, "metrics": meter_provider, "logs": logger_provider}
    active: Monitoring = _implementation().activate(chosen, providers, configuration, config is not None)
    return active


def flush(timeout: float | None = None) -> bool:
    """Export what is queued now: spans, metrics, logs, and the lines of our loggers' files.

    It blocks: in a coroutine, use ``await asyncio.to_thread(flush)``. It may be called from any thread, in a signal
    handler and in a forked child, and never raises. All signals leave side by side. In a thread that exports, which is
    where ``redact_callback`` and metric callbacks are called, it flushes nothing and returns False at once.

    Args:
        timeout: seconds to wait for backends, a finite number, 0 or more; by default the option ``flush_timeout``,
            which also takes the place of any other value, with one warning. The time for collecting and encoding
            does not count.

    Returns:
        True if all has left, also where there is nothing: before ``auto_instrument()`` without providers, and after
        the end has begun. False if a backend did not take something in time, or if the exporters of a signal could
        not be made, so that it can't be exported.
    """
    try:
        flushed: bool = _implementation().flush(timeout)
    except (
        ImportError
    ):  # first called when the interpreter can import nothing: MultiAgentsInstrumentor may have recorded
        return False
    return flushed


@cache
def _implementation() -> Any:
    """Return ``multiagents_otel.auto``, which stays at hand when the interpreter can import nothing any more."""
    with corrected_environment():  # the import of OpenTelemetry itself raises for some values
        from multiagents_otel import auto
    return auto
