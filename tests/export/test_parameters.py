"""What a parameter changes in the files, and that programs take the files with other values."""

from __future__ import annotations

import difflib
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from multiagents_otel.tools.deploy.export import exported, write
from multiagents_otel.tools.deploy.files import folder, read
from multiagents_otel.tools.deploy.parameters import PARAMETERS, ParameterError, values
from multiagents_otel.tools.deploy.render import render
from tests.export.chosen import other, others
from tests.support.services import find

MADE = ("docker-compose.yaml", "kubernetes/")
"""Files that are made of the others as a whole."""

MARKED = {
    path: text
    for path, text in read().items()
    if not path.startswith(MADE) and ("parameter: " in text or "# >>> " in text)
}


def test_with_the_defaults_every_file_is_the_one_in_the_repository() -> None:
    assert exported(values()) == read()


def test_every_file_of_the_repository_is_exported() -> None:
    there = {path.relative_to(folder()).as_posix() for path in folder().rglob("*") if path.is_file()}
    assert set(exported(values())) == {path for path in there if "secrets/" not in path}


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_parameter_changes_the_lines_that_it_is_marked_in_and_no_other(name: str) -> None:
    before, after = values(), values({name: other(PARAMETERS[name])})
    follows = {address for address in PARAMETERS if before[address] != after[address]}
    changed = 0
    for path, text in MARKED.items():
        rendered = render(text, before), render(text, after)
        if rendered[0] != rendered[1]:
            changed += 1
            for line in changed_outside_regions(*rendered, name):
                assert set(re.findall(r"\w+", line.partition("parameter:")[2])) & follows, (path, line)
    if not changed:  # what is made of the files has parameters of its own
        made = exported(after)
        changed = sum(made[path] != text for path, text in read().items() if path.startswith(MADE))
    assert changed


def changed_outside_regions(before: str, after: str, name: str) -> Iterator[str]:
    """Lines that differ, but for those of regions that are made or that a flag takes out."""
    cut = re.compile(rf"^ *# >>> (?:generated: \w+|only with: {name})\n.*?^ *# <<<\n", re.M | re.S)
    yield from (
        line[2:]
        for line in difflib.ndiff(cut.sub("", before).splitlines(), cut.sub("", after).splitlines())
        if line[:1] in "+-"
    )


@pytest.fixture(scope="module", params=["true", "false"])
def directory(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files with every parameter at another value; all flags on, or all off."""
    directory = tmp_path_factory.mktemp(f"flags-{request.param}")
    write(directory, exported(values(others(flags=request.param))))
    return directory


def check(*argv: str | Path, cwd: Path) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60, cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def commands() -> list[str]:
    """How the Collector is started, as the files themselves say."""
    texts = "\n".join(text for path, text in read().items() if not path.startswith(MADE))
    whole = re.sub(r"\\\n#\s*", "", texts)
    return sorted(set(re.findall(r"^# +otelcol-contrib( --config [^\n#]+)$", whole, re.M)))


def test_every_way_to_start_a_collector_is_told_by_its_files() -> None:
    told = {file for command in commands() for file in re.findall(r"[\w/-]+\.yaml", command)}
    made_for_it = {
        path for path, text in read().items() if path.endswith(".yaml") and re.search(r"^service:$", text, re.M)
    }
    made_for_it = {path for path in made_for_it if not path.startswith(MADE)}
    assert made_for_it <= told
    assert told <= set(read())


@pytest.mark.parametrize("command", commands())
def test_the_collector_takes_its_files_with_other_values(directory: Path, command: str) -> None:
    check(find("otelcol", "otelcol-contrib"), "validate", *command.split(), cwd=directory)


def test_prometheus_takes_its_files_with_other_values(directory: Path) -> None:
    told = check(find("promtool"), "check", "config", "prometheus/prometheus.yaml", cwd=directory)
    count = len(list((directory / "prometheus" / "rules").iterdir()))
    assert f"SUCCESS: {count} rule files found" in told


def test_alertmanager_takes_its_file_with_other_values(directory: Path) -> None:
    check(find("amtool"), "check-config", "alertmanager.yaml", cwd=directory / "alertmanager")


def test_the_scrape_follows_the_port_that_the_collector_serves() -> None:
    texts = exported(values({"export_port": "9999", "collector_metrics_port": "8899", "otlp_http_port": "5318"}))
    assert "targets: [localhost:9999]" in texts["prometheus/prometheus.yaml"]
    assert "targets: [localhost:8899]" in texts["prometheus/prometheus.yaml"]
    assert "OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:5318\n" in texts["application.env"]
    assert values({"export_port": "9999", "collector_metrics": "agent-1:1, agent-2:1"})["collector_metrics"] == (
        "agent-1:1, agent-2:1"
    )


def test_prometheus_makes_room_for_the_guides_port() -> None:
    assert values({"export_port": "9090"})["prometheus_address"] == "localhost:9091"
    texts = exported(values({"export_port": "9090"}))
    assert "--web.listen-address=:9091" in texts["docker-compose.yaml"]
    assert "- 127.0.0.1:9091:9091" in texts["docker-compose.yaml"]
    assert values({"export_port": "9090", "prometheus_address": "prometheus:9090"})["prometheus_address"] == (
        "prometheus:9090"
    )


def test_two_servers_of_one_collector_cannot_have_one_port() -> None:
    with pytest.raises(ParameterError, match="otlp_http_port and export_port are both 4318: two ports are needed"):
        values({"export_port": "4318"})


@pytest.mark.parametrize(
    ("chosen", "fault"),
    [
        ({"slow_workflow_seconds": "17"}, "slow_workflow_seconds: '17' is none of 0.01, .*, 30, 60, .*7200"),
        ({"backend_exporter": "zipkin"}, "backend_exporter: 'zipkin' is none of otlp_http, otlp_grpc, nop"),
        (
            {"alert_window": "30s"},
            "alert_window: 30s is not at least 4 times scrape_interval .15s.: a rate needs",
        ),
        (
            {"fault_window": "2h"},
            "counter_memory: 1h is not more than fault_window .2h.: old errors",
        ),
        (
            {"counter_memory": "5m", "fault_window": "1m"},
            "counter_memory: 5m is not more than error_spike_window .5m.",
        ),
        (
            {"collector_memory_mib": "128"},
            "collector_memory_mib: 128 is not more than collector_memory_spike_mib",
        ),
    ],
    ids=lambda each: None if isinstance(each, str) else "-".join(each),
)
def test_values_with_which_alerts_would_fire_never_or_for_ever_are_refused(chosen: dict[str, str], fault: str) -> None:
    with pytest.raises(ParameterError, match=fault):
        values(chosen)


@pytest.mark.parametrize(
    ("cooldown", "repeat"), [("15m", "840s"), ("5m", "280s"), ("1h", "3360s"), ("3s", "2800ms"), ("2s", "1866ms")]
)
def test_what_still_fires_is_told_again_when_a_chosen_cooldown_ends(cooldown: str, repeat: str) -> None:
    assert values({"alert_cooldown": cooldown})["alert_repeat"] == repeat
    assert values({"alert_cooldown": cooldown, "alert_repeat": "1s"})["alert_repeat"] == "1s"


def test_who_exports_less_often_is_not_taken_for_silent() -> None:
    chosen = values({"metric_export_ms": "60000"})
    assert (chosen["metric_expiration"], chosen["process_silent_seconds"]) == ("180s", "240")
    assert "OTEL_METRIC_EXPORT_INTERVAL=60000\n" in exported(chosen)["application.env"]
    chosen = values({"metric_export_ms": "500", "metric_expiration": "10s", "scrape_interval": "500ms"})
    assert (chosen["metric_expiration"], chosen["process_silent_seconds"]) == ("10s", "2")
    chosen = values({"metric_export_ms": "500"})
    assert (chosen["metric_expiration"], chosen["process_silent_seconds"]) == ("30s", "60")  # of the scrapes


def test_links_in_messages_lead_to_where_prometheus_and_alertmanager_are() -> None:
    chosen = values({"prometheus_address": "prom:1234", "alertmanager_url": "https://alerts.example/am"})
    assert (chosen["prometheus_url"], chosen["alertmanager_url"]) == ("http://prom:1234", "https://alerts.example/am")
    texts = exported(chosen)
    assert "- --web.external-url=http://prom:1234\n" in texts["docker-compose.yaml"]
    for path in ("docker-compose.yaml", "kubernetes/alertmanager.yaml"):
        assert "- --web.external-url=https://alerts.example/am\n" in texts[path]


def test_nobody_is_paged_for_metrics_that_were_turned_off() -> None:
    rules = exported(values({"export_prometheus": "false"}))["prometheus/rules/pipeline.yaml"]
    assert 'absent(up{job="multiagents"})' not in rules
    assert "MultiAgentsNoData" not in rules
    assert 'absent(up{job="otel-collector"})' in rules
