"""Processes that end, are killed and come again, told by a real Prometheus at a fast pace."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path

import pytest

from multiagents_otel.tools.deploy.parameters import values
from multiagents_otel.tools.deploy.render import render
from tests.rules.rule_files import PROMETHEUS, RULE_FILES
from tests.support.ports import free_port
from tests.support.services import Prometheus, wait_until

_SILENT = 3


class Fleet:
    """What a Collector would tell of some processes: each scrape finds their event loops a probe further."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[str, int] = {}
        self._living: set[str] = set()
        self._ended: set[str] = set()
        self._health: dict[str, int] = {}

    def start(self, instance: str) -> None:
        with self._lock:
            self._counts[instance] = 0
            self._living.add(instance)
            self._health[instance] = 0

    def fail_worker(self, instance: str) -> None:
        with self._lock:
            self._health[instance] = 2

    def kill(self, instance: str) -> None:
        """Its last words go on being told."""
        with self._lock:
            self._living.remove(instance)

    def end(self, instance: str) -> None:
        """In order: the last export says so."""
        with self._lock:
            self._living.remove(instance)
            self._ended.add(instance)

    def forget(self, instance: str) -> None:
        """Its series have expired."""
        with self._lock:
            del self._counts[instance]

    def scraped(self) -> str:
        with self._lock:
            for instance in self._living:
                self._counts[instance] += 1
            return "".join(map(self._lines, self._counts))

    def _lines(self, instance: str) -> str:
        labels = f'job="orders",instance="{instance}"'
        return (
            f"multiagents_event_loop_lag_seconds_count{{{labels}}} {self._counts[instance]}\n"
            f"multiagents_process_running{{{labels}}} {int(instance not in self._ended)}\n"
            f'multiagents_worker_health{{{labels},worker_name="charge"}} {self._health[instance]}\n'
        )


@pytest.fixture
def fleet() -> Fleet:
    return Fleet()


@pytest.fixture
def prometheus(fleet: Fleet, tmp_path: Path) -> Iterator[Prometheus]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write(fleet.scraped().encode())

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    port = free_port()
    chosen = {
        "scrape_interval": "1s",
        "evaluation_interval": "1s",
        "metric_export_ms": "1000",
        "alert_window": "5s",
        "alert_for": "0s",
        "process_silent_seconds": str(_SILENT),
        "collector_metrics": f"127.0.0.1:{server.server_port}",
        "collector_own_metrics": f"127.0.0.1:{port}",
        "prometheus_address": f"127.0.0.1:{port}",
    }
    for source in (PROMETHEUS / "prometheus.yaml", *RULE_FILES):
        target = tmp_path / source.relative_to(PROMETHEUS)
        target.parent.mkdir(exist_ok=True)
        target.write_text(render(source.read_text(), values(chosen)))
    try:
        with Prometheus(tmp_path / "prometheus.yaml", tmp_path / "data", port) as running:
            yield running
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_only_a_killed_process_is_missed_and_its_failed_worker_stays_failed_until_another_takes_its_place(
    fleet: Fleet, prometheus: Prometheus
) -> None:
    def firing() -> set[tuple[str, str]]:
        return {
            (alert["labels"]["alertname"], alert["labels"].get("instance") or alert["labels"]["worker_name"])
            for alert in prometheus.alerts()
            if alert["state"] == "firing"
            and alert["labels"]["alertname"] in ("MultiAgentsProcessSilent", "MultiAgentsWorkerFailed")
        }

    def alive() -> set[str]:
        return {
            dict(labels)["instance"] for labels in prometheus.query("job_instance:multiagents_process_alive:seconds")
        }

    failed, missed = ("MultiAgentsWorkerFailed", "charge"), ("MultiAgentsProcessSilent", "killed")
    for instance in ("killed", "ends", "lives"):
        fleet.start(instance)
    wait_until(lambda: alive() == {"killed", "ends", "lives"}, "three processes seen")
    fleet.fail_worker("killed")
    wait_until(lambda: firing() == {failed}, "the failed worker")
    fleet.kill("killed")
    fleet.end("ends")
    wait_until(lambda: firing() == {failed, missed}, "the killed process missed")
    fleet.forget("killed")
    fleet.forget("ends")
    wait_until(lambda: not prometheus.query('multiagents_worker_health{instance="killed"}'), "its series ended")
    seen = wait_until(
        lambda: prometheus.query(f"job_instance:multiagents_process_silent:seconds > {2 * _SILENT}"),
        "twice as long",
    )
    assert {dict(labels)["instance"] for labels in seen} == {"killed"}
    assert firing() == {failed, missed}
    fleet.start("replaces")
    wait_until(lambda: firing() == set(), "mended")
    assert _gaps(prometheus, 'ALERTS{alertname="MultiAgentsWorkerFailed",alertstate="firing"}') == []


def _gaps(prometheus: Prometheus, selector: str) -> list[float]:
    """How many seconds a series was away for, each time that it was away for more than two evaluations."""
    now = time.time()
    (series,) = prometheus.api("query_range", query=selector, start=now - 300, end=now, step=1)["result"]
    times = [at for at, _ in series["values"]]
    return [after - before for before, after in pairwise(times) if after - before > 2]
