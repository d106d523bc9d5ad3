"""The providers that are built where the application has none: OTLP by default, ``OTEL_*`` respected.

The SDK's own configurator is not used but for ``OTEL_CONFIG_FILE``: it cannot build only what is missing.
"""

from __future__ import annotations

import atexit
import logging
import os
import random
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from difflib import get_close_matches
from functools import partial
from importlib.metadata import entry_points
from typing import Any, Final, NamedTuple

from opentelemetry import metrics, trace
from opentelemetry._logs import get_logger_provider, set_logger_provider
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import IdGenerator, RandomIdGenerator
from opentelemetry.sdk.trace.sampling import DEFAULT_ON, Sampler

from multiagents_otel import semconv
from multiagents_otel.config.environment import corrected_environment, protocol_of, reject
from multiagents_otel.core.forking import on_fork
from multiagents_otel.fork_safe import ForkSafeReader, ProcessExporter
from multiagents_otel.lifecycle import add_to_resource, resource_of
from multiagents_otel.processing.exporters import (
    RedactingLogExporter,
    RedactingMetricExporter,
    RedactingSpanExporter,
    exporter_holders,
    redact_exporters,
    redact_reader,
    scrub_exporter_logs,
)
from multiagents_otel.processing.redaction import in_force, scrub
from multiagents_otel.telemetry.drops import DROPS, observe_answers
from multiagents_otel.telemetry.providers import is_set
from multiagents_otel.version import __version__

_logger = logging.getLogger("multiagents_otel")

SIGNALS: Final = ("traces", "metrics", "logs")
_EXPORT_INTERVAL_MS: Final = 30_000.0
_RATIO_OR_ALWAYS: Final = ("always_on", "always_off", "traceidratio")
_SDK_SAMPLERS: Final = frozenset({*_RATIO_OR_ALWAYS, *(f"parentbased_{name}" for name in _RATIO_OR_ALWAYS)})
_PROTOCOLS: Final = {"grpc": "otlp_proto_grpc", "http/protobuf": "otlp_proto_http"}


class Pipeline(NamedTuple):
    """The providers in use, which of them were built here (and are ours to shut down), and which can't export."""

    providers: Mapping[str, Any]
    built: frozenset[str]
    failed: frozenset[str] = frozenset()


def present() -> dict[str, Any]:
    """Return the providers that are set globally, by signal; none that the environment names and that raises."""
    providers = {}
    for signal, name, get in (
        ("traces", "TRACER", trace.get_tracer_provider),
        ("metrics", "METER", metrics.get_meter_provider),
        ("logs", "LOGGER", get_logger_provider),
    ):
        try:
            provider: Any = get()
        except Exception as exception:
            variable = f"OTEL_PYTHON_{name}_PROVIDER"
            reject(variable, f"{variable} can't be used, its default (the SDK's) is used: {_reason(exception)}")
        else:
            if is_set(provider):
                providers[signal] = provider
    return providers


def ensure(given: Mapping[str, Any], resource_attributes: Mapping[str, str] | None = None) -> Pipeline:
    """Build and set the providers that are missing, beside those that are given or set globally.

    ``OTEL_CONFIG_FILE`` is left to opentelemetry-configuration, whole. A part that can't be built (an exporter
    that isn't installed) is logged as one error, and its signal is not exported: its provider has no exporter then,
    as for ``none``, because the API would otherwise load what ``OTEL_PYTHON_TRACER_PROVIDER`` names, right or wrong.
    """
    there = {**present(), **given}
    if os.environ.get("OTEL_CONFIG_FILE", "").strip():
        if not there:
            return _from_file(resource_attributes or {})
        _logger.warning(
            "OTEL_CONFIG_FILE is not used: there is a provider for %s already, and it can't build only the others",
            ", ".join(there),
        )
    missing = [signal for signal in SIGNALS if signal not in there]
    built: dict[str, Any] = {}
    failed = set()
    if missing:
        resource = _resource(resource_attributes or {})
        for signal in missing:
            try:
                built[signal] = _BUILDERS[signal](resource, exporters(signal))
                _count_drops(built[signal])
            except Exception as exception:
                failed.add(signal)
                _logger.error(
                    "%s are not exported, their pipeline could not be built: %s", signal, scrub(str(exception))
                )
        built.update(_without_exporter(failed - built.keys(), resource))
    return Pipeline({**there, **built}, frozenset(built), frozenset() if _disabled() else frozenset(failed))


def _without_exporter(signals: Iterable[str], resource: Resource) -> Iterator[tuple[str, Any]]:
    for signal in signals:
        try:
            yield signal, _BUILDERS[signal](resource, [])
        except Exception:
            _logger.debug("no provider of %s could be built", signal, exc_info=True)


def exports_anything(pipeline: Pipeline) -> bool:
    """Whether anything leaves the process, as far as can be seen: nobody knows of the application's own providers."""
    if _disabled():
        return False
    able = pipeline.providers.keys() - pipeline.failed
    if able <= pipeline.built and not os.environ.get("OTEL_CONFIG_FILE", "").strip():
        return any(map(exporter_names, able))
    return bool(able)


def exports_by_environment() -> bool:
    """Whether the environment lets anything be exported."""
    return not _disabled() and any(map(exporter_names, SIGNALS))


def why_nothing() -> str:
    """What keeps everything from being exported, in the user's own terms."""
    if _disabled():
        return "OTEL_SDK_DISABLED is true"
    if os.environ.get("OTEL_CONFIG_FILE", "").strip():
        return "OTEL_CONFIG_FILE configures no provider"
    if not any(map(exporter_names, SIGNALS)):
        return "OTEL_TRACES_EXPORTER, OTEL_METRICS_EXPORTER and OTEL_LOGS_EXPORTER are all 'none'"
    return "no exporter could be made"


def _count_drops(provider: Any) -> None:
    for signal, holder in exporter_holders(provider):
        DROPS.watch(signal, holder)


def _disabled() -> bool:
    return os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"


def _from_file(attributes: Mapping[str, str]) -> Pipeline:
    from opentelemetry.sdk._configuration import _OTelSDKConfigurator

    class Configurator(_OTelSDKConfigurator):
        pass

    failed: dict[str, Any] = {}
    try:
        Configurator().configure()  # type: ignore[no-untyped-call]
        configured = present()
    except Exception as exception:
        _logger.error("OTEL_CONFIG_FILE can't be used, nothing is exported: %s", scrub(str(exception)))
        configured = present()
        failed = dict(_without_exporter(SIGNALS - configured.keys(), _resource(attributes)))
    attributes = {semconv.SERVICE_INSTANCE_ID: str(uuid.uuid4()), **attributes}  # one for all of them
    for provider in configured.values():
        redact_exporters(provider)
        _count_drops(provider)
        _unregister_exit(provider)
        if (user := resource_of(provider)) is not None:
            add_to_resource(provider, _ours(user, attributes))
    configured.update(failed)
    return Pipeline(configured, frozenset(configured), frozenset(failed))


def _unregister_exit(provider: Any) -> None:
    """Leave the end of a provider to the lifecycle: its own shutdown at exit has no limit, and would be a second."""
    for name in ("_atexit_handler", "_at_exit_handler"):
        if (handler := getattr(provider, name, None)) is not None:
            atexit.unregister(handler)
            setattr(provider, name, None)


def _resource(attributes: Mapping[str, str]) -> Resource:
    # Resource.create() lets its argument win over OTEL_RESOURCE_ATTRIBUTES; the user's own must win over ours.
    user = Resource.create()
    # A detector may have told the command line.
    if (scrubbed := in_force().attributes(user.attributes, [])) is not None:
        user = Resource(scrubbed, user.schema_url)
    return user.merge(_ours(user, attributes))


def _ours(user: Resource, attributes: Mapping[str, str]) -> Resource:
    """What a resource of the user's lacks of ours."""
    ours = {
        semconv.SERVICE_INSTANCE_ID: str(uuid.uuid4()),
        semconv.TELEMETRY_DISTRO_NAME: semconv.DISTRO_NAME,
        semconv.TELEMETRY_DISTRO_VERSION: __version__,
        **attributes,
    }
    return Resource({key: value for key, value in ours.items() if key not in user.attributes})


# --- exporters ------------------------------------------------------------------------------


def exporter_names(signal: str) -> list[str]:
    """The exporters that the environment names for a signal; none for ``none``."""
    configured = os.environ.get(f"OTEL_{signal.upper()}_EXPORTER", "").strip() or "otlp"
    return [name for part in configured.split(",") if (name := part.strip()) and name.lower() != "none"]


def exporters(signal: str) -> list[Any]:
    """Make every exporter of a signal that can be made.

    Raises:
        ValueError: there should be some, and none can be made.
    """
    made: list[Any] = []
    faults: list[str] = []
    for name in exporter_names(signal):
        try:
            made.append(_exporter(signal, name))
        except _NotInstalledError as exception:
            faults.append(f"{exception} (OTEL_{signal.upper()}_EXPORTER)")
        except Exception as exception:
            faults.append(f"exporter {name!r}: {_reason(exception)}")
    if faults and not made:
        raise ValueError("; ".join(faults))
    for fault in faults:
        _logger.error("one of the %s exporters could not be made, only the others are used: %s", signal, fault)
    return made


def _exporter(signal: str, name: str) -> Any:
    factory = _load(f"opentelemetry_{signal}_exporter", _entry_name(signal, name))
    # A reader (Prometheus') is no exporter, and has no connection.
    if isinstance(factory, type) and issubclass(factory, MetricReader):
        return factory()
    return ProcessExporter(partial(_made, factory))


def _made(factory: Callable[[], Any]) -> Any:
    """Call an exporter's factory, which reads the environment in a forked child again."""
    with corrected_environment():
        exporter = factory()
    scrub_exporter_logs()
    return observe_answers(exporter)


def _entry_name(signal: str, name: str) -> str:
    if name != "otlp":
        return name
    protocol = protocol_of(signal, os.environ)
    if protocol not in _PROTOCOLS:
        raise ValueError(f"OTLP protocol {protocol!r} is not one of {', '.join(_PROTOCOLS)}")
    return _PROTOCOLS[protocol]


class _NotInstalledError(ValueError):
    """There is no entry point of a name."""


def _reason(exception: Exception) -> str:
    return scrub(f"{type(exception).__name__}: {exception}")


def _load(group: str, name: str) -> Any:
    found = next(iter(entry_points(group=group, name=name)), None)
    if found is None:
        known = sorted({entry.name for entry in entry_points(group=group)})
        close = get_close_matches(name.lower(), known, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise _NotInstalledError(f"no {name!r} among the installed {group}s: {hint}installed: {', '.join(known)}")
    return found.load()


# --- providers ------------------------------------------------------------------------------


class IndependentIdGenerator(RandomIdGenerator):
    """Random ids of a source of its own: an application that calls ``random.seed()`` does not repeat them."""

    def __init__(self) -> None:
        self._random = random.Random()  # noqa: S311 - ids, not secrets
        on_fork(in_child=self._random.seed)

    def generate_span_id(self) -> int:
        """A span id that is not the invalid one."""
        return self._random.getrandbits(64) or self.generate_span_id()

    def generate_trace_id(self) -> int:
        """A trace id that is not the invalid one."""
        return self._random.getrandbits(128) or self.generate_trace_id()


def _traces(resource: Resource, made: Iterable[Any]) -> TracerProvider:
    # shutdown_on_exit=False here and below: the end of the process is lifecycle's, bounded in time.
    provider = TracerProvider(
        resource=resource,
        sampler=_sampler(),
        id_generator=_id_generator(),
        shutdown_on_exit=False,
    )
    for exporter in made:
        provider.add_span_processor(BatchSpanProcessor(RedactingSpanExporter(exporter)))
    trace.set_tracer_provider(provider)
    return provider


def _sampler() -> Sampler | None:
    name = os.environ.get("OTEL_TRACES_SAMPLER", "").strip()
    if not name or name.lower() in _SDK_SAMPLERS:
        return None  # the SDK knows its own, and their argument is a number
    try:
        sampler = _load("opentelemetry_traces_sampler", name)(os.environ.get("OTEL_TRACES_SAMPLER_ARG"))
        if not isinstance(sampler, Sampler):
            raise TypeError(f"{sampler!r} is no sampler")
        return sampler
    except Exception as exception:
        # As the SDK does: a misspelt name must not lose every trace.
        _logger.warning("OTEL_TRACES_SAMPLER can't be used, parentbased_always_on is in its place: %s", exception)
        return DEFAULT_ON


def _id_generator() -> IdGenerator:
    name = os.environ.get("OTEL_PYTHON_ID_GENERATOR", "").strip()
    try:
        if name:
            generator: IdGenerator = _load("opentelemetry_id_generator", name)()
            return generator
    except Exception as exception:
        _logger.warning("OTEL_PYTHON_ID_GENERATOR can't be used, ids are random: %s", exception)
    return IndependentIdGenerator()


def _metrics(resource: Resource, made: Iterable[Any]) -> MeterProvider:
    interval = None if os.environ.get("OTEL_METRIC_EXPORT_INTERVAL", "").strip() else _EXPORT_INTERVAL_MS
    readers: list[MetricReader] = []
    for exporter in made:
        if isinstance(exporter, MetricReader):
            redact_reader(exporter)
            readers.append(exporter)
        else:
            readers.append(ForkSafeReader(RedactingMetricExporter(exporter), interval))
    provider = MeterProvider(metric_readers=readers, resource=resource, shutdown_on_exit=False)
    metrics.set_meter_provider(provider)
    return provider


def _logs(resource: Resource, made: Iterable[Any]) -> LoggerProvider:
    provider = LoggerProvider(resource=resource, shutdown_on_exit=False)
    for exporter in made:
        provider.add_log_record_processor(BatchLogRecordProcessor(RedactingLogExporter(exporter)))
    set_logger_provider(provider)
    return provider


_BUILDERS: Final[Mapping[str, Callable[[Resource, Iterable[Any]], Any]]] = {
    "traces": _traces,
    "metrics": _metrics,
    "logs": _logs,
}
