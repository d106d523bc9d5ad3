"""Metrics as nobody should send them: whatever comes, everybody else's are served, and Prometheus takes them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric

from tests.collector.sending import attributes, post
from tests.support.collectors import Running, collector, rendered
from tests.support.ports import free_port
from tests.support.services import Prometheus, wait_until

DELTA: Final = 1
CUMULATIVE: Final = 2

ORDERS: Final = {"service.name": "orders", "service.instance.id": "a"}
ODD: Final = {"service.name": "odd", "service.instance.id": "b"}
SUCCESS: Final = {"event.type": "CommandEvent", "status": "success"}

Build = Callable[[Metric], None]


def counter(value: int, labels: Mapping[str, Any] = SUCCESS) -> Build:
    def build(metric: Metric) -> None:
        metric.sum.aggregation_temporality = CUMULATIVE  # type: ignore[assignment,unused-ignore]
        metric.sum.is_monotonic = True
        metric.sum.data_points.add(**times(), as_int=value).attributes.extend(attributes(labels))

    return build


def delta(value: int, start: int, end: int) -> Build:
    def build(metric: Metric) -> None:
        metric.sum.aggregation_temporality = DELTA  # type: ignore[assignment,unused-ignore]
        metric.sum.is_monotonic = True
        metric.sum.data_points.add(start_time_unix_nano=start, time_unix_nano=end, as_int=value)

    return build


def gauge(value: float, labels: Mapping[str, Any] = SUCCESS) -> Build:
    def build(metric: Metric) -> None:
        metric.gauge.data_points.add(**times(), as_double=value).attributes.extend(attributes(labels))

    return build


def histogram(counts: list[int], bounds: list[float], temporality: int = CUMULATIVE) -> Build:
    def build(metric: Metric) -> None:
        metric.unit = "s"
        metric.histogram.aggregation_temporality = temporality  # type: ignore[assignment,unused-ignore]
        count = sum(counts)
        metric.histogram.data_points.add(
            **times(), count=count, sum=count, bucket_counts=counts, explicit_bounds=bounds
        )

    return build


def exponential(temporality: int) -> Build:
    def build(metric: Metric) -> None:
        metric.unit = "s"
        metric.exponential_histogram.aggregation_temporality = temporality  # type: ignore[assignment,unused-ignore]
        point = metric.exponential_histogram.data_points.add(**times(), count=3, sum=3.0, zero_count=1)
        point.positive.bucket_counts.extend([1, 1])

    return build


def summary(metric: Metric) -> None:
    metric.summary.data_points.add(**times(), count=3, sum=3.0).quantile_values.add(quantile=0.5, value=1)


def times() -> dict[str, Any]:
    now = time.time_ns()
    return {"start_time_unix_nano": now - 10**9, "time_unix_nano": now}


def send(running: Running, name: str, build: Build, resource: Mapping[str, Any] = ODD) -> None:
    request = ExportMetricsServiceRequest()
    group = request.resource_metrics.add()
    group.resource.attributes.extend(attributes(resource))
    build(group.scope_metrics.add().metrics.add(name=name))
    # Bytes that are no UTF-8, which no protobuf library writes.
    body = request.SerializeToString().replace(b"NOT UTF-8", b"\xff\xfe\xc0\x80\xff\xfe\xc0\x80\xff")
    assert post(running, "metrics", body) == 200


EVENTS: Final = "multiagents_events_total"

ODD_METRICS: Final[tuple[tuple[str, Build], ...]] = (
    ("multiagents.events_total", gauge(5)),
    ("multiagents.events", histogram([1, 1], [1.0])),
    ("multiagents.workflow.duration", counter(5)),
    ("multiagents.workflow.duration", summary),
    ("multiagents.workflow.duration", exponential(CUMULATIVE)),
    ("multiagents.workflow.duration", exponential(DELTA)),
    ("multiagents.workflow.duration", histogram([1, 1], [1.0], DELTA)),
    ("multiagents.workflow.duration", histogram([1], [5.0, 7.0])),
    ("multiagents.workflow.duration", histogram([1, 1, 1], [float("nan"), 5.0])),
    ("multiagents.worker.health", gauge(float("nan"))),
    ("target_info", gauge(1)),
    ("", counter(5)),
    ("1{}\n# TYPE x gauge", counter(5)),
    *(
        ("multiagents.events", counter(5, labels))
        for labels in (
            {"event.type": "y", "event_type": "z"},
            {"job": "orders", "instance": "a", **SUCCESS},
            {"__name__": "up"},
            {"": "x"},
            {"event.type": 'a"\n\\b'},
            {"event.type": "NOT UTF-8"},
        )
    ),
)


def test_whatever_is_sent_everybody_elses_figures_are_served_and_scraped(tmp_path: Path) -> None:
    with collector(tmp_path) as running:
        send(running, "multiagents.events", counter(3), ORDERS)
        send(running, "multiagents.workflow.duration", histogram([1, 1], [1.0]), ORDERS)
        assert 'job="orders"' in running.metrics()  # of two types of one name the one that was served is served on
        for name, build in ODD_METRICS:
            send(running, name, build)
        for forged in ("up", "scrape_samples_scraped", "ALERTS", "job:multiagents_processes_silent:count"):
            send(running, forged, gauge(0, {}), {"service.name": "multiagents", "service.instance.id": "forged"})
        endpoint = f"127.0.0.1:{running.ports['export_port']}"
        chosen = {"collector_metrics": endpoint, "scrape_interval": "1s", "evaluation_interval": "1s"}
        [config] = rendered(tmp_path, "prometheus/prometheus.yaml", **chosen)
        with Prometheus(config, tmp_path / "data", free_port()) as prometheus:
            up = (("__name__", "up"), ("instance", endpoint), ("job", "multiagents"))
            wait_until(lambda: prometheus.query('up{job="multiagents"}') == {up: 1.0}, "a scrape")
            assert list(prometheus.query('multiagents_events_total{job="orders"}').values()) == [3.0]
            assert list(prometheus.query('multiagents_workflow_duration_seconds_count{job="orders"}').values()) == [2.0]
            assert prometheus.query('{instance="forged", __name__!="target_info"}') == {}


def test_delta_counters_are_added_up_where_one_goes_on_from_the_last(tmp_path: Path) -> None:
    now = time.time_ns()
    with collector(tmp_path) as running:
        seen = []
        for value, start, end in ((5, 0, 10), (2, 10, 20), (4, 30, 40)):
            send(running, "multiagents.events", delta(value, now + start, now + end))
            seen += [line.split()[-1] for line in running.metrics().splitlines() if line.startswith(f"{EVENTS}{{")]
    assert seen == ["5.0", "7.0", "4.0"]


def test_of_two_types_of_one_name_the_one_that_was_scraped_first_is_served(tmp_path: Path) -> None:
    """The exporter can't serve both, and no statement of the Collector knows what else there is."""
    with collector(tmp_path) as running:
        for build, resource in ((gauge(5, {}), ODD), (histogram([1, 2], [1.0]), ORDERS)):
            send(running, "app.load_seconds", build, resource)
            families = [line for line in running.metrics().splitlines() if line.startswith("# TYPE app_load")]
            assert families == ["# TYPE app_load_seconds gauge"]
        conflict = "instrument type conflict"
        wait_until(lambda: any(conflict in line for line in running.complaints()), "the conflict is in the log")


def test_a_name_of_the_contract_is_served_with_its_own_type(tmp_path: Path) -> None:
    with collector(tmp_path) as running:
        for name, build, resource in ((EVENTS, gauge(5), ODD), ("multiagents.events", counter(3), ORDERS)):
            send(running, name, build, resource)
            text = running.metrics()
        served = {line.split("{")[0]: line.split()[-1] for line in text.splitlines() if EVENTS in line and "{" in line}
        assert served == {EVENTS: "3.0", f"other_{EVENTS}": "5.0"}
        assert running.complaints() == []
