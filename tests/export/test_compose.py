"""docker-compose.yaml: its form, and what its containers do, run without containers."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml
from compose_spec import PyCompose

from multiagents_otel.tools.deploy.export import exported, write
from multiagents_otel.tools.deploy.parameters import values
from tests.export.chosen import others
from tests.export.containers import Container
from tests.support.ports import free_port
from tests.support.services import Prometheus, fetch, wait_until

SAMPLE = """
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
provider = MeterProvider([PeriodicExportingMetricReader(OTLPMetricExporter())])
provider.get_meter("sample").create_counter("sample.orders").add(42)
provider.shutdown()
"""


def services(text: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(text)["services"]
    return found


@pytest.mark.parametrize("chosen", [{}, others(flags="true"), others(flags="false")], ids=["defaults", "on", "off"])
def test_the_file_has_the_form_of_a_compose_file(chosen: dict[str, str]) -> None:
    # docker-compose puts variables in before it looks at the rest.
    text = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", exported(values(chosen))["docker-compose.yaml"])
    project = PyCompose.from_yaml(text)
    project.validate()
    assert project.service_names() == list(services(text))
    with pytest.raises(ValueError, match="readonly"):
        PyCompose.from_yaml(text.replace("read_only", "readonly"))


def test_what_a_container_mounts_is_exported_and_nobody_else_may_write_it() -> None:
    texts = exported(values())
    for service in services(texts["docker-compose.yaml"]).values():
        for mount in service.get("volumes", []):
            if mount["type"] == "bind":
                source = mount["source"].removeprefix("./")
                assert any(path == source or path.startswith(f"{source}/") for path in texts), source
                assert mount["read_only"]


def test_containers_have_no_rights_that_they_do_not_need() -> None:
    for name, service in services(exported(values())["docker-compose.yaml"]).items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["read_only"], name
        assert "user" in service or name == "volume-owner"
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


def test_grafana_gets_every_variable_and_folder_that_its_files_name() -> None:
    texts = exported(values({"prometheus_address": "localhost:9191"}))
    provisioning = "".join(text for path, text in texts.items() if path.startswith("grafana/provisioning/"))
    grafana = services(texts["docker-compose.yaml"])["grafana"]
    assert set(re.findall(r"url: \$\{(\w+)\}", provisioning)) <= set(grafana["environment"])
    assert grafana["environment"]["PROMETHEUS_URL"] == "http://localhost:9191"
    assert set(re.findall(r"path: (/\S+)", provisioning)) <= {mount["target"] for mount in grafana["volumes"]}


def test_tail_sampling_is_one_parameter_away() -> None:
    collector = services(exported(values({"tail_sampling": "true"}))["docker-compose.yaml"])["collector"]
    assert collector["command"] == ["--config=/etc/otelcol/collector.yaml", "--config=/etc/otelcol/tail-sampling.yaml"]
    assert collector["mem_limit"] == "5120m"
    assert collector["environment"]["GOMEMLIMIT"] == "4096MiB"


PORTS = ("otlp_grpc_port", "otlp_http_port", "export_port", "collector_metrics_port", "health_port")


@pytest.fixture(scope="module")
def chosen() -> dict[str, str]:
    addresses = {name: f"localhost:{free_port()}" for name in ("prometheus_address", "alertmanager_address")}
    switches = {"scrape_interval": "1s", "evaluation_interval": "1s", "service_name": "shop"}
    channels = dict.fromkeys(("slack", "pagerduty", "pagerduty_escalation"), "false")
    mails = dict.fromkeys(("alert_to_emails", "escalation_to_emails", "watchdog_url", "smtp_user"), "")
    return {name: str(free_port()) for name in PORTS} | addresses | switches | channels | mails


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, chosen: dict[str, str]) -> Path:
    folder = tmp_path_factory.mktemp("compose")
    write(folder, exported(values(chosen)))
    return folder


@pytest.fixture(scope="module")
def prometheus(folder: Path, chosen: dict[str, str]) -> Iterator[Prometheus]:
    """All three programs, each with the command of its container, as if in one network: this machine's loopback."""
    found = services((folder / "docker-compose.yaml").read_text())
    urls = {
        "collector": f"http://localhost:{chosen['health_port']}/",
        "prometheus": f"http://{chosen['prometheus_address']}/-/ready",
        "alertmanager": f"http://{chosen['alertmanager_address']}/-/ready",
    }
    with ExitStack() as running:
        for name, url in urls.items():
            running.enter_context(container(name, found[name], folder).running(url))
        client = Prometheus(folder / "prometheus/prometheus.yaml", folder, 0)
        client.url = f"http://{chosen['prometheus_address']}"
        yield client


def container(name: str, service: dict[str, Any], folder: Path) -> Container:
    mounts = {}
    for mount in service["volumes"]:
        place = folder / mount["source"] if mount["type"] == "bind" else folder / "volumes" / mount["source"]
        mounts[mount["target"]] = place
        if mount["type"] == "volume":
            place.mkdir(parents=True, exist_ok=True)
    return Container(name, service["command"], service.get("environment", {}), service.get("working_dir", ""), mounts)


def test_prometheus_scrapes_all_that_runs_and_finds_alertmanager(prometheus: Prometheus) -> None:
    def up() -> bool:
        return {(dict(labels)["job"], value) for labels, value in prometheus.query("up").items()} == {
            (job, 1.0) for job in ("multiagents", "otel-collector", "alertmanager", "prometheus")
        }

    wait_until(up, "all four jobs are scraped")
    found = wait_until(lambda: prometheus.api("alertmanagers")["activeAlertmanagers"], "Alertmanager is found")
    assert len(found) == 1


def test_every_rule_is_evaluated(prometheus: Prometheus, folder: Path) -> None:
    files = [yaml.safe_load(path.read_text()) for path in (folder / "prometheus/rules").iterdir()]
    written = sorted(
        rule.get("alert") or rule["record"] for file in files for group in file["groups"] for rule in group["rules"]
    )

    def rules() -> list[dict[str, Any]]:
        return [rule for group in prometheus.api("rules")["groups"] for rule in group["rules"]]

    wait_until(lambda: all(rule["health"] != "unknown" for rule in rules()), "the rules are evaluated")
    assert sorted(rule["name"] for rule in rules()) == written
    assert [rule["name"] for rule in rules() if rule["health"] != "ok"] == []


def test_the_healthchecks_ask_for_what_answers(prometheus: Prometheus, folder: Path) -> None:
    found = services((folder / "docker-compose.yaml").read_text())
    for name in ("prometheus", "alertmanager"):
        assert fetch(found[name]["healthcheck"]["test"][-1])


def test_an_application_with_application_env_is_seen_in_prometheus(prometheus: Prometheus, folder: Path) -> None:
    script = 'set -a; . ./application.env; set +a; exec "$@"'
    argv = ["sh", "-c", script, "sh", sys.executable, "-c", SAMPLE]
    subprocess.run(argv, cwd=folder, check=True, timeout=60)
    found = wait_until(lambda: prometheus.query("sample_orders_total"), "the counter is scraped")
    [(labels, value)] = found.items()
    assert (dict(labels)["job"], value) == ("shop", 42.0)


def test_a_damaged_queue_file_is_put_aside_before_the_collector_starts(folder: Path, tmp_path: Path) -> None:
    found = services((folder / "docker-compose.yaml").read_text())
    check = found["queue-check"]
    script, data = check["volumes"]
    queue = tmp_path / "exporter_otlp_http__traces"
    queue.write_text("no database")
    places = {script["target"]: str(folder / script["source"]), data["target"]: str(tmp_path)}
    assert check["command"][0] == "python"
    argv = [sys.executable, *(places[argument] for argument in check["command"][1:])]
    subprocess.run(argv, check=True, timeout=60)
    assert [path.name.split("-")[0] for path in tmp_path.iterdir()] == [f"{queue.name}.damaged"]
    assert found["collector"]["depends_on"]["queue-check"] == {"condition": "service_completed_successfully"}
    assert found["collector"]["environment"]["COLLECTOR_STORAGE"] == data["target"]


def test_application_env_is_read_alike_by_who_knows_no_comments_behind_values(folder: Path) -> None:
    for line in (folder / "application.env").read_text().splitlines():
        assert line.startswith("#") or re.fullmatch(r"[A-Z_]+=[^\s#]+", line)
