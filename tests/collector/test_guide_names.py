"""The guide's Prometheus names and labels, scraped from the Collector after a known run of two processes."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from tests.collector.sending import metrics, post
from tests.integration import expected
from tests.integration.programs import ORCHESTRATOR, WORKER
from tests.support.collectors import Running, collector
from tests.support.processes import Process
from tests.support.receiver import OtlpReceiver
from tests.support.redis_server import RedisServer
from tests.support.sagas import WORKERS, order_payload
from tests.support.services import wait_until
from tests.support.trees import roots

SERVICE: Final = "shop"
GUIDE: Final = {
    "multiagents_events_total": {"event_type", "status"},
    "multiagents_event_duration_seconds": {"event_type"},
    "multiagents_worker_executions_total": {"worker_name", "status"},
    "multiagents_worker_duration_seconds": {"worker_name"},
    "multiagents_system_cpu_percent": set(),
    "multiagents_system_memory_percent": set(),
    "multiagents_active_workflows": {"workflow_id"},  # the guide's has none: its sum over them is the guide's
    "multiagents_workflow_duration": {"workflow_id", "status"},
}
COUNTED: Final = {
    "multiagents_events_total": "multiagents.events",
    "multiagents_event_duration_seconds_count": "multiagents.event.duration",
    "multiagents_worker_executions_total": "multiagents.worker.executions",
    "multiagents_worker_duration_seconds_count": "multiagents.worker.duration",
    "multiagents_workflow_duration_count": "multiagents.workflow.duration",
    "multiagents_workflow_duration_seconds_count": "multiagents.workflow.duration",
}
OF_THE_PROCESS: Final = {"job", "instance"}


class Shop(NamedTuple):
    """Two processes of one service that send to a Collector, and it to a backend."""

    running: Running
    backend: OtlpReceiver
    redis: RedisServer

    def process(self, code: str, **env: str) -> Process:
        told = {
            **self.running.environment(),
            "OTEL_SERVICE_NAME": SERVICE,
            "REDIS_URL": self.redis.url,
            "OPTIONS": "{}",
        }
        return Process.python(code, env={**told, **env})


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    folder = tmp_path_factory.mktemp("collector")
    with RedisServer() as redis, OtlpReceiver() as backend, collector(folder, backend=backend) as running:
        yield Shop(running, backend, redis)


families: Final[Any] = text_string_to_metric_families


def scraped(running: Running) -> list[Sample]:
    return [sample for family in families(running.metrics()) for sample in family.samples]


def base(name: str) -> str:
    return name.removesuffix("_bucket").removesuffix("_count").removesuffix("_sum").removesuffix("_created")


def counted(samples: list[Sample]) -> dict[str, Counter[tuple[str, ...]]]:
    """What the guide's counters and histograms have counted, over all processes, without the zeros."""
    counts: dict[str, Counter[tuple[str, ...]]] = {name: Counter() for name in COUNTED}
    for sample in samples:
        if sample.name in COUNTED:
            own = sorted(value for label, value in sample.labels.items() if label not in OF_THE_PROCESS)
            key = (COUNTED[sample.name], *own)
            counts[sample.name][key] += int(sample.value)
    return {name: +count for name, count in counts.items()}


def true_counts(completed: int, compensated: int) -> dict[str, Counter[tuple[str, ...]]]:
    sums = expected.sums(completed, compensated)
    return {
        name: Counter({key: count for key, count in sums.items() if key[0] == ours}) for name, ours in COUNTED.items()
    }


def run(orchestrator: Process, payloads: list[dict[str, object]]) -> None:
    for number, payload in enumerate(payloads, 1):
        orchestrator.send_line(json.dumps(payload))
        orchestrator.wait_line("ended ", count=number)


def stop(*processes: Process) -> None:
    for process in processes:
        process.send_line("stop")
    for process in processes:
        process.wait_ok()


def test_the_guides_names_and_labels_have_true_values_and_again_after_a_restart(shop: Shop) -> None:
    running = shop.running
    with shop.process(WORKER) as worker, shop.process(ORCHESTRATOR) as orchestrator:
        worker.wait_line("ready")
        orchestrator.wait_line("ready")
        run(orchestrator, [order_payload()] * 3 + [order_payload(fail_at="ship_order")] * 2)
        wait_until(lambda: counted(scraped(running)) == true_counts(3, 2), "the true counts of two processes")
        wait_until(lambda: active_workflows(running) == 0, "no workflow under way")
        before = scraped(running)
        check_names(before, processes=2)
        stop(worker)
        # Only the export after a measurement has its exemplar: it is served until the next export, 5 s later.
        with shop.process(WORKER, HOLD=WORKERS[1], OTEL_METRIC_EXPORT_INTERVAL="5000") as again:
            again.wait_line("ready")
            for _ in range(4):
                orchestrator.send_line(json.dumps({**order_payload(), "wait": False}))
            wait_until(lambda: active_workflows(running) == 4, "four workflows under way")
            again.send_line("go")
            wait_until(lambda: active_workflows(running) == 0, "no workflow under way")
            exemplars = wait_until(lambda: exemplars_of(scraped(running)), "exemplars of the worker")
            stop(again, orchestrator)
    after = scraped(running)
    assert counted(after) == true_counts(7, 2)
    check_names(after, processes=3)
    assert executions(before) == {"ship_order": [5]}
    assert executions(after) == {"ship_order": [4, 5]}  # an instance of its own; the one before keeps its count
    check_milliseconds(after)
    check_exemplars(exemplars, shop.backend)


def active_workflows(running: Running) -> float:
    return sum(sample.value for sample in scraped(running) if sample.name == "multiagents_active_workflows")


def executions(samples: list[Sample], worker: str = "ship_order") -> dict[str, list[int]]:
    """How often a worker was executed in each process that did."""
    counts = Counter[str]()
    for sample in samples:
        if sample.name == "multiagents_worker_executions_total" and sample.labels["worker_name"] == worker:
            counts[sample.labels["instance"]] += int(sample.value)
    return {worker: sorted((+counts).values())}


def check_names(samples: list[Sample], processes: int) -> None:
    labels: dict[str, set[frozenset[str]]] = {}
    for sample in samples:
        labels.setdefault(base(sample.name), set()).add(frozenset(sample.labels) - {"le"})
        assert sample.labels["job"] == SERVICE
    assert {name: labels[name] for name in GUIDE} == {
        name: {frozenset(own | OF_THE_PROCESS)} for name, own in GUIDE.items()
    }
    for name in ("multiagents_system_cpu_percent", "multiagents_system_memory_percent"):
        told = [sample.value for sample in samples if sample.name == name]
        assert len(told) == processes, name
        assert all(0 <= value <= 100 for value in told)
    assert {sample.value for sample in samples if sample.name == "multiagents_active_workflows"} == {0}


def check_milliseconds(samples: list[Sample]) -> None:
    """The guide's histogram is ours, a thousand times as large: its sum and its bounds."""

    def told(name: str, per: float) -> dict[tuple[str, ...], float]:
        return {
            (
                sample.name.removeprefix(name),
                *(f"{float(text) * per:g}" if label == "le" else text for label, text in sorted(sample.labels.items())),
            ): sample.value * (per if sample.name.endswith("_sum") else 1)
            for sample in samples
            if base(sample.name) == name and not sample.name.endswith("_created")
        }

    assert told("multiagents_workflow_duration", 1) == pytest.approx(told("multiagents_workflow_duration_seconds", 1e3))


def exemplars_of(samples: list[Sample]) -> list[Any]:
    name = "multiagents_worker_duration_seconds_bucket"
    return [sample.exemplar for sample in samples if sample.name == name and sample.exemplar]


def check_exemplars(exemplars: list[Any], backend: OtlpReceiver) -> None:
    """From a bucket there is a way to one of the traces that the backend has."""
    backend.wait_for(lambda seen: len(roots(seen.spans)) == 9)
    spans = {(span.trace_id, span.span_id) for span in backend.spans}
    assert all(exemplar.labels.keys() == {"trace_id", "span_id"} for exemplar in exemplars)
    assert {(exemplar.labels["trace_id"], exemplar.labels["span_id"]) for exemplar in exemplars} <= spans


def test_a_process_that_is_gone_is_gone_from_prometheus_after_the_expiration(tmp_path: Path) -> None:
    def shown(running: Running, *alive: str) -> set[str]:
        for instance in alive:
            resource = {"service.name": SERVICE, "service.instance.id": instance}
            assert post(running, "metrics", metrics({}, resource=resource).SerializeToString()) == 200
        return {sample.labels["instance"] for sample in scraped(running) if sample.name == "app_gauge"}

    with collector(tmp_path, metric_expiration="2s") as running:
        assert shown(running, "one", "two") == {"one", "two"}
        wait_until(lambda: shown(running, "two") == {"two"}, "what the first has told is gone")
