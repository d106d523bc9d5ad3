"""A user's own metrics: a histogram each, ``multiagents.custom.<name>``, in bounded numbers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum
from typing import Any, Final

from opentelemetry.metrics import Meter, MeterProvider, get_meter_provider

from multiagents_otel import semconv
from multiagents_otel.core import scope
from multiagents_otel.processing.redaction import REDACTED, scrub
from multiagents_otel.telemetry.event import utf8
from multiagents_otel.version import __version__

NAMES: Final = 100
"""Names of metrics in a process."""
_TAGS: Final = 10
_VALUES: Final = 200
_TAG_SETS: Final = 1_000
_ALL_TAG_SETS: Final = 10_000
_LONGEST: Final = 200

_UNFIT: Final = re.compile(r"[^A-Za-z0-9_.\-/]")
_NOT_EXPORTED: Final = frozenset({"hour"})
"""The guide tags errors with the hour: every hour would make new series, and the time is in the series anyway."""
_NO_LABEL: Final = re.compile(r"[^A-Za-z0-9_]")
_NO_NAME: Final = re.compile(r"[^a-z0-9]+")
_TAKEN: Final = frozenset({"le", "quantile", "job", "instance"})
"""Labels that Prometheus sets itself: a second one of the name costs the whole scrape or the series."""


class _Custom:
    """One metric of a user's own: its instrument, and the tags that it has been recorded with."""

    def __init__(self, instrument: Any) -> None:
        self.instrument = instrument
        self.sets: dict[Any, dict[str, str]] = {}
        self._values: dict[str, dict[str, str]] = {}

    def attributes(self, tags: Mapping[Any, Any]) -> dict[str, str]:
        """The tags as attributes, each within its own bounds."""
        attributes: dict[str, str] = {}
        labels = set()
        for tag, value in tags.items():
            key = _key(tag)
            label = _NO_LABEL.sub("_", key)
            if key in _NOT_EXPORTED or not label.strip("_") or label in labels:
                continue
            labels.add(label)
            values = self._values.get(key)
            if values is None:
                if len(self._values) >= _TAGS:
                    continue
                values = self._values[key] = {}
            text = _text(value)
            told = values.get(text)
            if told is None:
                if len(values) >= _VALUES:
                    told = semconv.OTHER
                else:  # a secret shows by the name of its tag, or by its own shape
                    told = values[text] = REDACTED if REDACTED in scrub(f"{key}={text}") else text
            attributes[key] = told
        return attributes


class CustomMetrics:
    """The instruments of the users' own metrics.

    They are made where the instrumentation in force makes its own, else by the global MeterProvider, whenever the
    application sets it.
    """

    def __init__(self) -> None:
        self._provider: MeterProvider | None = None
        self._begin(None)

    def _begin(self, meter: Meter | None) -> None:
        self._meter = meter
        self._metrics: dict[str, _Custom] = {}
        self._by_name: dict[str, _Custom] = {}
        self._sets = 0

    def record(self, name: str, value: float, tags: Mapping[Any, Any]) -> None:
        """Record one value. A histogram has no values below 0 by OpenTelemetry's definition: those are left out.

        Args:
            name: what is not allowed in an instrument's name becomes ``_``; the 101st name and all after it are
                ``_other``. Exported in lower case.
            value: a finite number.
            tags: at most 10 names a metric, 200 values each, 1,000 combinations; then ``_OTHER``. A name that
                Prometheus sets itself (``le``, ``job``) becomes ``exported_<name>``.
        """
        if value < 0:
            return
        meter = self._current()
        metric = self._by_name.get(name)
        if metric is None:
            metric = self._metric(meter, name)
        metric.instrument.record(value, self._attributes(metric, tags) if tags else {})

    def _current(self) -> Meter:
        meter = scope.meter()
        if meter is None:
            provider = get_meter_provider()
            if self._meter is not None and self._provider is provider:
                return self._meter
            meter = provider.get_meter(semconv.SCOPE_NAME, __version__, semconv.SCHEMA_URL)
            self._provider = provider
            self._begin(meter)
        elif meter is not self._meter:
            self._provider = None
            self._begin(meter)
        return meter

    def _metric(self, meter: Meter, name: str) -> _Custom:
        label = _UNFIT.sub("_", name)[:_LONGEST].lower() or "_"  # the SDK exports names in lower case
        series = _NO_NAME.sub("_", label)  # names that Prometheus would take for one are one
        if series not in self._metrics and len(self._metrics) >= NAMES:
            label = series = semconv.OTHER.lower()
        metric = self._metrics.get(series)
        if metric is None:
            instrument = meter.create_histogram(
                semconv.custom_metric(label),
                description="A metric of the application's own.",
                explicit_bucket_boundaries_advisory=semconv.CUSTOM_BOUNDARIES,
            )
            metric = self._metrics[series] = _Custom(instrument)
        if len(self._by_name) < 10 * NAMES:
            self._by_name[name] = metric
        return metric

    def _attributes(self, metric: _Custom, tags: Mapping[Any, Any]) -> dict[str, str]:
        attributes = metric.attributes(tags)
        key = frozenset(attributes.items())
        known = metric.sets.get(key)
        if known is not None:
            return known
        if len(metric.sets) >= _TAG_SETS or self._sets >= _ALL_TAG_SETS:
            return dict.fromkeys(attributes, semconv.OTHER)
        self._sets += 1
        metric.sets[key] = attributes
        return attributes


def _key(tag: object) -> str:
    """Make the name of an attribute: a name that Prometheus sets itself gets the prefix that Prometheus gives it."""
    key = _text(tag)
    if key.startswith("__"):
        key = f"_{key.lstrip('_')}"
    return f"exported_{key}" if key in _TAKEN else key


def _text(value: object) -> str:
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, str):
        return utf8(value[:_LONGEST])
    if value is None or isinstance(value, (bool, int, float)):
        return str(value)[:_LONGEST]
    return type(value).__name__  # its text is the application's to make


CUSTOM: Final = CustomMetrics()
"""Those of this process."""
