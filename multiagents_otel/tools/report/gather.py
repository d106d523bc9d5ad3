"""A report's figures, out of Prometheus."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from multiagents_otel import semconv
from multiagents_otel.semconv import Instrument
from multiagents_otel.tools.quantities import counted
from multiagents_otel.tools.records import Buckets, Distribution
from multiagents_otel.tools.report.figures import (
    COMPENSATION_UNDELIVERED,
    DUPLICATED,
    PUBLISH_ERROR,
    STALE,
    TELEMETRY_DROPPED,
    TELEMETRY_FAULT,
    UNDELIVERED,
    Event,
    Fault,
    Figures,
    Report,
    Spike,
    Step,
    Timed,
    Timeline,
    Worker,
    Workflow,
)
from multiagents_otel.tools.report.period import Period, day_and_time
from multiagents_otel.tools.report.prometheus import Line, Prometheus, PrometheusError
from multiagents_otel.tools.report.queries import SPIKE_ERRORS, SPIKE_SECONDS, Queries, label
from multiagents_otel.tools.report.wording import length

_LOOKS: Final = 500
_ALL_TARGETS: Final = 120
"""Seconds within which Prometheus, once started, has scraped all its targets."""
_LOOK_BACK: Final = 30 * 86_400
_MOST_SPIKE_LOOKS: Final = 5000

_Key = tuple[str, ...]


def gather(prometheus: Prometheus, services: Sequence[str], asked: Period, objective: float) -> Report:
    """Return all that a report tells. PrometheusError: it can't be asked, or has nothing of ours in the period."""
    return _Gatherer(prometheus, Queries(services), services).report(asked, objective)


class _Gatherer:
    def __init__(self, prometheus: Prometheus, queries: Queries, services: Sequence[str]) -> None:
        self._prometheus = prometheus
        self._queries = queries
        self._services = services

    def report(self, asked: Period, objective: float) -> Report:
        begin = self._data_begin(Period(asked.before().start, asked.end))
        period = asked.since(begin)
        if begin > asked.end - 1:
            raise PrometheusError(self._nothing(asked))
        processes = self._processes(period)
        if not processes:
            raise PrometheusError(self._nothing(period))
        earlier = asked.before().since(begin) if begin < asked.start - 1 else None
        if earlier and not self._processes(earlier):
            earlier = None
        slot = period.slot()
        return Report(
            source=self._prometheus.url,
            asked=asked,
            services=processes,
            objective=objective,
            now=self._figures(period),
            before=self._figures(earlier) if earlier else None,
            timeline=self._timeline(period, slot),
            timeline_before=self._timeline(earlier, slot) if earlier and earlier.length == period.length else None,
            spikes=tuple(self._spikes(period)),
            notes=(*_notes(asked, period, earlier, self._ended_unseen(period)), *self._prometheus.warnings),
        )

    def _data_begin(self, period: Period) -> float:
        """Return from when on Prometheus has looked: then, a counter that is new has really been born."""
        looks = self._prometheus.over_time(self._queries.seen(), period.start, period.end, period.length / _LOOKS)
        first = min((time for line in looks for time in line.points), default=None)
        if first is None:
            return period.end
        if first - period.start < 1:
            return period.start
        selector = self._queries.first_seen(period.length / _LOOKS + _ALL_TARGETS)
        lines = self._prometheus.raw(selector, first + _ALL_TARGETS)
        # `up` is there from a target's first scrape on. Without it (data written to Prometheus) ours must do.
        targets = [line for line in lines if line.labels.get("__name__") == "up"] or lines
        starts = [min(line.points) for line in targets if line.points]
        return max((start for start in starts if start <= min(starts) + _ALL_TARGETS), default=first)

    def _ended_unseen(self, period: Period) -> int:
        """Return how many workflows had ended before the period, in processes that still lived then."""
        samples = self._prometheus.instant(self._queries.reached(semconv.WORKFLOWS), period.start)
        return round(sum(each.value for each in samples))

    def _processes(self, period: Period) -> dict[str, int]:
        samples = self._prometheus.instant(self._queries.processes(period.length), period.end)
        return {each.labels.get("job", ""): int(each.value) for each in sorted(samples, key=lambda one: -one.value)}

    def _nothing(self, period: Period) -> str:
        url, told = self._prometheus.url, f"from {day_and_time(period.start)} to {day_and_time(period.end)} UTC"
        everybody = Queries()
        there = _Gatherer(self._prometheus, everybody, ())._processes(period)
        if self._services and there:
            return f"no service {' or '.join(self._services)} in {url} {told}; there are: {', '.join(sorted(there))}"
        looks = self._prometheus.over_time(everybody.ours(), period.end - _LOOK_BACK, period.end, _LOOK_BACK / _LOOKS)
        last = max((time for line in looks for time in line.points), default=None)
        if last is not None:
            return (
                f"{url} has no multiagents series {told}; the last ones are from about {day_and_time(last)} UTC "
                f"(a longer --since shows them)"
            )
        return (
            f"{url} has no multiagents series {told}. Applications send their metrics to the Collector "
            f"(OTEL_EXPORTER_OTLP_ENDPOINT), and Prometheus scrapes the Collector (port 9464): "
            f"`multiagents-otel doctor` looks at the first part, {url}/targets shows the second"
        )

    def _figures(self, period: Period) -> Figures:
        compensations = self._counts(semconv.COMPENSATIONS, period, semconv.WORKFLOW_ID, semconv.STATUS)
        return Figures(
            period=period,
            workflows=tuple(self._workflows(period)),
            steps=tuple(self._steps(period)),
            workers=tuple(self._workers(period)),
            events=tuple(self._events(period)),
            errors={
                (worker, kind): count
                for (worker, kind), count in self._counts(
                    semconv.WORKER_ERRORS, period, semconv.WORKER_NAME, semconv.ERROR_TYPE
                ).items()
                if count
            },
            faults=tuple(self._faults(period, compensations)),
            compensations=sum(compensations.values()),
        )

    def _workflows(self, period: Period) -> Iterable[Workflow]:
        started = self._counts(semconv.WORKFLOWS_STARTED, period, semconv.WORKFLOW_ID)
        ended = self._counts(semconv.WORKFLOWS, period, semconv.WORKFLOW_ID, semconv.STATUS)
        timed = self._timed(semconv.WORKFLOW_DURATION, period, semconv.WORKFLOW_ID)
        for (name,) in sorted({*started, *((workflow,) for workflow, _ in ended)}):
            by_status = {status: count for (workflow, status), count in ended.items() if workflow == name}
            yield Workflow(name, started.get((name,), 0), by_status, timed.get((name,), Timed()))

    def _steps(self, period: Period) -> Iterable[Step]:
        timed = self._timed(semconv.STEP_DURATION, period, semconv.WORKFLOW_ID, semconv.STEP_NAME)
        return (Step(workflow, name, times) for (workflow, name), times in sorted(timed.items()) if times.count)

    def _workers(self, period: Period) -> Iterable[Worker]:
        runs = self._counts(semconv.WORKER_EXECUTIONS, period, semconv.WORKER_NAME, semconv.STATUS)
        timed = self._timed(semconv.WORKER_DURATION, period, semconv.WORKER_NAME)
        queue = self._timed(semconv.EVENT_QUEUE_TIME, period, semconv.WORKER_NAME)
        for name in sorted({worker for worker, _ in runs}):
            yield Worker(
                name,
                succeeded=runs.get((name, semconv.SUCCESS), 0),
                failed=runs.get((name, semconv.ERROR), 0),
                cancelled=runs.get((name, semconv.CANCELLED), 0),
                timed=timed.get((name,), Timed()),
                queue=queue.get((name,), Timed()),
            )

    def _events(self, period: Period) -> Iterable[Event]:
        counts = self._counts(semconv.EVENTS, period, semconv.EVENT_TYPE, semconv.STATUS)
        timed = self._timed(semconv.EVENT_DURATION, period, semconv.EVENT_TYPE)
        for kind in sorted({kind for kind, _ in counts}):
            good, bad = (counts.get((kind, status), 0) for status in (semconv.SUCCESS, semconv.ERROR))
            yield Event(kind, good, bad, timed.get((kind,), Timed()))

    def _faults(self, period: Period, compensations: Mapping[_Key, int]) -> Iterable[Fault]:
        for kind, instrument in (
            (UNDELIVERED, semconv.EVENTS_UNDELIVERED),
            (DUPLICATED, semconv.COMMANDS_DUPLICATED),
            (STALE, semconv.EVENTS_STALE),
            (PUBLISH_ERROR, semconv.EVENTS_PUBLISH_ERRORS),
            (TELEMETRY_FAULT, semconv.OTEL_ERRORS),
            (TELEMETRY_DROPPED, semconv.OTEL_DROPPED),
        ):
            for key, count in sorted(self._counts(instrument, period, *instrument.attributes).items()):
                if count:
                    yield Fault(kind, ", ".join(filter(None, key)), count)
        for (workflow, status), count in sorted(compensations.items()):
            if count and status == semconv.UNDELIVERED:
                yield Fault(COMPENSATION_UNDELIVERED, workflow, count)

    def _counts(self, instrument: Instrument, period: Period, *by: str) -> dict[_Key, int]:
        samples = self._prometheus.instant(self._queries.growth(instrument, period.length, by), period.end)
        return {_key(each.labels, by): round(each.value) for each in samples}

    def _timed(self, instrument: Instrument, period: Period, *by: str) -> dict[_Key, Timed]:
        buckets = self._queries.growth(instrument, period.length, ("le", *by), "bucket")
        counts: dict[_Key, dict[float, float]] = {}
        for each in self._prometheus.instant(buckets, period.end):
            if (bound := _upper_end(each.labels)) is not None:
                counts.setdefault(_key(each.labels, by), {})[bound] = each.value
        sums = self._prometheus.instant(self._queries.growth(instrument, period.length, by, "sum"), period.end)
        totals = {_key(each.labels, by): each.value for each in sums}
        return {key: _of_buckets(found, totals.get(key)) for key, found in counts.items()}

    def _timeline(self, period: Period, slot: float) -> Timeline:
        ended = self._by_slot(period, slot, semconv.WORKFLOWS, semconv.STATUS)
        errors = self._by_slot(period, slot, semconv.WORKER_ERRORS, semconv.WORKER_NAME, semconv.ERROR_TYPE)
        return Timeline(
            period=period,
            slot=slot,
            ended={status: counts for (status,), counts in sorted(ended.items())},
            times=self._timed_by_slot(period, slot, semconv.WORKFLOW_DURATION),
            queue=self._timed_by_slot(period, slot, semconv.EVENT_QUEUE_TIME),
            errors={(worker, kind): counts for (worker, kind), counts in sorted(errors.items()) if any(counts)},
        )

    def _by_slot(self, period: Period, slot: float, instrument: Instrument, *by: str) -> dict[_Key, tuple[int, ...]]:
        lines = self._slots(period, slot, self._queries.growth(instrument, slot, by))
        return {_key(line.labels, by): tuple(map(round, _filled(line, period, slot))) for line in lines}

    def _timed_by_slot(self, period: Period, slot: float, instrument: Instrument) -> tuple[Timed, ...]:
        lines = self._slots(period, slot, self._queries.growth(instrument, slot, ("le",), "bucket"))
        ends = ((_upper_end(line.labels), line) for line in lines)
        filled = {bound: _filled(line, period, slot) for bound, line in ends if bound is not None}
        return tuple(
            _of_buckets({bound: values[index] for bound, values in filled.items()}, None)
            for index in range(round(period.length / slot))
        )

    def _slots(self, period: Period, slot: float, expression: str) -> list[Line]:
        # Half a part more: the last time must not be lost to rounding.
        return self._prometheus.over_time(expression, period.start + slot, period.end + slot / 2, slot)

    def _spikes(self, period: Period) -> Iterable[Spike]:
        by = (semconv.WORKER_NAME, semconv.ERROR_TYPE)
        step = max(60.0, period.length / _MOST_SPIKE_LOOKS)
        start = min(period.start + step, period.end)
        grown = self._queries.growth(semconv.WORKER_ERRORS, SPIKE_SECONDS, by)
        for line in self._prometheus.over_time(f"{grown} > {SPIKE_ERRORS}", start, period.end, step):
            worker, kind = _key(line.labels, by)
            for times in _runs(sorted(line.points), step):
                most = round(max(line.points[time] for time in times))
                yield Spike(worker, kind, max(period.start, times[0] - SPIKE_SECONDS), times[-1], most)


def _notes(asked: Period, period: Period, earlier: Period | None, ended_unseen: int) -> Iterable[str]:
    if period.start - asked.start >= 1:
        uncounted = (
            f" {counted(ended_unseen, 'workflow')} had ended before Prometheus first looked, and nobody knows when: "
            f"what happened then is not counted."
        )
        yield (
            f"Prometheus has data only from {day_and_time(period.start)} UTC on: "
            f"this report is about {length(period.length)}, not {length(asked.length)}."
            f"{uncounted if ended_unseen else ''}"
        )
    if earlier is None:
        yield f"There is no data from before {day_and_time(period.start)} UTC, and hence no trend."
    elif earlier.length < asked.length:
        yield (
            f"The period before has data only from {day_and_time(earlier.start)} UTC on ({length(earlier.length)}): "
            f"numbers are compared per hour."
        )


def _key(labels: Mapping[str, str], by: Iterable[str]) -> _Key:
    return tuple(labels.get(label(each), "") for each in by)


def _upper_end(labels: Mapping[str, str]) -> float | None:
    """Return a bucket's upper end, None where a series has a bucket's name and is none."""
    try:
        end = float(labels.get("le", ""))
    except ValueError:
        return None
    return None if math.isnan(end) else end


def _filled(line: Line, period: Period, slot: float) -> list[float]:
    values = [0.0] * round(period.length / slot)
    for time, value in line.points.items():
        values[min(len(values), max(1, round((time - period.start) / slot))) - 1] = value
    return values


def _of_buckets(cumulative: Mapping[float, float], total: float | None) -> Timed:
    """Return the times of a histogram as Prometheus has it, each bucket with all that is in the lower ones."""
    bounds = sorted(cumulative)
    counts, below = [], 0
    for bound in bounds:
        # Where services have buckets of their own, a sum over them need not rise from one to the next.
        reached = max(below, round(cumulative[bound]))
        counts.append(reached - below)
        below = reached
    return Timed(Distribution(below, total, None, None, Buckets(tuple(bounds[:-1]), tuple(counts))))


def _runs(times: Sequence[float], step: float) -> list[list[float]]:
    """Return the times in runs without a gap."""
    runs: list[list[float]] = []
    for time in times:
        if runs and time - runs[-1][-1] < 1.5 * step:
            runs[-1].append(time)
        else:
            runs.append([time])
    return runs
