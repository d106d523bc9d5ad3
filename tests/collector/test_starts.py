"""Each file is valid, starts without a complaint, and says how it is."""

from __future__ import annotations

import os
import queue
import socket
import subprocess
import threading
import urllib.error
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import combinations
from pathlib import Path
from typing import Final

import pytest

from multiagents_otel.tools.deploy.parameters import values
from multiagents_otel.tools.deploy.render import render
from tests.collector.sending import metrics, post, traces
from tests.support.collectors import FOLDER, Running, collector
from tests.support.receiver import OtlpReceiver
from tests.support.services import fetch, find, wait_until

OVERLAYS: Final = tuple(sorted(f"security/{path.name}" for path in (FOLDER / "security").iterdir()))
TOKENS: Final = {"security/token.yaml": "bearertokenauth", "security/backend-token.yaml": "bearertokenauth/backend"}


@pytest.mark.parametrize("name", ["collector.yaml", *OVERLAYS])
def test_a_file_with_all_defaults_is_what_is_shipped(name: str) -> None:
    text = (FOLDER / name).read_text()
    assert render(text, values()) == text


@pytest.mark.parametrize(
    "overlays", [chosen for size in range(len(OVERLAYS) + 1) for chosen in combinations(OVERLAYS, size)], ids="+".join
)
def test_the_files_are_valid_together_and_alone(overlays: tuple[str, ...]) -> None:
    extensions = ["health_check", "file_storage", *(TOKENS[name] for name in overlays if name in TOKENS)]
    configs = [
        *(str(FOLDER / name) for name in ("collector.yaml", *overlays)),
        f"yaml:service::extensions: {extensions}",
    ]
    argv = [find("otelcol", "otelcol-contrib"), "validate", *(f"--config={config}" for config in configs)]
    validated = subprocess.run(argv, capture_output=True, text=True)
    assert (validated.returncode, validated.stdout, validated.stderr) == (0, "", "")


@pytest.mark.parametrize("exporter", ["otlp_http", "otlp_grpc"])
def test_it_starts_and_works_without_a_complaint(tmp_path: Path, exporter: str) -> None:
    with OtlpReceiver() as backend, collector(tmp_path, backend=backend, exporter=exporter) as running:
        health = fetch(f"http://127.0.0.1:{running.ports['health_port']}/")
        assert '"status":"Server available"' in health
        assert post(running, "traces", traces({"name": "a"}, {"name": "b"}).SerializeToString()) == 200
        backend.wait_for(lambda seen: len(seen.spans) == 2)
        wait_until(lambda: running.counted("otelcol_exporter_sent_spans") == 2, "sent spans are counted")
        assert running.counted("otelcol_receiver_accepted_spans") == 2
        assert running.counted("otelcol_exporter_queue_size") == 0
        assert running.service.process.terminate() == 0
        assert running.complaints() == []


@pytest.mark.parametrize(
    ("exporter", "endpoint"),
    [
        ("otlp_http", "http://localhost:9999/otlp"),
        ("otlp_http", "http://localhost:9999/otlp/"),
        ("otlp_http", "https://otlp.example.com"),
        ("otlp_http", "https://otlp.example.com/api/v1?tenant=a"),
        ("otlp_http", "http://[::1]:4318/x"),
        ("otlp_grpc", "localhost:4317"),
        ("otlp_grpc", "http://[::1]:4317"),
        ("otlp_grpc", "https://localhost:4317/"),
        ("otlp_grpc", "dns:///localhost:4317"),
        ("nop", "no URL"),
    ],
)
def test_it_starts_with_every_kind_of_backend(tmp_path: Path, exporter: str, endpoint: str) -> None:
    with collector(tmp_path, env={"BACKEND_EXPORTER": exporter, "BACKEND_ENDPOINT": endpoint}) as running:
        assert post(running, "traces", traces({"name": "a"}).SerializeToString()) == 200


def test_a_wrong_endpoint_of_the_exporter_in_use_is_refused() -> None:
    env = {**os.environ, "BACKEND_EXPORTER": "otlp_grpc", "BACKEND_ENDPOINT": "http://localhost:9999/otlp"}
    argv = [find("otelcol", "otelcol-contrib"), "validate", f"--config={FOLDER / 'collector.yaml'}"]
    validated = subprocess.run(argv, capture_output=True, text=True, env=env)
    assert validated.returncode == 1
    assert 'exporters::otlp_grpc::clientconfig: invalid port "9999/otlp"' in validated.stderr


def test_the_path_of_the_backend_is_kept(tmp_path: Path) -> None:
    paths: queue.Queue[str] = queue.Queue()

    class Backend(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            paths.put(self.path)
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Print nothing."""

    with HTTPServer(("127.0.0.1", 0), Backend) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        env = {"BACKEND_EXPORTER": "otlp_http", "BACKEND_ENDPOINT": f"http://127.0.0.1:{server.server_port}/otlp/"}
        with collector(tmp_path, env=env) as running:
            assert post(running, "traces", traces({"name": "a"}).SerializeToString()) == 200
            assert paths.get(timeout=60) == "/otlp/v1/traces"
        server.shutdown()


def test_without_a_backend_it_serves_prometheus_and_keeps_nothing_on_the_disk(tmp_path: Path) -> None:
    with collector(tmp_path) as running:
        for signal in ("traces", "metrics", "logs"):
            assert post(running, signal, b"") == 200
        assert post(running, "traces", traces(*({"name": "a"},) * 1000).SerializeToString()) == 200
        assert running.counted("otelcol_receiver_accepted_spans") == 1000
        assert list(running.storage.iterdir()) == []
        assert running.metrics().endswith("# EOF\n")
        assert running.complaints() == []


def test_without_prometheus_nothing_listens_on_its_port_and_metrics_go_to_the_backend(tmp_path: Path) -> None:
    with OtlpReceiver() as backend, collector(tmp_path, backend=backend, export_prometheus="false") as running:
        with pytest.raises(urllib.error.URLError, match="Connection refused"):
            running.metrics()
        assert post(running, "metrics", metrics({}).SerializeToString()) == 200
        assert [point.name for point in backend.wait_for(lambda seen: seen.metrics)] == ["app.gauge"]
        assert running.complaints() == []


def test_it_listens_on_one_address_alone_unless_it_is_told_otherwise(tmp_path: Path) -> None:
    def open_elsewhere(running: Running) -> set[str]:
        """The ports that another address of this machine has."""
        found = set()
        for name, port in running.ports.items():
            with socket.socket() as client:
                client.settimeout(10)
                if client.connect_ex(("127.0.0.2", port)) == 0:
                    found.add(name)
        return found

    with collector(tmp_path) as running:
        assert open_elsewhere(running) == set()
    with collector(tmp_path, env={"COLLECTOR_HOST": "0.0.0.0"}) as running:
        assert open_elsewhere(running) == set(running.ports)
