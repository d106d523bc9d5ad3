"""The providers that are built where the application has none: OTLP by default, ``OTEL_*`` respected.

The SDK's own configurator is not used but for ``OTEL_CONFIG_FILE``: it cannot build only what is missing,
and its metric reader stops for good in a child that is forked while metrics are collected.
"""

from __future__ import annotations

import logging
import os
import threading
import uuid
import weakref
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from typing import Any, Final, NamedTuple

from opentelemetry import metrics, trace
from opentelemetry._logs import NoOpLoggerProvider, get_logger_provider, set_logger_provider
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from multiagents_otel import semconv
from multiagents_otel.version import __version__

_logger = logging.getLogger("multiagents_otel")

_EXPORT_INTERVAL_MS: Final = 30_000.0
_PROTOCOLS: Final = {"grpc": "otlp_proto_grpc", "http/protobuf": "otlp_proto_http"}


class Pipeline(NamedTuple):
    """The providers in use, and which of them were built here (and are ours to shut down)."""

    providers: Mapping[str, Any]
    built: frozenset[str]


def present() -> dict[str, Any]:
    """The providers that somebody has set globally, by signal."""
    found: dict[str, Any] = {}
    if not isinstance(provider := trace.get_tracer_provider(), trace.ProxyTracerProvider):
        found["traces"] = provider
    # The API's proxies for meters and loggers have no public class: what is not one of them was set.
    if not type(meters := metrics.get_meter_provider()).__name__.startswith("_Proxy"):
        found["metrics"] = meters
    if type(logs := get_logger_provider()).__name__ != "ProxyLoggerProvider" and not isinstance(
        logs, NoOpLoggerProvider
    ):
        found["logs"] = logs
    return found


def ensure(given: Mapping[str, Any], resource_attributes: Mapping[str, str] | None = None) -> Pipeline:
    """Build and set the providers that are missing, beside those that are given or set globally.

    ``OTEL_CONFIG_FILE`` is left to opentelemetry-configuration, whole. A part that can't be built (an exporter
    that isn't installed) is logged as one error, and its signal is not exported.
    """
    there = {**present(), **given}
    if not there and os.environ.get("OTEL_CONFIG_FILE"):
        from opentelemetry.sdk._configuration import _OTelSDKConfigurator

        class Configurator(_OTelSDKConfigurator):
            pass

        Configurator().configure()  # type: ignore[no-untyped-call]
        configured = present()
        return Pipeline(configured, frozenset(configured))
    builders: dict[str, Callable[[Resource], Any]] = {"traces": _traces, "metrics": _metrics, "logs": _logs}
    missing = [signal for signal in builders if signal not in there]
    built = {}
    if missing:
        resource = _resource(resource_attributes or {})
        for signal in missing:
            try:
                built[signal] = builders[signal](resource)
            except Exception as exception:
                _logger.error("the %s pipeline could not be built, they are not exported: %s", signal, exception)
    return Pipeline({**there, **built}, frozenset(built))


def exports_anything(pipeline: Pipeline) -> bool:
    """Whether any signal of what was built here has an exporter."""
    return any(_exporter_names(signal) for signal in pipeline.built)


def _resource(attributes: Mapping[str, str]) -> Resource:
    # Resource.create() lets its argument win over OTEL_RESOURCE_ATTRIBUTES; the user's own must win over ours.
    user = Resource.create()
    ours = {
        semconv.SERVICE_INSTANCE_ID: str(uuid.uuid4()),
        semconv.TELEMETRY_DISTRO_NAME: semconv.DISTRO_NAME,
        semconv.TELEMETRY_DISTRO_VERSION: __version__,
        **attributes,
    }
    return user.merge(Resource({key: value for key, value in ours.items() if key not in user.attributes}))


# --- exporters ------------------------------------------------------------------------------


def _exporter_names(signal: str) -> list[str]:
    configured = os.environ.get(f"OTEL_{signal.upper()}_EXPORTER", "").strip() or "otlp"
    return [name for part in configured.split(",") if (name := part.strip()) and name.lower() != "none"]


def _exporters(signal: str) -> list[Any]:
    return [_load(f"opentelemetry_{signal}_exporter", _entry_name(signal, name))() for name in _exporter_names(signal)]


def _entry_name(signal: str, name: str) -> str:
    if name != "otlp":
        return name
    protocol = (
        os.environ.get(f"OTEL_EXPORTER_OTLP_{signal.upper()}_PROTOCOL")
        or os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL")
        or "grpc"
    ).strip()
    if protocol not in _PROTOCOLS:
        raise ValueError(f"OTLP protocol {protocol!r} is not one of {', '.join(_PROTOCOLS)}")
    return _PROTOCOLS[protocol]


def _load(group: str, name: str) -> Any:
    found = next(iter(entry_points(group=group, name=name)), None)
    if found is None:
        known = sorted({entry.name for entry in entry_points(group=group)})
        raise ValueError(f"no {name!r} among the installed {group}s: {', '.join(known)}")
    return found.load()


# --- providers ------------------------------------------------------------------------------


def _traces(resource: Resource) -> TracerProvider:
    # shutdown_on_exit=False here and below: the end of the process is lifecycle's, bounded in time.
    generator = os.environ.get("OTEL_PYTHON_ID_GENERATOR", "random").strip() or "random"
    provider = TracerProvider(
        resource=resource,
        sampler=_sampler(),
        id_generator=_load("opentelemetry_id_generator", generator)(),
        shutdown_on_exit=False,
    )
    for exporter in _exporters("traces"):
        provider.add_span_processor(BatchSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    return provider


def _sampler() -> Any:
    name = os.environ.get("OTEL_TRACES_SAMPLER", "").strip()
    if not name or not (found := next(iter(entry_points(group="opentelemetry_traces_sampler", name=name)), None)):
        return None  # the SDK's own names and its default
    return found.load()(os.environ.get("OTEL_TRACES_SAMPLER_ARG"))


def _metrics(resource: Resource) -> MeterProvider:
    readers: list[MetricReader] = [
        exporter if isinstance(exporter, MetricReader) else ForkSafeReader(exporter)
        for exporter in _exporters("metrics")
    ]
    provider = MeterProvider(metric_readers=readers, resource=resource, shutdown_on_exit=False)
    metrics.set_meter_provider(provider)
    return provider


def _logs(resource: Resource) -> LoggerProvider:
    provider = LoggerProvider(resource=resource, shutdown_on_exit=False)
    for exporter in _exporters("logs"):
        provider.add_log_record_processor(BatchLogRecordProcessor(exporter))
    set_logger_provider(provider)
    return provider


class ForkSafeReader(PeriodicExportingMetricReader):
    """A periodic reader that goes on in a forked child.

    A fork while metrics are collected would leave the SDK's locks held in the child, for ever. So a fork
    waits until a collection that is under way is done, but not for its export, which may hang.
    """

    def __init__(self, exporter: Any) -> None:
        self._collecting = threading.RLock()
        interval = None if os.environ.get("OTEL_METRIC_EXPORT_INTERVAL", "").strip() else _EXPORT_INTERVAL_MS
        # Before the base class: hooks after a fork run in the order of their registration, and its own one
        # starts the child's thread, which collects.
        if hasattr(os, "register_at_fork"):
            before, parent, child = map(_weakly, (self._before_fork, self._after_fork, self._in_child))
            os.register_at_fork(before=before, after_in_parent=parent, after_in_child=child)
        super().__init__(exporter, export_interval_millis=interval)

    # Final in the base class, which leaves no other place that a collection begins and ends in.
    def collect(self, timeout_millis: float = 10_000) -> None:  # type: ignore[misc]
        with self._collecting:
            super().collect(timeout_millis)

    def _receive_metrics(self, metrics_data: Any, timeout_millis: float = 10_000, **kwargs: Any) -> None:
        self._collecting.release()
        try:
            super()._receive_metrics(metrics_data, timeout_millis, **kwargs)
        finally:
            self._collecting.acquire()

    def _before_fork(self) -> None:
        self._held = self._collecting.acquire(timeout=1.0)

    def _after_fork(self) -> None:
        if self._held:
            self._collecting.release()

    def _in_child(self) -> None:
        self._collecting = threading.RLock()
        self._export_lock = threading.Lock()


def _weakly(method: Callable[[], None]) -> Callable[[], None]:
    """A bound method's call that does not keep its object alive: a hook for forks can't be taken back."""
    weak = weakref.WeakMethod(method)

    def call() -> None:
        if (alive := weak()) is not None:
            alive()

    return call
