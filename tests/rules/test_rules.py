"""The rules: valid for promtool, every alert unit-tested, explained in the runbook, and made of metrics that exist."""

from __future__ import annotations

import re
import subprocess
from itertools import chain
from pathlib import Path
from typing import Final

import pytest

from multiagents_otel import semconv
from multiagents_otel.tools.deploy.files import folder
from multiagents_otel.tools.deploy.parameters import PARAMETERS, ParameterError, prometheus, values
from multiagents_otel.tools.deploy.render import render
from tests.rules.rule_files import PROMETHEUS, RULE_FILES, UNIT_TESTS, alerts, expectations, metrics_of, rules
from tests.support.services import find

_RUNBOOK: Final = folder() / "runbook.md"
_SUFFIX: Final = {"s": "_seconds", "By": "_bytes", "%": "_percent"}
# What the pipeline's own programs tell of themselves; the Collector's as its own version here names them.
_OTHERS: Final = {
    "up",
    "ALERTS",
    "alertmanager_notifications_failed_total",
    "alertmanager_notifications_total",
    "prometheus_rule_evaluation_failures_total",
    "process_start_time_seconds",
    "otelcol_exporter_queue_size",
    "otelcol_exporter_queue_capacity",
    *(
        f"otelcol_{metric}_{items}"
        for metric in ("exporter_send_failed", "exporter_enqueue_failed", "exporter_sent", "receiver_refused")
        for items in ("spans", "metric_points", "log_records")
    ),
    "otelcol_processor_tail_sampling_sampling_traces_on_memory",
    "otelcol_processor_tail_sampling_new_trace_id_received",
    "otelcol_process_memory_rss",
    "otelcol_process_uptime",
    "otelcol_receiver_accepted_metric_points",
}


def _promtool(*arguments: str | Path) -> str:
    done = subprocess.run(
        [find("promtool"), *map(str, arguments)], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize("unit_test", UNIT_TESTS, ids=lambda path: path.stem)
def test_rules_give_the_numbers_and_alerts_that_were_worked_out_by_hand(unit_test: Path) -> None:
    _promtool("test", "rules", unit_test)


def test_prometheus_takes_the_configuration_and_all_rules() -> None:
    said = _promtool("check", "config", PROMETHEUS / "prometheus.yaml")
    assert f"SUCCESS: {len(RULE_FILES)} rule files found" in said


def test_prometheus_takes_them_with_other_values_too(tmp_path: Path) -> None:
    other = {
        row.name: {"duration": "7s", "number": "0.7", "integer": "7", "text": "there:7, other:8", "flag": "true"}[
            row.kind
        ]
        for row in prometheus.ROWS
    }
    other |= {"runbook": "https://runbooks.example/multiagents", "slow_workflow_seconds": "0.5"}
    other |= {"scrape_interval": "1s", "evaluation_interval": "900ms", "counter_memory": "8s", "metric_export_ms": "1"}
    other |= {
        "prometheus_address": "there:7",
        "slo_objective_percent": "99.7",
        "process_memory_seconds": "70",
        "process_silent_seconds": "2.7",
    }
    other |= {f"slo_{speed}_short": "2s" for speed in ("fast", "medium", "slow")}
    for source in (PROMETHEUS / "prometheus.yaml", *RULE_FILES):
        target = tmp_path / source.relative_to(PROMETHEUS)
        target.parent.mkdir(exist_ok=True)
        target.write_text(render(source.read_text(), values(other)))
    _promtool("check", "config", tmp_path / "prometheus.yaml")
    text = "".join(path.read_text() for path in tmp_path.rglob("*.yaml"))
    assert "runbook_url: https://runbooks.example/multiagents#multiagentshighcpu" in text
    durations = {row.default for row in prometheus.ROWS if row.kind == "duration"}
    assert not [
        duration for duration in durations if re.search(rf"\b(for:|offset|last) {duration}\b|\[{duration}]", text)
    ]


def test_every_alert_has_a_unit_test_in_which_it_fires_and_one_in_which_it_does_not() -> None:
    fires = {name for name, expected in expectations() if expected}
    silent = {name for name, expected in expectations() if not expected}
    assert fires == alerts().keys()
    assert silent == alerts().keys() - {"MultiAgentsWatchdog"}  # it fires whatever is


def test_every_alert_tells_how_severe_it_is_what_happened_with_its_values_and_where_to_read_on() -> None:
    for name, alert in alerts().items():
        assert alert["labels"]["severity"] in {"info", "warning", "error", "critical", "none"}
        assert alert["annotations"].keys() == {"summary", "description", "runbook_url"}, name
        assert alert["annotations"]["runbook_url"] == f"runbook.md#{name.lower()}"
        assert (
            "$value" in alert["annotations"]["description"]
            or "query" in alert["annotations"]["description"]
            or (name == "MultiAgentsEscalated")
        ), name


def test_the_guide_s_rules_have_its_thresholds_and_severities() -> None:
    guide = {
        "MultiAgentsHighErrorRate": ("warning", "> 10  # parameter: high_error_percent"),
        "MultiAgentsHighLatency": ("warning", "> 5  # parameter: high_latency_seconds"),
        "MultiAgentsHighCPU": ("critical", "> 90  # parameter: high_cpu_percent"),
        "MultiAgentsWorkerFailed": ("error", "multiagents_worker_health:held == 2)"),
        "MultiAgentsErrorSpike": ("error", "> 10  # parameter: error_spike_count"),
    }
    for name, (severity, condition) in guide.items():
        alert = alerts()[name]
        assert (alert["labels"]["severity"], condition in alert["expr"]) == (severity, True), name


def test_the_runbook_has_one_section_for_each_alert_and_none_for_another() -> None:
    sections = re.split(r"^## ", _RUNBOOK.read_text(), flags=re.MULTILINE)[1:]
    titles = [section.splitlines()[0] for section in sections if section.startswith("MultiAgents")]
    assert sorted(titles) == sorted(alerts())
    for section in sections:
        if section.startswith("MultiAgents"):
            paragraphs = re.findall(r"^\*\*(.+?)\*\*", section, flags=re.MULTILINE)
            assert paragraphs == ["Means.", "Matters.", "Look.", "Mend."], section.splitlines()[0]


def test_the_queries_of_the_runbook_are_promql_over_metrics_that_exist() -> None:
    blocks = re.findall(r"^```promql\n(.*?)^```", _RUNBOOK.read_text(), flags=re.MULTILINE | re.DOTALL)
    assert len(blocks) == len(alerts())
    unknown = {query: metrics_of(query) - _known() for block in blocks for query in block.splitlines()}
    assert {query: names for query, names in unknown.items() if names} == {}


def test_every_metric_that_a_rule_reads_exists() -> None:
    unknown = {rule.get("alert") or rule["record"]: metrics_of(rule["expr"]) - _known() for rule in rules()}
    assert {name: metrics for name, metrics in unknown.items() if metrics} == {}


def test_every_parameter_of_prometheus_is_used_in_its_files() -> None:
    text = "".join(path.read_text() for path in (PROMETHEUS / "prometheus.yaml", *RULE_FILES))
    used = {name for names in re.findall(r"(?:parameter|only with): ([\w, ]+\w)", text) for name in names.split(", ")}
    assert used - {"export_prometheus", "held_transactions"} == {row.name for row in prometheus.ROWS}


def test_a_slow_workflow_s_seconds_are_a_bucket_of_its_histogram() -> None:
    assert float(PARAMETERS["slow_workflow_seconds"].default) in semconv.WORKFLOW_DURATION.boundaries


def test_a_percentage_beyond_a_hundred_is_refused() -> None:
    with pytest.raises(ParameterError, match="high_cpu_percent: 101 is not between 0 and 100"):
        values({"high_cpu_percent": "101"})


def _known() -> set[str]:
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    return recorded | _OTHERS | set(chain.from_iterable(map(_as_prometheus_spells, semconv.INSTRUMENTS)))


def _as_prometheus_spells(row: semconv.Instrument) -> list[str]:
    name = row.name.replace(".", "_") + _SUFFIX.get(row.unit, "")
    if row.kind == semconv.HISTOGRAM:
        return [f"{name}_bucket", f"{name}_sum", f"{name}_count"]
    return [f"{name}_total" if row.kind == semconv.COUNTER else name]
