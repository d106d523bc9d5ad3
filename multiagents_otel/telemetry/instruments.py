"""The OpenTelemetry instruments: counters read the ledger, gauges what is there, histograms are recorded."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.context import Context
from opentelemetry.metrics import CallbackOptions, Meter, MeterProvider, NoOpMeter, Observation, get_meter_provider

from multiagents_otel import semconv
from multiagents_otel.core.forking import on_fork
from multiagents_otel.semconv import Instrument
from multiagents_otel.telemetry.bulk_histogram import BulkHistograms, Series
from multiagents_otel.telemetry.by_identity import ByIdentity
from multiagents_otel.telemetry.ledger import Key, Ledger
from multiagents_otel.telemetry.providers import from_provider
from multiagents_otel.version import __version__

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics.view import View

Gauge = Callable[[], Mapping[Key, int]]
Reading = Callable[[], Mapping[Key, float]]

_FIRST_OBSERVED: Final = next(row for row in semconv.INSTRUMENTS if row.kind != semconv.HISTOGRAM)


class Instruments:
    """The instruments of one MeterProvider.

    They outlive ``uninstrument()``, since OpenTelemetry cannot remove an instrument: while
    ``active`` is false they observe nothing, but that nothing of the framework is watched in this process, and a later
    ``instrument()`` takes the same ones up again rather than making streams of the same name twice.

    Attributes:
        ledger: the sums that counters and gauges read.
        meter: what they, and a user's own metrics, are made with.
        gauges: by instrument name, what gives a gauge's values at collection.
        readings: the same for what is read and not counted, gauge or counter: what it does not give is unknown, not 0.
        active: whether callbacks observe anything.
        enabled: False for a provider that records nothing: none set yet, a no-op one, ``OTEL_SDK_DISABLED``.
    """

    def __init__(self, meter: Meter, *, messaging: bool) -> None:
        self.ledger = Ledger()
        on_fork(in_child=self.ledger.after_fork)
        self.gauges: dict[str, Gauge] = {}
        self.readings: dict[str, Reading] = {}
        self.active = True
        self.enabled = False
        self.messaging = False
        self.meter = meter
        self._attributes: defaultdict[str, dict[Key, dict[str, str]]] = defaultdict(dict)
        self._histograms: dict[str, Any] = {}
        self._series: dict[tuple[str, Key], Series] = {}
        self._bulk = BulkHistograms()
        on_fork(in_child=self._bulk.after_fork)
        self._create(semconv.INSTRUMENTS)
        if messaging:
            self.add_messaging()

    def settle(self) -> bool:
        """See whether the provider records anything; True once that is known for good."""
        # The API's proxy for a provider that nobody has set yet keeps the real meter, or None, here.
        meter = getattr(self.meter, "_real_meter", self.meter)
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
            series = self._series.get((row.name, key)) or self._add_series(row, key)
            if series is not None:
                series.record(value, context)
            else:
                self._histograms[row.name].record(value, self._attribute_set(row, key), context)

    def _add_series(self, row: Instrument, key: Key) -> Series | None:
        series = self._bulk.series(self._histograms[row.name], self._attribute_set(row, key))
        return self._series.setdefault((row.name, key), series) if series is not None else None

    def _attribute_set(self, row: Instrument, key: Key) -> dict[str, str]:
        # The same dict for the same key: the SDK reads it and keeps no reference that it changes.
        known = self._attributes[row.name]
        attributes = known.get(key)
        if attributes is None:
            attributes = {name: value for name, value in zip(row.attributes, key, strict=True) if value}
            if len(known) < 2_000:
                known[key] = attributes
        return attributes

    def _create(self, rows: Sequence[Instrument]) -> None:
        meter = self.meter
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
            if row is _FIRST_OBSERVED:
                self._bulk.fold()  # the SDK calls all callbacks before it collects any instrument
            if not self.active:
                # The histograms go on being exported, as they are: the process must not seem to have fallen silent.
                return [Observation(0)] if row is semconv.PROCESS_RUNNING else []
            values: Mapping[Key, float]
            if (reading := self.readings.get(row.name)) is not None:
                values = reading()
            elif row.kind in (semconv.GAUGE, semconv.UP_DOWN_COUNTER):
                gauge = self.gauges.get(row.name)
                values = gauge() if gauge else {}
                if row is not semconv.WORKER_HEALTH:  # there 0 is a verdict, and a worker that is gone has none
                    # A gauge's series stays at 0 once it has been seen or registered.
                    values = {**dict.fromkeys(self.ledger.sums(row), 0), **values}
                    self.ledger.register(row, values)
            else:
                values = self.ledger.sums(row)
            return [Observation(value, self._attribute_set(row, key)) for key, value in values.items()]

        return observe


_by_provider: ByIdentity[Instruments] = ByIdentity()


def instruments_of(provider: MeterProvider | None, *, messaging: bool = False) -> Instruments:
    """The instruments of a provider (None: the global one), made at the first call, active from then on."""
    provider = provider if provider is not None else get_meter_provider()
    instruments = _by_provider.get(provider)
    if instruments is None:
        scope = (semconv.SCOPE_NAME, __version__, semconv.SCHEMA_URL)
        instruments = from_provider(
            provider,
            "metrics",
            lambda: Instruments(provider.get_meter(*scope), messaging=messaging),
            lambda: Instruments(NoOpMeter(*scope), messaging=messaging),
        )
        _by_provider.set(provider, instruments)
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

    rows = (*semconv.INSTRUMENTS, *semconv.MESSAGING_INSTRUMENTS)
    boundaries = {row.name: row.boundaries for row in rows if row.kind == semconv.HISTOGRAM}
    boundaries[semconv.custom_metric("*")] = semconv.CUSTOM_BOUNDARIES
    return [
        View(instrument_name=name, meter_name=semconv.SCOPE_NAME, aggregation=ExplicitBucketHistogramAggregation(of))
        for name, of in boundaries.items()
        if name.startswith(prefixes)
    ]
