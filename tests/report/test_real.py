"""The report after a real run: the demo's orders, through the Collector into a Prometheus that scrapes it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.shown import Run
from tests.report.reading import table
from tests.support.collectors import collector
from tests.support.ports import free_port
from tests.support.processes import REPOSITORY, Process
from tests.support.redis_server import RedisServer
from tests.support.services import Prometheus, wait_until

DEMO = REPOSITORY / "examples" / "demo"
ENDED = "sum(multiagents_workflows_total)"

SCRAPE = """\
global: {{scrape_interval: 1s}}
scrape_configs:
  - job_name: multiagents
    honor_labels: true
    static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
"""


@pytest.fixture
def prometheus(tmp_path: Path) -> Iterator[Prometheus]:
    """One that had looked before the demo ran, and that has seen all of it."""
    config = tmp_path / "prometheus.yaml"
    with RedisServer() as redis, collector(tmp_path / "collector") as running:
        config.write_text(SCRAPE.format(port=running.ports["export_port"]))
        with Prometheus(config, tmp_path / "data", free_port()) as started:
            wait_until(lambda: started.query("up == 1"), "the Collector is scraped")
            env = {**running.environment(), "REDIS_URL": redis.url}
            with Process.python(DEMO / "warehouse.py", env={**env, "OTEL_SERVICE_NAME": "warehouse"}) as warehouse:
                wait_until(lambda: warehouse.lines, "the warehouse is open")
                with Process.python(DEMO / "shop.py", env={**env, "OTEL_SERVICE_NAME": "shop"}) as shop:
                    shop.wait_ok(60)
                warehouse.terminate()
            wait_until(lambda: started.query(f"{ENDED} == 3"), "Prometheus has the three orders")
            # The workers' last figures come with the end of their process, as those of the workflows have.
            wait_until(lambda: started.query("sum(multiagents_worker_executions_total) == 8"), "and the workers'")
            yield started


def test_the_demo_is_told_as_it_was(run: Run, prometheus: Prometheus) -> None:
    shown = run("report", "--prometheus", prometheus.url, "--since", "10m", "--width", "200")
    assert (shown.status, shown.err) == (0, "")
    ends = {row["workflow"]: [row[each] for each in ("started", *STATUSES)] for row in table(shown.out, "Workflows")}
    assert ends == {"order_processing": ["2", "1", "1", "0"], "gift_order": ["1", "0", "0", "1"]}
    runs = {row["worker"]: (row["runs"], row["errors"]) for row in table(shown.out, "Workers")}
    assert runs == {
        "validate_order": ("3", "0"),
        "charge_payment": ("3", "0"),
        "ship_order": ("2", "1"),
    }
    (error,) = table(shown.out, "Error patterns")
    assert (error["worker"], error["errors"]) == ("ship_order", "1")
    assert error["error type"].endswith("OutOfStockError")
    faults = [(row["fault"], row["where"], row["count"]) for row in table(shown.out, "Delivery")]
    assert ("undelivered", "CommandEvent, wrap_gift", "1") in faults
    assert "services: shop (1 process), warehouse (1 process)" in shown.out.splitlines()
    assert "33.3 % of workflows succeeded; the objective of 99 % is missed. 3 workflows ended." in shown.out


STATUSES = ("completed", "compensated", "stalled")
