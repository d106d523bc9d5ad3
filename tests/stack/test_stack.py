"""`make stack` starts the whole pipeline with an application under load, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import sys
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import psutil
import pytest

from tests.support.processes import REPOSITORY, Process
from tests.support.redis_server import find_redis_server
from tests.support.services import fetch, wait_until

_READY: Final = "Ctrl-C stops it all."
_SECONDS: Final = 60.0


def _started(folder: Path, *args: str, examples: Path = REPOSITORY / "examples", **env: str) -> Process:
    env = {"MULTIAGENTS_OTEL_REDIS_SERVER": find_redis_server(), **env}
    return Process([sys.executable, str(examples / "stack"), "--folder", str(folder), *args], env=env)


def _descendants(process: Process) -> list[psutil.Process]:
    return list(psutil.Process(process.pid).children(recursive=True))


def _alive(processes: list[psutil.Process]) -> list[str]:
    return [str(each) for each in processes if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]


class Stack:
    """A running stack, by the addresses that it has printed."""

    def __init__(self, process: Process) -> None:
        process.wait_line(_READY, _SECONDS)
        self.process = process
        self.output = process.output
        self.started = _descendants(process)

    def address(self, name: str) -> str:
        found = re.search(rf"^  {name} +(\S+)", self.output, re.MULTILINE)
        assert found, self.output
        return found[1]

    def query(self, expression: str) -> dict[str, float]:
        """The value of each series of Prometheus's, by the values of its labels."""
        query = urllib.parse.urlencode({"query": expression})
        result = json.loads(fetch(f"{self.address('Prometheus')}/api/v1/query?{query}"))["data"]["result"]
        return {",".join(each["metric"].values()): float(each["value"][1]) for each in result}

    def api(self, path: str) -> Any:
        return json.loads(fetch(f"{self.address('Prometheus')}/api/v1/{path}"))["data"]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with _listening(9090, 9093, 4317), _started(tmp_path_factory.mktemp("stack"), ORDERS_PER_SECOND="20") as process:
        yield Stack(process)
        process.terminate()


@contextmanager
def _listening(*ports: int) -> Iterator[None]:
    """Somebody else has these ports: we, or whoever runs on this machine anyway."""
    sockets = []
    for port in ports:
        server = socket.socket()
        sockets.append(server)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            server.bind(("127.0.0.1", port))
            server.listen()
        except OSError:
            pass
    yield
    for server in sockets:
        server.close()


def test_it_prints_addresses_and_takes_others_where_the_usual_ports_are_taken(stack: Stack) -> None:
    assert stack.process.lines[:2] == [
        "An order saga in two processes, under load; some orders fail, and alerts come in their time.",
        "",
    ]
    for name, usual in (("Prometheus", 9090), ("Alertmanager", 9093)):
        assert urllib.parse.urlsplit(stack.address(name)).port != usual
    assert "127.0.0.1:4317 " not in stack.output


def test_prometheus_has_the_figures_of_the_demo(stack: Stack) -> None:
    ended = 'sum by (status) (multiagents_workflows_total{workflow_id="order_processing"} > 0)'
    wait_until(lambda: set(stack.query(ended)) == {"completed", "compensated"}, "orders of both kinds", _SECONDS)
    stalled = 'sum by (status) (multiagents_workflows_total{workflow_id="gift_order"} > 0)'
    wait_until(lambda: set(stack.query(stalled)) == {"stalled"}, "a gift that nobody wraps", _SECONDS)
    by_service = stack.query("count by (job) (multiagents_event_loop_lag_seconds_count)")
    assert by_service == {"warehouse": 1, "orders": 1}
    executions = stack.query("sum by (job, worker_name) (multiagents_worker_executions_total)")
    assert set(executions) == {f"warehouse,{name}" for name in ("validate_order", "charge_payment", "ship_order")}


def test_every_part_is_scraped_and_prometheus_knows_its_rules_and_alertmanager(stack: Stack) -> None:
    jobs = {"multiagents", "otel-collector", "alertmanager", "prometheus"}
    wait_until(lambda: stack.query("count by (job) (up == 1)") == dict.fromkeys(jobs, 1.0), "all are up", _SECONDS)
    groups = stack.api("rules")["groups"]
    assert groups
    assert {rule["health"] for group in groups for rule in group["rules"]} <= {"ok", "unknown"}
    managers = stack.api("alertmanagers")["activeAlertmanagers"]
    assert [each["url"] for each in managers] == [f"{stack.address('Alertmanager')}/api/v2/alerts"]


def test_ctrl_c_ends_all_of_it_in_its_order(tmp_path: Path) -> None:
    with _started(tmp_path) as process:
        stack = Stack(process)
        assert len(stack.started) == 6  # Redis, Alertmanager, Collector, Prometheus, warehouse, orders
        # As a terminal does it: the whole group gets the signal, and it comes twice if somebody is impatient.
        os.killpg(process.pid, signal.SIGINT)
        process.wait_line("stopping")
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait_ok(30).splitlines()[-1] == "all is stopped"
        assert _alive(stack.started) == []
    said = {path.stem: path.read_text(encoding="utf-8") for path in (tmp_path / "logs").iterdir()}
    assert "Shutdown complete." in said["collector"]
    # The application could still say all: Redis and the Collector outlived it.
    assert (said["orders"], said["warehouse"]) == ("open\n", "open\n")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_while_it_starts_ends_it_too(tmp_path: Path, number: signal.Signals) -> None:
    with _started(tmp_path) as process:
        wait_until((tmp_path / "logs" / "alertmanager.log").exists, "it starts")
        started = _descendants(process)
        assert started
        process.signal(number)
        assert process.wait_ok(30) == "\nstopping\nall is stopped\n"
        assert _alive(started) == []


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the system does not do it")
def test_nothing_outlives_it_when_it_is_killed_outright(tmp_path: Path) -> None:
    with _started(tmp_path) as process:
        wait_until((tmp_path / "logs" / "prometheus.log").exists, "Prometheus starts, all before it run")
        started = _descendants(process)
        assert len(started) >= 3
        process.kill9()
        wait_until(lambda: not _alive(started), "all have ended")


def test_a_part_that_dies_is_named_with_its_last_words_and_the_rest_is_stopped(tmp_path: Path) -> None:
    with _started(tmp_path) as process:
        stack = Stack(process)
        (collector,) = (each for each in stack.started if "otelcol" in each.name())
        collector.kill()
        assert process.wait(30) == 1
        assert "make stack: collector has ended with -9:" in process.output
        assert "Traceback" not in process.output
        assert _alive(stack.started) == []


def test_a_folder_is_one_stacks_alone(stack: Stack) -> None:
    folder = Path(stack.process.argv[3])
    with _started(folder) as second:
        assert second.wait(30) == 1
        assert second.output == f"make stack: another stack runs in {folder}: stop it, or give --folder\n"
    assert stack.process.returncode is None


def test_a_missing_program_is_told_with_what_to_do(tmp_path: Path) -> None:
    for name in ("stack", "demo"):
        shutil.copytree(REPOSITORY / "examples" / name, tmp_path / "examples" / name)
    with _started(tmp_path / "folder", examples=tmp_path / "examples", PATH="/nowhere") as process:
        assert process.wait(30) == 1
        assert process.lines[-1].endswith("`make stack` and `make collector tools` get it")
        assert "Traceback" not in process.output


def test_it_ends_by_itself_if_asked_to_and_alerts_go_where_the_environment_says(tmp_path: Path) -> None:
    hook = "http://127.0.0.1:9/services/hook"
    with _started(tmp_path, "--seconds", "0", SLACK_WEBHOOK_URL=hook) as process:
        stack = Stack(process)
        process.wait_ok(60)
        assert _alive(stack.started) == []
        assert hook not in process.output
    (secret,) = (tmp_path / "config" / "alertmanager" / "secrets").iterdir()
    assert (secret.name, secret.read_text(encoding="utf-8")) == ("slack_webhook_url", hook)
    assert secret.stat().st_mode & 0o777 == 0o600
    rendered = (tmp_path / "config" / "alertmanager" / "alertmanager.yaml").read_text(encoding="utf-8")
    assert "slack_configs" in rendered
    assert "pagerduty_configs" not in rendered
    assert "email_configs" not in rendered
