"""What a Collector has accepted arrives, whatever happens to the backend and to the Collector; and what does not."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest

from tests.sampling.backend import Backend
from tests.sampling.load import Load
from tests.sampling.running import GATEWAY_FOR_ALL, ONE_MACHINE, client, figure, gateways
from tests.support.collectors import Running, collector
from tests.support.expected import COMPLETED
from tests.support.services import wait_until
from tests.support.traffic import Shape, trace_ids, traces

OUTAGES: Final[dict[str, Callable[[Backend], None]]] = {
    "refuses connections": Backend.unplug,
    "lets requests time out": Backend.hang,
    **{f"answers {status}": partial(Backend.refuse, status=status) for status in (429, 502, 503, 504)},
}
MEANWHILE: Final = 500
"""Spans that are accepted in each part of an outage."""
SOON: Final = "exporters::otlp_http::timeout: 1s"


@pytest.fixture
def backend() -> Iterator[Backend]:
    with Backend() as receiver:
        yield receiver


def accept_more(load: Load, spans: int = MEANWHILE) -> None:
    wanted = len(load.spans) + spans
    wait_until(lambda: len(load.spans) >= wanted, f"{spans} more spans accepted")


def survive(outage: str, backend: Backend, running: Running, seconds: float = 0.0) -> None:
    """The backend goes away under load; the Collector is killed twice meanwhile; the backend comes back."""
    with Load(running, seed=sum(outage.encode())) as load:
        accept_more(load)
        OUTAGES[outage](backend)
        for _ in range(2):
            accept_more(load)
            threading.Event().wait(seconds / 2)
            running.service.kill9()
            running.service.start()
        accept_more(load)
        wait_until(lambda: failures(running), "an attempt has failed")
        if outage == "refuses connections":
            backend.plug()
        backend.accept()
        accept_more(load)
    load.check_arrived(backend)
    assert figure(running, "exporter_enqueue_failed_spans") == 0
    assert figure(running, "exporter_send_failed_spans") == 0


def failures(running: Running) -> list[str]:
    """What the Collector's log says of attempts that will be repeated."""
    return [line for line in running.service.process.lines if "Will retry the request" in line]


@pytest.mark.parametrize("outage", OUTAGES)
def test_all_that_was_accepted_arrives_after_two_kills_while_the_backend(
    outage: str, backend: Backend, tmp_path: Path
) -> None:
    with collector(tmp_path, *ONE_MACHINE, backend=backend, more=(SOON,), backend_retry_interval="1s") as running:
        survive(outage, backend, running)


@pytest.mark.slow
@pytest.mark.parametrize("outage", OUTAGES)
def test_all_that_was_accepted_arrives_after_60_seconds_in_which_the_backend(
    outage: str, backend: Backend, tmp_path: Path
) -> None:
    with collector(tmp_path, *ONE_MACHINE, backend=backend) as running:
        survive(outage, backend, running, seconds=60.0)


def test_all_that_was_accepted_arrives_after_two_kills_while_a_backend_over_grpc_is_away(
    backend: Backend, tmp_path: Path
) -> None:
    chosen: dict[str, Any] = {"exporter": "otlp_grpc", "backend_retry_interval": "1s"}
    with collector(tmp_path, *ONE_MACHINE, backend=backend, **chosen) as running:
        survive("refuses connections", backend, running)


def test_all_that_an_agent_accepted_arrives_though_gateways_that_do_not_sample_and_the_agent_are_killed(
    backend: Backend, tmp_path: Path
) -> None:
    with gateways(tmp_path, backend, GATEWAY_FOR_ALL, backend_retry_interval="1s") as pipeline:
        with Load(pipeline.entry, seed=7) as load:
            accept_more(load)
            pipeline.samplers[0].service.kill9()
            accept_more(load)
            pipeline.entry.service.kill9()
            pipeline.entry.service.start()
            accept_more(load)
            pipeline.samplers[0].service.start()
            accept_more(load)
            pipeline.samplers[1].service.kill9()
            pipeline.samplers[1].service.start()
            accept_more(load)
        load.check_arrived(backend)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 500])
def test_what_the_backend_rejects_for_good_is_dropped_and_counted(
    status: int, backend: Backend, tmp_path: Path
) -> None:
    """The counter is the one that the alert on lost telemetry goes by."""
    ids = trace_ids(status)
    shape, lost, arrives = Shape(COMPLETED), next(ids), next(ids)
    with collector(tmp_path, *ONE_MACHINE, backend=backend) as running:
        backend.refuse(status)
        sender = client(running)
        assert sender.send("traces", traces(shape.stamped(lost))) == 200
        wait_until(lambda: figure(running, "exporter_send_failed_spans") == len(shape), "the spans are given up")
        backend.accept()
        assert sender.send("traces", traces(shape.stamped(arrives))) == 200
        backend.wait_whole(arrives, shape.names)
        assert backend.names(lost) == []
        sender.close()
