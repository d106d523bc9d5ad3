"""The OpenTelemetry instruments: counters read the ledger, gauges what is there, histograms are recorded."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from opentelemetry.context import Context
from opentelemetry.metrics import CallbackOptions, Meter, MeterProvider, NoOpMeter, Observation, get_meter_provider

from multiagents_otel import semconv
from multiagents_otel.semconv import Instrument
from multiagents_otel.telemetry.ledger import Key, Ledger
from multiagents_otel.version import __version__

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics.view import View

Gauge = Callable[[], Mapping[Key, int]]


class Instruments:
    """The instruments of one MeterProvider.

    They outlive ``uninstrument()``, since OpenTelemetry cannot remove an instrument: while
    ``active`` is false they observe nothing, and a later ``instrument()`` takes the same ones up again
    rather than making streams of the same name twice.

    Attributes:
        ledger: the sums that counters and gauges read.
        gauges: by instrument name, what gives a gauge's values at collection.
        active: whether callbacks observe anything.
        enabled: False for a provider that records nothing: none set yet, a no-op one, ``OTEL_SDK_DISABLED``.
    """

    def __init__(self, meter: Meter, *, messaging: bool) -> None:
        self.ledger = Ledger()
        self.gauges: dict[str, Gauge] = {}
        self.active = True
        self.enabled = False
        self.messaging = False
        self._meter = meter
        self._attributes: dict[tuple[str, Key], dict[str, str]] = {}
        self._histograms: dict[str, Any] = {}
        self._create(semconv.INSTRUMENTS)
        if messaging:
            self.add_messaging()

    def settle(self) -> bool:
        """See whether the provider records anything; True once that is known for good."""
        # The API's proxy for a provider that nobody has set yet keeps the real meter, or None, here.
        meter = getattr(self._meter, "_real_meter", self._meter)
        self.enabled = meter is not None and not isinstance(meter, NoOpMeter)
        return meter is not None

    def add_messaging(self) -> None:
        """Create the conventions' ``messaging.*`` instruments, once."""
        if not self.messaging:
            self.messaging = True
            self._create(semconv.MESSAGING_INSTRUMENTS)

    def record(self, row: Instrument, value: float, key: Key, context: Context) -> None:
        """Record one measurement with the context of its span, which becomes the exemplar's."""
        if self.enabled:
            self._histograms[row.name].record(value, self._attribute_set(row, key), context)

    def _attribute_set(self, row: Instrument, key: Key) -> dict[str, str]:
        # The same dict for the same key: the SDK reads it and keeps no reference that it changes.
        attributes = self._attributes.get((row.name, key))
        if attributes is None:
            attributes = {name: value for name, value in zip(row.attributes, key, strict=True) if value}
            if len(self._attributes) < 10_000:
                self._attributes[row.name, key] = attributes
        return attributes

    def _create(self, rows: Sequence[Instrument]) -> None:
        meter = self._meter
        for row in rows:
            if row.kind == semconv.HISTOGRAM:
                self._histograms[row.name] = meter.create_histogram(
                    row.name, row.unit, row.description, explicit_bucket_boundaries_advisory=row.boundaries
                )
            elif row.kind == semconv.COUNTER:
                meter.create_observable_counter(row.name, [self._callback(row)], row.unit, row.description)
            elif row.kind == semconv.UP_DOWN_COUNTER:
                meter.create_observable_up_down_counter(row.name, [self._callback(row)], row.unit, row.description)
            else:
                meter.create_observable_gauge(row.name, [self._callback(row)], row.unit, row.description)

    def _callback(self, row: Instrument) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def observe(_options: CallbackOptions) -> list[Observation]:
            if not self.active:
                return []
            if row.kind in (semconv.GAUGE, semconv.UP_DOWN_COUNTER):
                gauge = self.gauges.get(row.name)
                values: Mapping[Key, int] = gauge() if gauge else {}
                if row is not semconv.WORKER_HEALTH:  # there 0 is a verdict, and a worker that is gone has none
                    # A gauge's series stays at 0 once it has been seen or registered.
                    values = {**dict.fromkeys(self.ledger.sums(row), 0), **values}
                    self.ledger.register(row, values)
            else:
                values = self.ledger.sums(row)
            return [Observation(value, self._attribute_set(row, key)) for key, value in values.items()]

        return observe


_by_provider: weakref.WeakKeyDictionary[MeterProvider, Instruments] = weakref.WeakKeyDictionary()


def _after_fork() -> None:
    for instruments in list(_by_provider.values()):
        instruments.ledger.after_fork()


_fork_hook_registered = False


def instruments_of(provider: MeterProvider | None, *, messaging: bool = False) -> Instruments:
    """The instruments of a provider (None: the global one), made at the first call, active from then on."""
    global _fork_hook_registered
    provider = provider or get_meter_provider()
    instruments = _by_provider.get(provider)
    if instruments is None:
        meter = provider.get_meter(semconv.SCOPE_NAME, __version__, semconv.SCHEMA_URL)
        instruments = Instruments(meter, messaging=messaging)
        _by_provider[provider] = instruments
        if not _fork_hook_registered and hasattr(os, "register_at_fork"):
            _fork_hook_registered = True
            os.register_at_fork(after_in_child=_after_fork)
    if messaging:
        instruments.add_messaging()
    instruments.active = True
    return instruments


def views(prefixes: str | tuple[str, ...] = "") -> list[View]:
    """The contract's histogram buckets as Views, for a MeterProvider that you build yourself.

    They are needed only with an SDK or Views that ignore an instrument's advised boundaries; without
    them and without Views of your own the boundaries are the same.

    Args:
        prefixes: only those of instruments whose names begin so.
    """
    from opentelemetry.sdk.metrics.view import ExplicitBucketHistogramAggregation, View

    return [
        View(
            instrument_name=row.name,
            meter_name=semconv.SCOPE_NAME,
            aggregation=ExplicitBucketHistogramAggregation(row.boundaries),
        )
        for row in (*semconv.INSTRUMENTS, *semconv.MESSAGING_INSTRUMENTS)
        if row.kind == semconv.HISTOGRAM and row.name.startswith(prefixes)
    ]
