"""Counters of faults across gaps in the metrics, and in a Prometheus without its storage: old faults are not new."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

from tests.rules.rule_files import PROMETHEUS, alerts
from tests.support.services import find


class Fault(NamedTuple):
    """One counter of faults: its series, the series that has the age of its process, and the alert on it."""

    name: str
    series: str
    age: str
    alert: str
    recorded: str = "multiagents:faults"


_PROCESS: Final = 'job="orders",instance="a"'
_PROBES: Final = f"multiagents_event_loop_lag_seconds_count{{{_PROCESS}}}"
_COLLECTOR: Final = 'job="otel-collector",instance="c:8888"'
_PIPELINE: Final = "pipeline:faults"


def _of_collector(name: str, metric: str, labels: str, alert: str) -> Fault:
    age = f"otelcol_process_uptime_seconds_total{{{_COLLECTOR}}}"
    return Fault(name, f"otelcol_{metric}{{{_COLLECTOR},{labels}}}", age, alert, _PIPELINE)


FAULTS: Final = (
    Fault(
        "undelivered",
        f'multiagents_events_undelivered_total{{{_PROCESS},worker_name="w",event_type="CommandEvent"}}',
        _PROBES,
        "MultiAgentsEventsUndelivered",
    ),
    Fault(
        "undelivered_compensation",
        f'multiagents_compensations_total{{{_PROCESS},workflow_id="order",status="undelivered"}}',
        _PROBES,
        "MultiAgentsCompensationsUndelivered",
    ),
    Fault(
        "duplicated",
        f'multiagents_commands_duplicated_total{{{_PROCESS},worker_name="w"}}',
        _PROBES,
        "MultiAgentsCommandsDuplicated",
    ),
    Fault(
        "stalled",
        f'multiagents_workflow_stalls_total{{{_PROCESS},workflow_id="order"}}',
        _PROBES,
        "MultiAgentsWorkflowsStalled",
    ),
    Fault(
        "dropped",
        f'multiagents_otel_dropped_total{{{_PROCESS},signal="traces",reason="queue_full"}}',
        _PROBES,
        "MultiAgentsTelemetryDropped",
    ),
    Fault("stale", f'multiagents_events_stale_total{{{_PROCESS},worker_name="w"}}', _PROBES, "MultiAgentsStaleResults"),
    Fault(
        "publish_error",
        f'multiagents_events_publish_errors_total{{{_PROCESS},event_type="CommandEvent",error_type="OSError"}}',
        _PROBES,
        "MultiAgentsPublishErrors",
    ),
    Fault("error", f'multiagents_events_total{{{_PROCESS},event_type="CommandEvent",status="error"}}', _PROBES, ""),
    Fault("sdk_error", f'multiagents_otel_errors_total{{{_PROCESS},component="c"}}', _PROBES, "MultiAgentsSdkErrors"),
    Fault(
        "slow_workflow",
        f'multiagents_workflow_duration_seconds_count{{{_PROCESS},workflow_id="order",status="completed"}}',
        _PROBES,
        "MultiAgentsSlowWorkflow",
    ),
    _of_collector(
        "send_failed", "exporter_send_failed_spans", 'exporter="otlp_http"', "MultiAgentsTelemetrySendFailed"
    ),
    _of_collector(
        "enqueue_failed",
        "exporter_enqueue_failed_log_records_total",
        'exporter="otlp_http"',
        "MultiAgentsTelemetryEnqueueFailed",
    ),
    _of_collector("refused", "receiver_refused_metric_points", 'receiver="otlp"', "MultiAgentsTelemetryRefused"),
    Fault(
        "notification_failed",
        'alertmanager_notifications_failed_total{job="alertmanager",instance="am:9093",integration="slack"}',
        'process_start_time_seconds{job="alertmanager",instance="am:9093"}',
        "MultiAgentsNotificationsFailed",
        _PIPELINE,
    ),
    Fault(
        "rule_failure",
        'prometheus_rule_evaluation_failures_total{job="prometheus",instance="p:9090",rule_group="g"}',
        'process_start_time_seconds{job="prometheus",instance="p:9090"}',
        "MultiAgentsRuleFailures",
        _PIPELINE,
    ),
)


class Case(NamedTuple):
    """Values of the counter, the age of its process at minute 0, and what is new when."""

    name: str
    values: str
    age: int | None
    """Seconds; None: nothing says how old the process is."""
    new: dict[int, int]
    """By minutes: the faults of the last 15 minutes; 0 also where nothing is recorded."""
    seen: str = ""
    """When the process itself is scraped, a number for each sample; else whenever its counter is."""
    step: int = 1
    """Minutes between two samples."""


CASES: Final = (
    Case("born at 1, nothing known of the process", "_x5 1x20", None, {4: 0, 8: 1, 19: 1, 20: 0}),
    Case("born at 1 in a process that has been seen for long", "_x5 1x20", 7200, {4: 0, 8: 1, 19: 1, 20: 0}, "1x25"),
    Case("born at 1 together with its process", "_x5 1x20", -300, {4: 0, 8: 1, 19: 1, 20: 0}),
    Case("a gap of 40 minutes, the same count", "5x20 _x40 5x20", 7200, {62: 0, 70: 0}),
    Case("a gap of 90 minutes, the same count", "5x20 _x90 5x20", 7200, {112: 0, 120: 0}),
    Case("a gap of 90 minutes, the same count, nothing known of the process", "5x20 _x90 5x20", None, {112: 0}),
    Case("a gap of 20 hours, the same count, nothing known of the process", "5x5 _x240 5x5", None, {1235: 0}, step=5),
    Case("a gap of 30 hours, the same count", "5x5 _x360 5x5", 7200, {1835: 0, 1850: 0}, step=5),
    Case("two more in a gap of 90 minutes", "5x20 _x90 7x20", 7200, {20: 0, 112: 2, 125: 2, 127: 0}),
    Case("one more after a gap of 30 hours", "5x5 _x360 5x5 6x9", 7200, {1855: 0, 1865: 1, 1880: 0}, step=5),
    Case("a process that comes and goes", "5x20 _x8 5x4 stale _x70 5x4 _x10 6x9", 7200, {29: 0, 105: 0, 120: 1}),
    Case("gone before its counter was born, back with it", "_x20 _x90 3x20", 7200, {112: 3}, "1x20 _x90 1x20"),
    Case("Prometheus is new, the process is not", "5x30", 7200, {1: 0, 5: 0, 16: 0}),
    Case("Prometheus is new, the process is not, one more later", "5x20 6x20", 7200, {20: 0, 22: 1, 35: 1, 36: 0}),
    Case("Prometheus is new, the process younger than the window", "5x30", 895, {5: 5, 14: 5, 15: 0}),
    Case("Prometheus is new, the process a little older than that", "5x30", 905, {5: 0, 14: 0}),
    Case("Prometheus is new, and the counter born later", "_x10 1x30", 7200, {9: 0, 12: 1, 24: 1, 25: 0}, "1x40"),
    Case("began again", "5x30 2x20", 7200, {30: 0, 32: 2, 45: 2, 46: 0}),
    Case("began again in a gap of 90 minutes", "5x20 _x90 2x20", 7200, {112: 2, 126: 0}),
    Case("began again at none", "5x30 0x5 1x20", 7200, {32: 0, 37: 1}),
    Case("two restarts within the window", "0x5 4x2 1x2 3x20", 7200, {7: 4, 10: 5, 13: 7}),
)


def _samples(notation: str) -> Iterator[str]:
    for part in notation.split():  # promtool reads 1x2 as three samples, _x2 as two
        value, _, times = part.partition("x")
        yield from [value] * (int(times or 0) + (value != "_" or not times))


def _age(fault: Fault, case: Case) -> str:
    """The age's series: whole numbers that grow, or the moment of the start, wherever the process is seen."""
    assert case.age is not None
    started = fault.age.startswith("process_start_time")
    return " ".join(
        sample if sample in ("_", "stale") else str(-case.age if started else case.age + 60 * case.step * number)
        for number, sample in enumerate(_samples(case.seen or case.values))
    )


def _input(case: Case) -> Iterator[tuple[str, str]]:
    values = " ".join(_samples(case.values))
    for fault in FAULTS:
        yield fault.series, values
        if fault.name == "slow_workflow":
            yield fault.series.replace("_count{", '_bucket{le="30",'), re.sub(r"\d+", "0", values)
    if case.age is not None:
        yield from {fault.age: _age(fault, case) for fault in FAULTS}.items()


def _check(*unit_tests: dict[str, Any], step: str, file: Path) -> None:
    rules = [str(PROMETHEUS / "rules" / "faults.yaml")]
    file.write_text(json.dumps({"rule_files": rules, "evaluation_interval": step, "tests": unit_tests}))
    argv = [find("promtool"), "test", "rules", str(file)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_fault_counts_once_and_an_old_one_never_whatever_the_gap(case: Case, tmp_path: Path) -> None:
    found = 'sum by (fault) ({__name__=~"(multiagents|pipeline):faults:increase"}) > 0'
    unit_test = {
        "interval": f"{case.step}m",
        "input_series": [{"series": series, "values": values} for series, values in _input(case)],
        "promql_expr_test": [
            {
                "expr": found,
                "eval_time": f"{minute}m",
                "exp_samples": [{"labels": f'{{fault="{fault.name}"}}', "value": new} for fault in FAULTS if new],
            }
            for minute, new in case.new.items()
        ],
    }
    _check(unit_test, step=f"{case.step}m", file=tmp_path / "gaps.yaml")


def test_every_fault_that_is_counted_is_tried() -> None:
    text = (PROMETHEUS / "rules" / "faults.yaml").read_text()
    assert set(re.findall(r'"fault", "(\w+)"', text)) == {fault.name for fault in FAULTS}
    reading = {name for name, alert in alerts().items() if "faults:increase" in alert["expr"]}
    assert reading == {fault.alert for fault in FAULTS if fault.alert}


def test_a_spike_of_errors_before_a_gap_is_no_spike_after_it(tmp_path: Path) -> None:
    series = next(fault.series for fault in FAULTS if fault.name == "error")
    unit_test = {
        "interval": "15s",
        "input_series": [{"series": series, "values": "0x8 50x80 _x360 50x40 53x60"}],
        "promql_expr_test": [
            {
                "expr": "sum(job:multiagents_error_spike:increase)",
                "eval_time": at,
                "exp_samples": [{"labels": "{}", "value": value}],
            }
            for at, value in (("4m", 50), ("20m", 0), ("114m", 0), ("125m", 3))
        ],
    }
    _check(unit_test, step="15s", file=tmp_path / "spike.yaml")
