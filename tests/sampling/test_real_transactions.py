"""The real framework in two processes over a real Redis, through an agent and two gateways."""

from __future__ import annotations

from pathlib import Path

from tests.integration.conftest import Orders
from tests.sampling.backend import Backend
from tests.sampling.running import gateways
from tests.support.expected import COMPENSATED, COMPLETED
from tests.support.redis_server import RedisServer
from tests.support.sagas import order_payload
from tests.support.services import wait_until
from tests.support.trees import tree


def test_the_order_that_fails_is_whole_in_the_backend_and_the_healthy_one_is_not_there(tmp_path: Path) -> None:
    with (
        Backend() as backend,
        gateways(tmp_path, backend, healthy_percent=0) as pipeline,
        RedisServer() as redis,
        Orders(redis, backend) as orders,
    ):
        processes = [start(env=pipeline.entry.environment()) for start in (orders.worker, orders.orchestrator)]
        assert orders.order(processes[1], order_payload())[1] == "completed"
        assert orders.order(processes[1], order_payload(fail_at="ship_order"), 2)[1] == "compensated"
        spans = len(f"{COMPLETED}\n{COMPENSATED}".splitlines())
        wait_until(lambda: pipeline.figure("receiver_accepted_spans") == spans, "all spans at the gateways")
        orders.stop(*processes)
        backend.wait_for(lambda _: len(backend.spans) >= len(COMPENSATED.splitlines()))
        assert tree(backend.spans) == COMPENSATED
