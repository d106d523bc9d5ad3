"""Names and values that anybody can send cost at most the metric that carries them."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import Any, Final, NamedTuple

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric

from multiagents_otel import semconv
from tests.collector.sending import attributes, post
from tests.support.collectors import Running, collector, rendered
from tests.support.ports import free_port
from tests.support.services import Prometheus, wait_until

ORDERS: Final = {"service.name": "orders", "service.instance.id": "a", "deployment.environment.name": "test"}
SHOP: Final = {"service.name": "shop", "service.instance.id": "b"}
OTHERS: Final = '{job=~"orders|shop"}'

CUMULATIVE: Final = 2
_MARK: Final = "\u2063NOT UTF-8\u2063"
_NOT_UTF8: Final = _MARK.encode()


class Pipeline(NamedTuple):
    """A Collector and the Prometheus that scrapes it."""

    running: Running
    prometheus: Prometheus
    numbers: Iterator[int]

    def send(self, request: ExportMetricsServiceRequest) -> None:
        body = request.SerializeToString().replace(_NOT_UTF8, b"\xff" * len(_NOT_UTF8))
        assert post(self.running, "metrics", body) == 200

    def send_others(self, number: int) -> None:
        """Send the metrics of two services whose values are all this number."""
        self.send(others(number))

    def scraped(self) -> dict[str, float]:
        """Values of the two services after the next scrape. AssertionError: there is none."""
        number = next(self.numbers)
        self.send_others(number)

        def seen() -> dict[str, float] | None:
            up = self.prometheus.query("up")
            if list(up.values()) not in ([], [1.0]):
                error = self.prometheus.api("targets")["activeTargets"][0]["lastError"]
                assert "deadline exceeded" in error, error  # a busy machine: there is a next scrape
            if self.prometheus.query("last_number") and self.prometheus.query("last_number").popitem()[1] == number:
                served = {name(key): value for key, value in self.prometheus.query(OTHERS).items()}
                ratios = {key: value / expected(key, number) for key, value in served.items()}
                # The Collector took the request while it was being scraped: there is a next scrape.
                return None if (number - 1) / number in ratios.values() else ratios
            return None

        return wait_until(seen, "a scrape of the number") or {}


def expected(series: str, number: int) -> int:
    """Value of a series of the two services after this number was sent."""
    if series.startswith("target_info"):
        return 1
    return number * 1000 if series.startswith("multiagents_workflow_duration_sum") else number


def name(labels: tuple[tuple[str, str], ...]) -> str:
    return ",".join("=".join(label) if label[0] != "__name__" else label[1] for label in sorted(labels))


def others(number: int) -> ExportMetricsServiceRequest:
    request = ExportMetricsServiceRequest()
    for resource, scope, metrics in (
        (
            ORDERS,
            semconv.SCOPE_NAME,
            (
                ("multiagents.events", "{event}", counter),
                ("multiagents.event.duration", "s", histogram),
                ("multiagents.workflow.duration", "s", histogram),
                ("multiagents.worker.health", "", gauge),
                ("multiagents.custom.checkout", "", histogram),
            ),
        ),
        (
            SHOP,
            "shop",
            (
                ("jobs.done", "", counter),
                ("queue.length", "", gauge),
                ("http.server.request.duration", "s", histogram),
                ("upload.size", "By", histogram),
            ),
        ),
        ({"service.name": "witness"}, "", (("last_number", "", gauge),)),
    ):
        group = request.resource_metrics.add()
        group.resource.attributes.extend(attributes(resource))
        scoped = group.scope_metrics.add()
        scoped.scope.name = scope
        for each, unit, build in metrics:
            build(scoped.metrics.add(name=each, unit=unit), number)
    return request


def times() -> dict[str, Any]:
    now = time.time_ns()
    return {"start_time_unix_nano": now - 10**9, "time_unix_nano": now}


LABELS: Final = {"event.type": "CommandEvent", "status": "success"}


def counter(metric: Metric, value: int, labels: Mapping[str, Any] = LABELS) -> None:
    metric.sum.aggregation_temporality = CUMULATIVE  # type: ignore[assignment,unused-ignore]
    metric.sum.is_monotonic = True
    point = metric.sum.data_points.add(**times(), as_int=value)
    point.attributes.extend(attributes(labels))
    add_exemplar(point)


def add_exemplar(point: Any) -> None:
    point.exemplars.add(
        time_unix_nano=time.time_ns(), as_double=0.5, trace_id=bytes(15) + b"\1", span_id=bytes(7) + b"\1"
    )


def gauge(metric: Metric, value: int, labels: Mapping[str, Any] = LABELS) -> None:
    metric.gauge.data_points.add(**times(), as_double=value).attributes.extend(attributes(labels))


def histogram(metric: Metric, value: int, labels: Mapping[str, Any] = LABELS) -> None:
    metric.histogram.aggregation_temporality = CUMULATIVE  # type: ignore[assignment,unused-ignore]
    point = metric.histogram.data_points.add(
        **times(), count=value, sum=value, bucket_counts=[value, 0], explicit_bounds=[1.0]
    )
    point.attributes.extend(attributes(labels))
    add_exemplar(point)


def series(name: str, job: str, *bounds: str) -> set[str]:
    """The series of a metric; with bounds, those of a histogram."""
    scope = {"orders": "", "shop": "otel_scope_name=shop,"}[job]
    instance = {"orders": "a", "shop": "b"}[job]
    start, end = f"event_type=CommandEvent,instance={instance},job={job}", f"{scope}status=success"
    if not bounds:
        return {f"{name},{start},{end}"}
    return {
        *(f"{name}_bucket,{start},le={bound},{end}" for bound in (*bounds, "+Inf")),
        *(f"{name}_{part},{start},{end}" for part in ("count", "sum")),
    }


SERIES: Final = {
    "target_info,deployment_environment_name=test,instance=a,job=orders",
    "target_info,instance=b,job=shop",
    *series("multiagents_events_total", "orders"),
    *series("multiagents_event_duration_seconds", "orders", "1.0"),
    *series("multiagents_workflow_duration_seconds", "orders", "1.0"),
    *series("multiagents_workflow_duration", "orders", "1000.0"),
    *series("multiagents_worker_health", "orders"),
    *series("multiagents_custom_checkout", "orders", "1.0"),
    *series("jobs_done_total", "shop"),
    *series("queue_length", "shop"),
    *series("http_server_request_duration_seconds", "shop", "1.0"),
    *series("upload_size_bytes", "shop", "1.0"),
}

# --- hostile metrics

TEXTS: Final = st.one_of(
    st.text(max_size=20),
    st.sampled_from(
        ["", "\0", "a\0b", 'a"\n\\b', "\r\n# EOF\n", "# EOF", "x" * 5_000, "é", "\U0001f980", "+Inf", "NaN", _MARK]
    ),
)
RESERVED: Final = st.sampled_from(
    [
        "le",
        "quantile",
        "job",
        "instance",
        "__name__",
        "__address__",
        "__",
        "___",
        "_",
        "exported_job",
        "exported_le",
        "otel_scope_name",
        "otel_scope_version",
        "otel_scope_schema_url",
        "a.b",
        "a_b",
        "a-b",
        "1a",
        "9",
        "key_1a",
        "trace_id",
        "span_id",
        "alertname",
        "severity",
        "l.e",
        "é",
        "service.name",
        "event.type",
        "event_type",
        "status",
        "__scrape_interval__",
        "__a",
        "a:b",
        "LE",
    ]
)
KEYS: Final = st.one_of(RESERVED, RESERVED, TEXTS)
VALUES: Final = st.recursive(
    st.one_of(TEXTS, st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats()),
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(st.text(max_size=3), inner, max_size=2)),
    max_leaves=3,
)
ATTRIBUTES: Final = st.dictionaries(KEYS, VALUES, max_size=6)
ENDS: Final = st.sampled_from(
    ["", "_total", ".total", "_count", "_sum", "_bucket", ".seconds", "_seconds_count", "_created", "_info"]
)
BASES: Final = st.sampled_from(
    [row.name for row in semconv.INSTRUMENTS]
    + [row.name.replace(".", "_") for row in semconv.INSTRUMENTS]
    + [
        "multiagents_workflow_duration",
        "multiagents",
        "multiagents.custom.checkout",
        "http.server.request.duration",
        "jobs.done",
        "http_server_request_duration",
        "upload.size.bytes",
        "jobs_done",
        "target_info",
        "target",
        "up",
        "scrape_samples_scraped",
        "ALERTS",
        "ALERTS_FOR_STATE",
        "job:x:y",
        "a.b",
        "a_b",
        "1a",
    ]
)
NAMES: Final = st.one_of(st.tuples(BASES, ENDS).map("".join), st.tuples(TEXTS, ENDS).map("".join))
UNITS: Final = st.one_of(
    st.sampled_from(
        [
            "",
            "1",
            "s",
            "By",
            "%",
            "{x}",
            "s/{x}",
            "total",
            "seconds_count",
            "x/total",
            "count/{x}",
            "multiagents_events_total",
        ]
    ),
    TEXTS,
)
UINTS: Final = st.one_of(st.integers(0, 2**64 - 1), st.integers(0, 5))
RESOURCES: Final = st.dictionaries(KEYS, VALUES, max_size=4).flatmap(
    lambda more: st.sampled_from(
        [
            {},
            {"service.name": "odd"},
            {"service.name": "odd", "service.instance.id": "c"},
            {"service.name": "multiagents"},
        ]
    ).map(lambda own: {**more, **own} if own else {key: value for key, value in more.items() if key != "service.name"})
)


@st.composite
def points(draw: st.DrawFn, point: Any) -> None:
    """Fill in what every kind of point has."""
    point.time_unix_nano = draw(st.one_of(st.just(time.time_ns()), UINTS))
    point.start_time_unix_nano = draw(UINTS)
    point.attributes.extend(attributes(draw(ATTRIBUTES)))
    point.flags = draw(st.sampled_from([0, 0, 0, 1]))


@st.composite
def metrics(draw: st.DrawFn) -> Metric:
    """A metric of any type that OTLP allows."""
    metric = Metric(name=draw(NAMES), unit=draw(UNITS), description=draw(TEXTS))
    kind = draw(st.sampled_from(["gauge", "sum", "histogram", "exponential_histogram", "summary", None]))
    if kind is None:
        return metric
    data = getattr(metric, kind)
    data.SetInParent()
    if kind in ("sum", "histogram", "exponential_histogram"):
        data.aggregation_temporality = draw(st.sampled_from([CUMULATIVE, CUMULATIVE, 1, 0]))
    if kind == "sum":
        data.is_monotonic = draw(st.booleans())
    for _ in range(draw(st.integers(0, 2))):
        point = data.data_points.add()
        draw(points(point))
        if kind in ("gauge", "sum"):
            point.as_double = draw(st.floats())
        else:
            point.count, point.sum = draw(UINTS), draw(st.floats())
        if kind == "histogram":
            point.explicit_bounds.extend(draw(st.lists(st.floats(), max_size=3)))
            point.bucket_counts.extend(draw(st.lists(UINTS, max_size=4)))
        if kind == "exponential_histogram":
            point.scale = draw(st.one_of(st.integers(-(2**31), 2**31 - 1), st.integers(-5, 20)))
            point.zero_count = draw(UINTS)
            point.positive.offset = draw(st.integers(-(2**31), 2**31 - 1))
            point.positive.bucket_counts.extend(draw(st.lists(UINTS, max_size=3)))
        if kind == "summary":
            for quantile in draw(st.lists(st.floats(), max_size=3)):
                point.quantile_values.add(quantile=quantile, value=draw(st.floats()))
        elif draw(st.booleans()):
            exemplar = point.exemplars.add(time_unix_nano=draw(UINTS), as_double=draw(st.floats()))
            # The Collector refuses a request with an id of another length.
            exemplar.trace_id = draw(st.one_of(st.just(b""), st.binary(min_size=16, max_size=16)))
            exemplar.span_id = draw(st.one_of(st.just(b""), st.binary(min_size=8, max_size=8)))
            exemplar.filtered_attributes.extend(attributes(draw(ATTRIBUTES)))
    return metric


@st.composite
def requests(draw: st.DrawFn) -> ExportMetricsServiceRequest:
    request = ExportMetricsServiceRequest()
    for _ in range(draw(st.integers(1, 2))):
        group = request.resource_metrics.add(schema_url=draw(TEXTS))
        group.resource.attributes.extend(attributes(draw(RESOURCES)))
        scoped = group.scope_metrics.add()
        scoped.scope.name = draw(st.one_of(st.sampled_from(["", "shop", semconv.SCOPE_NAME]), TEXTS))
        scoped.scope.version = draw(TEXTS)
        scoped.scope.attributes.extend(attributes(draw(ATTRIBUTES)))
        scoped.metrics.extend(draw(st.lists(metrics(), min_size=1, max_size=10)))
    return request


FEW: Final = settings(
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=list(HealthCheck),
)
"""Each example takes a scrape: no shrinking. What was sent before belongs to the example too."""


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    folder = tmp_path_factory.mktemp("hostile")
    with ExitStack() as stack:
        running = stack.enter_context(collector(folder))
        chosen = {
            "collector_metrics": f"127.0.0.1:{running.ports['export_port']}",
            "scrape_interval": "200ms",
            "evaluation_interval": "200ms",
        }
        [config] = rendered(folder, "prometheus/prometheus.yaml", **chosen)
        # Only the scrape is of interest here, and that of the Collector alone.
        text = config.read_text()
        config.write_text(text[: text.index("  - job_name: otel-collector")].replace("  - rules/*.yaml", "  []"))
        yield Pipeline(
            running, stack.enter_context(Prometheus(config, folder / "data", free_port())), itertools.count(1)
        )


def check(pipeline: Pipeline) -> None:
    assert pipeline.scraped() == dict.fromkeys(SERIES, 1)


def exponential(metric: Metric, value: int, labels: Mapping[str, Any] = LABELS) -> None:
    metric.exponential_histogram.aggregation_temporality = CUMULATIVE  # type: ignore[assignment,unused-ignore]
    point = metric.exponential_histogram.data_points.add(**times(), count=value, sum=value, zero_count=value)
    point.attributes.extend(attributes(labels))


def summary(metric: Metric, value: int, labels: Mapping[str, Any] = LABELS) -> None:
    metric.summary.data_points.add(**times(), count=value, sum=value).attributes.extend(attributes(labels))


def up_down(metric: Metric, value: int, labels: Mapping[str, Any] = LABELS) -> None:
    counter(metric, value, labels)
    metric.sum.is_monotonic = False


LONG: Final = "\u20ac" * 3_000
LABEL_CASES: Final[tuple[tuple[Any, Mapping[str, Any], Mapping[str, str]], ...]] = (
    (histogram, {"le": "berlin"}, {"exported_le": "berlin"}),
    (exponential, {"le": "berlin"}, {"exported_le": "berlin"}),
    (gauge, {"le": "berlin"}, {"le": "berlin"}),
    (summary, {"quantile": "0.5"}, {"exported_quantile": "0.5"}),
    (gauge, {"quantile": "0.5"}, {"quantile": "0.5"}),
    (counter, {"job": "orders", "instance": "a"}, {"exported_job": "orders", "exported_instance": "a"}),
    (counter, {"__name__": "up", "__address__": "x"}, {"_name__": "up", "_address__": "x"}),
    (counter, {"a.b": "1", "a_b": "2"}, {"a_b": "2"}),
    (counter, {"": "1", "\u00e9": "2", "_": "3", "kept": "4"}, {"kept": "4"}),
    (counter, {"1a": "x", "a:b": "y"}, {"key_1a": "x", "a_b": "y"}),
    (counter, {"otel_scope_version": "1", "otel_scope_name": "x"}, {"otel_scope_version": "1", "otel_scope_name": "x"}),
    (counter, {"text": _MARK}, {"text": "?" * len(_NOT_UTF8)}),
    (counter, {"text": LONG}, {"text": LONG[:1365]}),
    (counter, {"text": 'a"\n\\b\0', "map": {"a": [1]}}, {"text": 'a"\n\\b\0', "map": '{"a":[1]}'}),
)


def odd(number: int, *metrics: tuple[str, str, Any, Mapping[str, Any]], **more: Any) -> ExportMetricsServiceRequest:
    """A request of a service of its own, with metrics of the value 5: name, unit, builder and attributes of each."""
    request = ExportMetricsServiceRequest()
    group = request.resource_metrics.add()
    group.resource.attributes.extend(attributes({"service.name": f"odd-{number}", **more.get("resource", {})}))
    scoped = group.scope_metrics.add()
    for each, unit, build, labels in metrics:
        build(scoped.metrics.add(name=each, unit=unit, description=more.get("description", "")), 5, labels)
    return request


def served_of(pipeline: Pipeline, number: int) -> dict[str, dict[str, str]]:
    """Name and labels of each series of such a service, after a scrape, without the parts of a histogram."""
    found = pipeline.prometheus.query(f'{{job="odd-{number}"}}')
    return {
        dict(key)["__name__"]: {label: value for label, value in key if label not in ("__name__", "job", "instance")}
        for key in found
        if not dict(key)["__name__"].endswith("_bucket")
    }


def test_a_reserved_attribute_costs_at_most_that_label(pipeline: Pipeline) -> None:
    for number, (build, labels, _) in enumerate(LABEL_CASES):
        pipeline.send(odd(number, (f"odd.{build.__name__}", "", build, labels)))
    check(pipeline)
    for number, (_, labels, expected_labels) in enumerate(LABEL_CASES):
        found = served_of(pipeline, number)
        assert found, labels
        for own in found.values():
            assert own == expected_labels


NAME_CASES: Final[tuple[tuple[str, str, Any, str], ...]] = (
    ("multiagents.events_total", "", gauge, "other_multiagents_events_total"),
    ("multiagents.events", "", histogram, "other_multiagents_events_count"),
    ("multiagents.event.duration", "s", gauge, "other_multiagents_event_duration_seconds"),
    ("multiagents.event.duration.seconds.count", "", gauge, "other_multiagents_event_duration_seconds_count_gauge"),
    ("multiagents.event.duration", "seconds_count", up_down, "other_multiagents_event_duration"),
    ("multiagents.workflow.duration", "s", summary, "other_multiagents_workflow_duration_seconds_count"),
    ("", "multiagents_events_total", gauge, "other"),
    ("\u00e9", "multiagents_worker_health", counter, "other_multiagents_worker_health_total"),
    ("http.server.request.duration", "s", counter, "other_http_server_request_duration_seconds_total"),
    ("http.server.request.duration", "s", gauge, "other_http_server_request_duration_seconds"),
    ("http_server_request_duration_seconds_sum", "", gauge, "other_http_server_request_duration_seconds_sum_gauge"),
    ("upload.size", "By", exponential, "upload_size_bytes_count"),
    ("upload.size.bytes.count", "", gauge, "upload_size_bytes_count_gauge"),
    ("jobs.done_total", "", gauge, "jobs_done_total"),
    ("jobs.done.total", "", up_down, "jobs_done_total"),
    ("jobs_done_total", "", histogram, "jobs_done_total_histogram_count"),
    ("upload.size.bytes.sum", "", histogram, "upload_size_bytes_sum_histogram_count"),
    ("queue_length_count", "", summary, "queue_length_count_summary_count"),
    ("jvm.thread.count", "", up_down, "jvm_thread_count"),
    ("target_info", "", counter, "target_info_total"),
    ("total", "", counter, "other_total"),
    ("total.total", "", gauge, "other_total"),
    ("_TOTAL", "", counter, "TOTAL_total"),
    ("\u00e9_total", "s", up_down, "other_seconds_total"),
)


def test_a_name_that_is_taken_costs_at_most_its_own_metric(pipeline: Pipeline) -> None:
    for number, (name_, unit, build, _) in enumerate(NAME_CASES, 100):
        pipeline.send(odd(number, (name_, unit, build, LABELS)))
    check(pipeline)
    for number, (*case, expected_name) in enumerate(NAME_CASES, 100):
        assert expected_name in served_of(pipeline, number), case


def test_resource_attributes_and_descriptions_cost_nothing(pipeline: Pipeline) -> None:
    resource = {"service.instance.id": "x", "\u00e9": "1", "": "2", "__name__": "3", "job": "orders", "k": _MARK}
    pipeline.send(odd(200, ("odd.text", "", gauge, {}), resource=resource, description=f'"\0\n{_MARK}\\'))
    pipeline.send(odd(201, ("odd.text", "", gauge, {}), resource={"service.instance.id": _MARK}, description="other"))
    check(pipeline)
    info = {"_name__": "3", "k": "?" * len(_NOT_UTF8)}
    assert served_of(pipeline, 200) == {"odd_text": {}, "target_info": info}
    assert set(served_of(pipeline, 201)) == {"odd_text", "target_info"}


def wide(metric: Metric, bounds: int, labels: Mapping[str, Any] = LABELS) -> None:
    metric.histogram.aggregation_temporality = CUMULATIVE  # type: ignore[assignment,unused-ignore]
    point = metric.histogram.data_points.add(**times(), count=1, sum=1, bucket_counts=[1, *[0] * bounds])
    point.explicit_bounds.extend(map(float, range(bounds)))
    point.attributes.extend(attributes(labels))


def many(number: int, resource: Mapping[str, Any], name: str = "odd.many") -> ExportMetricsServiceRequest:
    """A request with 200 points of one gauge."""
    request = odd(number, resource=resource)
    metric = request.resource_metrics[0].scope_metrics[0].metrics.add(name=name)
    for each in range(200):
        gauge(metric, 5, {"number": each})
    return request


LONGEST_ANSWER: Final = 3 * 2**20


def test_a_text_that_each_series_repeats_does_not_multiply_the_answer_to_a_scrape(pipeline: Pipeline) -> None:
    long, names = "x" * 300_000, {f"k{number}": "v" for number in range(12_000)}
    requests = (
        many(400, {"service.instance.id": long}),
        many(401, {"service.instance.id": [long]}),
        many(402, {"service.namespace": long}),
        many(403, {}, "n" * 300_000),
        odd(404, ("odd.unit", "u" * 300_000, counter, {})),
        odd(405, ("odd.labels", "", histogram, names), resource=names),
        odd(406),
    )
    wide(requests[-1].resource_metrics[0].scope_metrics[0].metrics.add(name="odd.wide"), 20_000, {"text": "y" * 4_000})
    for request in requests:
        pipeline.send(request)
    check(pipeline)
    assert len(pipeline.running.metrics()) < LONGEST_ANSWER
    for number in range(400, 407):
        job = f'job=~".*odd-{number}"'
        assert pipeline.prometheus.query(f'{{{job},__name__!="target_info"}}'), number


def test_many_labels_and_bounds_leave_the_first_labels_and_the_sums(pipeline: Pipeline) -> None:
    labels = {f"k{number}": str(number) for number in range(200)}
    request = odd(410, ("odd.first", "", gauge, labels))
    wide(request.resource_metrics[0].scope_metrics[0].metrics.add(name="odd.more"), 501, {})
    wide(request.resource_metrics[0].scope_metrics[0].metrics.add(name="odd.less"), 500, {})
    pipeline.send(request)
    check(pipeline)
    assert served_of(pipeline, 410)["odd_first"] == dict(list(labels.items())[:128])
    assert {"odd_more_count", "odd_more_sum", "odd_less_count"} <= set(served_of(pipeline, 410))
    buckets = {name: len(pipeline.prometheus.query(f"{name}_bucket")) for name in ("odd_more", "odd_less")}
    assert buckets == {"odd_more": 1, "odd_less": 501}


def test_two_scopes_with_one_name_are_both_served(pipeline: Pipeline) -> None:
    request = odd(300)
    for scope, value in (("lib.a", 100), ("lib.b", 50)):
        scoped = request.resource_metrics[0].scope_metrics.add()
        scoped.scope.name = scope
        counter(scoped.metrics.add(name="http.client.calls"), value)
    pipeline.send(request)
    check(pipeline)
    found = pipeline.prometheus.query("http_client_calls_total")
    assert {dict(key)["otel_scope_name"]: value for key, value in found.items()} == {"lib.a": 100, "lib.b": 50}
    assert [line for line in pipeline.running.complaints() if "http_client_calls" in line] == []


@pytest.mark.filterwarnings("ignore:Generating overly large repr")
@settings(FEW, max_examples=25, derandomize=True)
@given(request=requests())
def test_whatever_is_sent_the_target_stays_up_and_others_keep_their_values(
    pipeline: Pipeline, request: ExportMetricsServiceRequest
) -> None:
    pipeline.send(request)
    check(pipeline)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Generating overly large repr")
@settings(FEW, max_examples=500)
@given(request=requests())
def test_whatever_is_sent_in_many_tries(pipeline: Pipeline, request: ExportMetricsServiceRequest) -> None:
    pipeline.send(request)
    check(pipeline)
