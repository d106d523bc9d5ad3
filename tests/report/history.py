"""A known past: what processes did, as a Prometheus that scraped them would have it, and to be counted apart."""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path
from typing import Final

from multiagents_otel import semconv
from tests.support.services import find

Labels = tuple[tuple[str, str], ...]

_BOUNDARIES: Final[dict[str, tuple[float, ...]]] = {
    "multiagents_workflow_duration_seconds": semconv.WORKFLOW_DURATION.boundaries,
    "multiagents_step_duration_seconds": semconv.STEP_DURATION.boundaries,
    "multiagents_worker_duration_seconds": semconv.WORKER_DURATION.boundaries,
    "multiagents_event_duration_seconds": semconv.EVENT_DURATION.boundaries,
    "multiagents_event_queue_time_seconds": semconv.EVENT_QUEUE_TIME.boundaries,
}


def boundaries(metric: str) -> tuple[float, ...]:
    """Upper ends of a histogram's buckets."""
    return _BOUNDARIES[metric]


@dataclass(frozen=True)
class Deed:
    """One thing that happened once: a counter went up by 1, or a histogram got a value."""

    at: float
    metric: str
    labels: Labels
    value: float | None = None


@dataclass
class Process:
    """A process of a service, scraped from `born` to `died`, each `every` seconds, at its own offset.

    With `resets` it starts again at these times under the same instance id: its counters go back to 0.
    """

    job: str
    instance: str
    born: float
    died: float
    every: float = 60
    resets: tuple[float, ...] = ()
    deeds: list[Deed] = field(default_factory=list)
    zeros: list[tuple[str, Labels]] = field(default_factory=list)

    def declare(self, metric: str, **labels: str) -> None:
        """A label set that is exported at 0 from the start."""
        self.zeros.append((metric, tuple(sorted(labels.items()))))

    def count(self, at: float, metric: str, **labels: str) -> None:
        self.deeds.append(Deed(at, metric, tuple(sorted(labels.items()))))

    def time(self, at: float, metric: str, value: float, **labels: str) -> None:
        self.deeds.append(Deed(at, metric, tuple(sorted(labels.items())), value))

    def workflow(
        self, at: float, name: str, status: str, took: float, steps: Mapping[str, float], error: str = ""
    ) -> None:
        """A workflow that ended at a time, with a worker of the step's name for each step; the last one failed."""
        self.count(at, "multiagents_workflows_started_total", workflow_id=name)
        self.count(at, "multiagents_workflows_total", workflow_id=name, status=status)
        self.time(at, "multiagents_workflow_duration_seconds", took, workflow_id=name, status=status)
        for number, (step, seconds) in enumerate(steps.items(), 1):
            failed = bool(error) and number == len(steps)
            self.time(at, "multiagents_step_duration_seconds", seconds, workflow_id=name, multiagents_step_name=step)
            outcome = "error" if failed else "success"
            self.count(at, "multiagents_worker_executions_total", worker_name=step, status=outcome)
            self.time(at, "multiagents_worker_duration_seconds", seconds, worker_name=step)
            self.time(at, "multiagents_event_queue_time_seconds", seconds / 10, worker_name=step)
            if failed:
                self.count(at, "multiagents_worker_errors_total", worker_name=step, error_type=error)
            self.count(at, "multiagents_events_total", event_type="CommandEvent", status=outcome)
            self.time(at, "multiagents_event_duration_seconds", seconds * 1.5, event_type="CommandEvent")

    def samples(self) -> Iterator[tuple[str, float, float]]:
        """Series, value and time of each sample, series by series."""
        series: dict[tuple[str, Labels], list[tuple[float, float]]] = {key: [] for key in self.zeros}
        for deed in self.deeds:
            for name, labels, by in _grown(deed):
                series.setdefault((name, labels), []).append((deed.at, by))
        for (name, labels), growths in series.items():
            text = ",".join(
                f'{key}="{_escaped(value)}"' for key, value in (*labels, ("job", self.job), ("instance", self.instance))
            )
            known = (name, labels) in self.zeros
            for at, value in self._scraped(sorted(growths), known=known):
                yield f"{name}{{{text}}}", value, at

    def _scraped(self, growths: list[tuple[float, float]], *, known: bool) -> Iterator[tuple[float, float]]:
        """Value at each scrape, from the first growth on, or from birth on."""
        changes = sorted([*growths, *((reset, -1.0) for reset in self.resets)])
        value, index, at = 0.0, 0, self.born
        while at <= self.died:
            while index < len(changes) and changes[index][0] <= at:
                by = changes[index][1]
                value, known, index = (0.0, False, index + 1) if by < 0 else (value + by, True, index + 1)
            if known:
                yield at, value
            at += self.every


def _grown(deed: Deed) -> Iterator[tuple[str, Labels, float]]:
    if deed.value is None:
        yield deed.metric, deed.labels, 1
        return
    for bound in (*_BOUNDARIES[deed.metric], float("inf")):
        le = "+Inf" if bound == float("inf") else str(bound)
        yield f"{deed.metric}_bucket", (*deed.labels, ("le", le)), 1 if deed.value <= bound else 0
    yield f"{deed.metric}_sum", deed.labels, deed.value
    yield f"{deed.metric}_count", deed.labels, 1


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


@dataclass
class History:
    """Some processes, and Prometheus's own `up` from when on it has looked (None: there is none).

    It sees nothing before it looks, nor in a time in which it was `blind`.
    """

    looked: tuple[float, float] | None
    blind: tuple[float, float] = (0.0, 0.0)
    processes: list[Process] = field(default_factory=list)

    def process(self, job: str, instance: str, born: float, died: float, **more: object) -> Process:
        process = Process(job, instance, born, died, **more)  # type: ignore[arg-type]
        self.processes.append(process)
        return process

    def seen(self, start: float, end: float) -> Iterator[tuple[float, Deed]]:
        """What Prometheus saw after `start`, up to `end`, and when: at its process's next scrape."""
        for process in self.processes:
            for deed in process.deeds:
                at = process.born + ceil((deed.at - process.born) / process.every) * process.every
                if start < at <= end:
                    yield at, deed

    def tally(self, start: float, end: float, metric: str, *labels: str) -> Counter[tuple[str, ...]]:
        """How often something was counted or timed, by labels."""
        return Counter(
            tuple(dict(deed.labels)[label] for label in labels)
            for _, deed in self.seen(start, end)
            if deed.metric == metric
        )

    def values(self, start: float, end: float, metric: str, **labels: str) -> list[float]:
        """What was timed, with these labels."""
        return [
            deed.value
            for _, deed in self.seen(start, end)
            if deed.metric == metric and deed.value is not None and labels.items() <= dict(deed.labels).items()
        ]

    def write(self, data: Path) -> None:
        """Make it the data of a Prometheus."""
        text = data.with_suffix(".openmetrics")
        with text.open("w") as file:
            for process in self.processes:
                file.writelines(
                    f"{name} {value!r} {at:.3f}\n" for name, value, at in process.samples() if self._sees(at)
                )
            at, end = self.looked or (1.0, 0.0)
            while at <= end:
                if self._sees(at):
                    file.write(f'up{{job="multiagents",instance="collector:9464"}} 1 {at:.3f}\n')
                at += 60
            file.write("# EOF\n")
        argv = [find("promtool"), "tsdb", "create-blocks-from", "openmetrics", "--quiet", str(text), str(data)]
        subprocess.run(argv, check=True, capture_output=True, timeout=120)

    def _sees(self, at: float) -> bool:
        return (self.looked is None or at >= self.looked[0]) and not self.blind[0] < at < self.blind[1]
