"""The points of all lines, put together to what people want to know: one value for each series.

A *stream* is what one scope of one process says of one series. Cumulative streams are worth their latest point, delta
streams the sum of their points. The streams of the processes of one service are added up, except for gauges, which
can't be.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import NamedTuple

from multiagents_otel.tools.distributions import merged
from multiagents_otel.tools.otlp_values import as_text
from multiagents_otel.tools.records import Distribution, Kind, Labels, Metric, Point, Resource, Scope
from multiagents_otel.tools.resource_names import short_names

_INSTANCE_SIZE = 8


@dataclass(frozen=True)
class Series:
    """One row. ``process`` and ``scope`` name the stream of a gauge; empty for a sum, and where nothing differs."""

    service: str
    process: str
    scope: str
    labels: Labels
    value: float | Distribution


@dataclass(frozen=True)
class Instrument:
    """All series of one instrument; ``processes`` is how many processes have reported it, by service."""

    name: str
    unit: str
    kind: Kind
    processes: Mapping[str, int]
    series: tuple[Series, ...]


class _InstrumentKey(NamedTuple):
    name: str
    unit: str
    kind: Kind


class _SeriesKey(NamedTuple):
    service: str
    labels: Labels


class _StreamKey(NamedTuple):
    resource: Resource
    scope: Scope


@dataclass
class _Stream:
    kind: Kind
    # By start time: a counter that starts anew (a restarted process without an instance id of its own) adds to what it
    # had counted before.
    latest: dict[int, Point] = field(default_factory=dict)
    deltas: list[float | Distribution] = field(default_factory=list)
    seen: set[tuple[int, int]] = field(default_factory=set)

    def add(self, point: Point, delta: bool) -> None:
        if delta:
            # Delivered at least once, to be counted once; without a time nothing says that it is the same point.
            if not point.time or (point.start, point.time) not in self.seen:
                self.seen.add((point.start, point.time))
                self.deltas = [_sum([*self.deltas, point.value])]
            return
        start = point.start if self.kind in (Kind.COUNTER, Kind.HISTOGRAM) else 0
        known = self.latest.get(start)
        if known is None or known.time <= point.time:
            self.latest[start] = point

    def value(self) -> float | Distribution:
        return _sum([*self.deltas, *(point.value for point in self.latest.values())])


class MetricStore:
    """Takes metrics as they come, and holds one point a stream."""

    def __init__(self) -> None:
        self.latest_time = 0
        self._streams: dict[_InstrumentKey, dict[_SeriesKey, dict[_StreamKey, _Stream]]] = {}
        self._processes: dict[str, set[Resource]] = {}

    def add(self, metric: Metric) -> None:
        """Take the points of one metric of one line."""
        if not metric.points:
            return
        self._processes.setdefault(metric.resource.service, set()).add(metric.resource)
        series = self._streams.setdefault(_InstrumentKey(metric.name, metric.unit, metric.kind), {})
        key = _StreamKey(metric.resource, metric.scope)
        for point in metric.points:
            streams = series.setdefault(_SeriesKey(metric.resource.service, point.labels), {})
            streams.setdefault(key, _Stream(metric.kind)).add(point, metric.delta)
            self.latest_time = max(self.latest_time, point.time)

    def keep(self, globs: Sequence[str]) -> None:
        """Drop the instruments whose name matches none of the globs."""
        for key in list(self._streams):
            if not any(fnmatchcase(key.name, glob) for glob in globs):
                del self._streams[key]

    def processes(self) -> dict[str, int]:
        """Return the number of processes that have sent metrics, by service."""
        return {service: len(resources) for service, resources in sorted(self._processes.items())}

    def instruments(self) -> list[Instrument]:
        """Return the instruments by name, their series by service and attributes."""
        return [
            Instrument(key.name, key.unit, key.kind, _count_processes(series), tuple(_rows(key.kind, series)))
            for key, series in sorted(self._streams.items(), key=lambda item: (item[0].name, item[0].unit))
        ]


def _rows(kind: Kind, series: dict[_SeriesKey, dict[_StreamKey, _Stream]]) -> Iterable[Series]:
    for key, streams in sorted(series.items(), key=lambda item: (item[0].service, _sortable(item[0].labels))):
        if kind is Kind.GAUGE:
            yield from _gauges(key, streams)
        else:
            yield Series(key.service, "", "", key.labels, _sum([stream.value() for stream in streams.values()]))


def _gauges(key: _SeriesKey, streams: dict[_StreamKey, _Stream]) -> Iterable[Series]:
    processes = short_names((each.resource for each in streams), _INSTANCE_SIZE)
    several_scopes = len({each.scope for each in streams}) > 1
    named = [
        (processes[each.resource], f"{each.scope.name} {each.scope.version}".strip() if several_scopes else "", stream)
        for each, stream in streams.items()
    ]
    for process, scope, stream in sorted(named, key=lambda entry: entry[:2]):
        yield Series(key.service, process, scope, key.labels, stream.value())


def _count_processes(series: dict[_SeriesKey, dict[_StreamKey, _Stream]]) -> dict[str, int]:
    found = {(key.service, stream.resource) for key, streams in series.items() for stream in streams}
    return dict(sorted(Counter(service for service, _ in found).items()))


def _sum(values: list[float | Distribution]) -> float | Distribution:
    distributions = [value for value in values if isinstance(value, Distribution)]
    if distributions:
        return merged(distributions)
    return sum(value for value in values if not isinstance(value, Distribution))


def _sortable(labels: Labels) -> list[tuple[str, str]]:
    return [(name, as_text(value)) for name, value in labels.items]
