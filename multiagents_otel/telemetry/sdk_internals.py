"""Internals of the OpenTelemetry SDK that this package relies on for speed, each with the check for its presence.

Light spans (``light_span.py``) and bulk histograms (``bulk_histogram.py``) are the only users. Where a check fails,
the SDK has changed: the public API is used instead, slower and equal in what it exports, and one warning says so.
"""

from __future__ import annotations

import importlib
import inspect
import logging
import sys
from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple

from opentelemetry.sdk import version as sdk_version
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, SynchronousMultiSpanProcessor
from opentelemetry.sdk.trace import Tracer as SdkTracer
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.sampling import Decision, ParentBased, StaticSampler

from multiagents_otel.core.trace_context import SPAN_CONTEXT_IS_TUPLE

_logger = logging.getLogger("multiagents_otel")

_reported: set[str] = set()


class Internal(NamedTuple):
    """One internal of the SDK.

    Attributes:
        name: its path in the SDK, for the warning.
        present: whether the SDK still has it, as far as a name can show; behaviour is compared elsewhere.
    """

    name: str
    present: Callable[[Any], bool]


def first_missing(internals: Iterable[Internal], subject: Any) -> str | None:
    """Find the first internal that an object of the SDK lacks."""
    for internal in internals:
        try:
            if not internal.present(subject):
                return internal.name
        except Exception:
            return internal.name
    return None


def report(part: str, name: str, way: str) -> None:
    """Warn once in a process that the SDK has changed, and which public way is used instead."""
    if part not in _reported:
        _reported.add(part)
        _logger.warning(
            "opentelemetry-sdk %s differs from the versions that multiagents-otel knows (%s): %s. Nothing is lost, but "
            "it costs more CPU; update multiagents-otel",
            sdk_version.__version__,
            name,
            way,
        )


def is_known(
    part: str, internals: Iterable[Internal], subject: Any, compare: Callable[[], str | None], way: str
) -> bool:
    """Whether the SDK is as this package knows it; a difference is reported once.

    Args:
        part: the part of the SDK that is compared.
        internals: what is relied on.
        subject: the object of the SDK that has them.
        compare: names the first difference in behaviour; called where no internal is missing.
        way: the public way that is used instead, for the report.
    """
    moved = first_missing(internals, subject)
    if moved is None:
        try:
            moved = compare()
        except Exception as error:
            moved = f"{type(error).__name__}: {error}"
    if moved is not None:
        report(part, moved, way)
    return moved is None


def has_own_code(owner: type, *names: str) -> bool:
    """Whether methods of an SDK class are the SDK's own, and not replaced by a patch of another library."""
    for name in names:
        code = getattr(inspect.getattr_static(owner, name, None), "__code__", None)
        if code is None or code.co_filename != sys.modules[owner.__module__].__file__:
            return False
    return True


# --- spans --------------------------------------------------------------------------------------

# fmt: off
_INIT: Final = frozenset({
    "self", "name", "context", "parent", "sampler", "trace_config", "resource", "attributes", "events", "links", "kind",
    "span_processor", "instrumentation_info", "record_exception", "set_status_on_exception", "limits",
    "instrumentation_scope",
})
# fmt: on
_INIT_OPTIONAL: Final = frozenset({"record_end_metrics"})


def _init_is_known(_tracer: Any) -> bool:
    parameters = set(inspect.signature(Span.__init__).parameters)
    return parameters >= _INIT and parameters - _INIT <= _INIT_OPTIONAL


def _tracer_has(name: str) -> Internal:
    return Internal(f"opentelemetry.sdk.trace.Tracer.{name}", lambda tracer: hasattr(tracer, name))


def _span_has(name: str, field: str) -> Internal:
    """A field that a span's public property reads."""

    def present(_tracer: Any) -> bool:
        value = object()
        span = object.__new__(ReadableSpan)
        vars(span)[field] = value
        return getattr(span, name) is value

    return Internal(f"opentelemetry.sdk.trace.ReadableSpan.{field}", present)


SPAN_INTERNALS: Final = (
    Internal("opentelemetry.trace.SpanContext", lambda _tracer: SPAN_CONTEXT_IS_TUPLE),
    Internal("opentelemetry.sdk.trace.Span.__init__", _init_is_known),
    Internal("opentelemetry.sdk.trace.Span._lock", lambda _tracer: "_lock" in Span.end.__code__.co_names),
    _tracer_has("sampler"),
    _tracer_has("id_generator"),
    _tracer_has("resource"),
    _tracer_has("span_processor"),
    _tracer_has("instrumentation_info"),
    _tracer_has("_instrumentation_scope"),
    _tracer_has("_span_limits"),
    Internal(
        "opentelemetry.sdk.trace.SpanLimits",
        lambda tracer: (
            hasattr(tracer._span_limits, "max_span_attributes")
            and hasattr(tracer._span_limits, "max_span_attribute_length")
        ),
    ),
    _span_has("name", "_name"),
    _span_has("context", "_context"),
    _span_has("parent", "_parent"),
    _span_has("kind", "_kind"),
    _span_has("status", "_status"),
    _span_has("start_time", "_start_time"),
    _span_has("end_time", "_end_time"),
    _span_has("resource", "_resource"),
    _span_has("instrumentation_scope", "_instrumentation_scope"),
)
"""What light spans rely on; :func:`multiagents_otel.telemetry.light_span.differs` compares the behaviour."""


def calls_on_ending() -> bool:
    """Whether this SDK calls ``_on_ending`` of a span processor, as the newest do."""
    return "_on_ending" in Span.end.__code__.co_names and hasattr(SpanProcessor, "_on_ending")


_PROCESSORS: Final = (SpanProcessor, BatchSpanProcessor, SimpleSpanProcessor)


def is_multi_processor(processor: Any) -> bool:
    """Whether a provider's processor is the SDK's own that calls others, which its ``_span_processors`` has."""
    return (
        type(processor) is SynchronousMultiSpanProcessor
        and type(getattr(processor, "_span_processors", None)) is tuple
        and has_own_code(SynchronousMultiSpanProcessor, "on_start", "on_end", "add_span_processor")
    )


def ignores_starts(processor: Any) -> bool:
    """Whether a span processor has the ``on_start`` of a class of the SDK that does nothing there."""
    return _has_method_of(_PROCESSORS, processor, "on_start")


def ignores_endings(processor: Any) -> bool:
    """Whether a span processor has the ``_on_ending`` of a class of the SDK that does nothing there."""
    return _has_method_of(_PROCESSORS, processor, "_on_ending")


def _has_method_of(classes: Iterable[type], subject: Any, name: str) -> bool:
    """Whether an object's method is that of one of these classes, and empty there."""
    method = getattr(type(subject), name, None)
    return (
        name not in getattr(subject, "__dict__", {})
        and any(method is vars(cls).get(name) and has_own_code(cls, name) for cls in classes)
        and method is not None
        and not method.__code__.co_names
    )


def follows_sampled_parents(sampler: Any) -> bool:
    """Whether a sampler samples every span below a sampled one, and adds nothing to it."""
    if type(sampler) is StaticSampler:
        return getattr(sampler, "_decision", None) is Decision.RECORD_AND_SAMPLE and has_own_code(
            StaticSampler, "should_sample"
        )
    if not isinstance(sampler, ParentBased) or type(sampler).should_sample is not ParentBased.should_sample:
        return False
    below = (getattr(sampler, f"_{place}_parent_sampled", None) for place in ("remote", "local"))
    return (
        "should_sample" not in vars(sampler)
        and has_own_code(ParentBased, "should_sample")
        and all(type(each) is StaticSampler and follows_sampled_parents(each) for each in below)
    )


def is_sdk_tracer(tracer: Any) -> bool:
    """Whether a tracer is the SDK's own: no subclass, and no method that another library has replaced."""
    return (
        type(tracer) is SdkTracer
        and "start_span" not in vars(tracer)
        and has_own_code(SdkTracer, "start_span")
        and has_own_code(Span, "__init__", "start", "end", "set_attribute", "set_attributes", "_readable_span")
    )


def tracer_is_enabled(tracer: Any) -> Callable[[], bool] | None:
    """Get the check of a tracer that can be disabled (newest SDKs)."""
    enabled: Callable[[], bool] | None = getattr(tracer, "_is_enabled", None)
    return enabled


def measures_itself(tracer: Any) -> bool:
    """Whether the SDK counts its own spans in metrics (newest SDKs, off by default)."""
    metrics = getattr(tracer, "_tracer_metrics", None)
    return metrics is not None and type(metrics).__name__ != "NoOpTracerMetrics"


# --- histograms -----------------------------------------------------------------------------------

_METRICS: Final = "opentelemetry.sdk.metrics._internal"


class MetricClasses(NamedTuple):
    """The SDK's classes that bulk histograms know."""

    explicit_bucket: type
    drop: type
    aligned_reservoir: type
    trace_based_filter: type
    always_on_filter: type
    always_off_filter: type


_CLASSES: Final = MetricClasses(*(  # type: ignore[arg-type]
    f"{_METRICS}.{name}"
    for name in (
        "aggregation._ExplicitBucketHistogramAggregation",
        "aggregation._DropAggregation",
        "exemplar.AlignedHistogramBucketExemplarReservoir",
        "exemplar.TraceBasedExemplarFilter",
        "exemplar.AlwaysOnExemplarFilter",
        "exemplar.AlwaysOffExemplarFilter",
    )
))  # fmt: skip


def _load(path: Any) -> Any:
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def metric_classes() -> MetricClasses:
    """Get the SDK's classes.

    Raises:
        Exception: one of them is elsewhere.
    """
    return MetricClasses(*map(_load, _CLASSES))


def _class(path: Any) -> Internal:
    return Internal(path, lambda _histogram: isinstance(_load(path), type))


def _histogram_has(*path: str) -> Internal:
    def present(histogram: Any) -> bool:
        for name in path:
            histogram = getattr(histogram, name)
        return True

    return Internal(f"opentelemetry.sdk.metrics.Histogram.{'.'.join(path)}", present)


def _aggregation_has(name: str) -> Internal:
    def present(_histogram: Any) -> bool:
        explicit_bucket, temporality = (
            _load(_CLASSES.explicit_bucket),
            _load(f"{_METRICS}.aggregation.AggregationTemporality"),
        )
        reservoir = _load(_CLASSES.aligned_reservoir)
        return hasattr(explicit_bucket({}, temporality.DELTA, 0, reservoir, boundaries=(1.0,)), name)

    return Internal(f"{_CLASSES.explicit_bucket}.{name}", present)


METRIC_INTERNALS: Final = (
    *map(_class, _CLASSES),
    _histogram_has("_measurement_consumer"),
    _histogram_has("_measurement_consumer", "_reader_storages"),
    _histogram_has("_measurement_consumer", "_sdk_config", "exemplar_filter"),
    *map(
        _aggregation_has,
        ("_attributes", "_boundaries", "_lock", "_max", "_min", "_record_min_max", "_reservoir", "_sum", "_value"),
    ),
)
"""What bulk histograms rely on; :func:`multiagents_otel.telemetry.bulk_histogram.differs` compares the behaviour.

It covers what only exists once a value is recorded: ``_instrument_view_instrument_matches`` of a reader's storage,
and ``_aggregation`` and ``_attributes_aggregation`` of its matches.
"""


def is_sdk_histogram(histogram: Any) -> bool:
    """Whether a histogram is the SDK's own: no subclass of others, and no method that another library has replaced."""
    metrics = sys.modules.get("opentelemetry.sdk.metrics")  # not imported for this: it takes long
    kind: Any = getattr(metrics, "Histogram", None)
    return (
        kind is not None
        and isinstance(histogram, kind)
        and type(histogram).__module__ == kind.__module__
        and "record" not in vars(histogram)
        and has_own_code(kind, "record")
    )


def instrument_is_enabled(histogram: Any) -> Callable[[], bool] | None:
    """Get the check of an instrument that can be disabled (newest SDKs)."""
    enabled: Callable[[], bool] | None = getattr(histogram, "_is_enabled", None)
    return enabled
