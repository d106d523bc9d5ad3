"""What ``config export`` says to run next runs, with the endpoint of the guide's configuration."""

from __future__ import annotations

import re
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from tests.cli.conftest import run  # noqa: F401 - a fixture
from tests.cli.shown import Run
from tests.export.containers import PROGRAMS
from tests.export.test_compose import PORTS
from tests.support.ports import free_port
from tests.support.processes import Process
from tests.support.services import Prometheus, fetch, find, wait_until

NAMES = {"collector": "otelcol-contrib", "prometheus": "prometheus", "alertmanager": "alertmanager"}


def answers(url: str) -> bool:
    return fetch(url) is not None


def test_the_commands_that_are_printed_run_the_pipeline(
    run: Run,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path / "out"
    addresses = {name: f"localhost:{free_port()}" for name in ("prometheus_address", "alertmanager_address")}
    chosen = {name: str(free_port()) for name in PORTS} | addresses | {"scrape_interval": "1s"}
    config = tmp_path / "monitoring.yaml"
    config.write_text(f"metrics_collection:\n  export_prometheus: true\n  export_port: {chosen.pop('export_port')}\n")
    options = [f"--config={config}", *(f"--set={name}={value}" for name, value in chosen.items())]
    told = run("config", "export", str(folder), *options)
    printed = re.sub(r"\\\n\s+", "", told.out)
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    for program, name in NAMES.items():
        (bin_folder / name).symlink_to(find(*PROGRAMS[program]))
    monkeypatch.setenv("PATH", str(bin_folder), prepend=":")
    urls = [
        f"http://localhost:{chosen['health_port']}/",
        *(f"http://{address}/-/ready" for address in addresses.values()),
    ]
    with ExitStack() as running:
        for name, url in zip(NAMES.values(), urls, strict=True):
            [line] = re.findall(rf"^.{{23}}(.*\b{name} --.*)$", printed, re.M)
            process = running.enter_context(Process(["sh", "-c", line], cwd=folder))
            wait_until(partial(answers, url), f"{name} is ready: {line}\n{process.output}")
        assert {"collector-storage", "prometheus-data", "alertmanager-data"} < {path.name for path in folder.iterdir()}
        prometheus = Prometheus(folder / "prometheus/prometheus.yaml", folder, 0)
        prometheus.url = f"http://{addresses['prometheus_address']}"
        wait_until(lambda: list(prometheus.query("up").values()) == [1.0] * 4, "all four are scraped")
