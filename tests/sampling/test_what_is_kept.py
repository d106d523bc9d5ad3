"""Tail sampling over two gateways: which transactions a user finds in the backend, and whether they are whole."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.sampling.backend import Backend
from tests.sampling.running import Pipeline, gateways, one_collector
from tests.support.expected import COMPLETED
from tests.support.services import wait_until
from tests.support.traffic import Shape, trace_ids

ROOT = "workflow.order_processing"
IDS = trace_ids(5)
WORKER_FAILS = COMPLETED.replace("worker.charge_payment INTERNAL", "worker.charge_payment INTERNAL ERROR ValueError")
HEALTHY = Shape(COMPLETED)


@pytest.fixture(scope="module")
def backend() -> Iterator[Backend]:
    with Backend() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def pipeline(backend: Backend, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    """Keeps no share of the healthy ones, so that what arrives has been kept for a reason."""
    place = tmp_path_factory.mktemp("sampling")
    with gateways(place, backend, healthy_percent=0, decision_wait="2s") as started:
        yield started


REASONS: dict[str, Shape] = {
    "an error in it": Shape(WORKER_FAILS),
    **{
        f"it is {status}": Shape(COMPLETED, attributes={ROOT: {"workflow.status": status}})
        for status in ("failed", "compensated", "cancelled", "stalled")
    },
    "an event reached nobody": Shape(COMPLETED, attributes={"step.ship": {"error.type": "undelivered"}}),
    "the application says so": Shape(COMPLETED, attributes={"step.charge": {"multiagents.sampling.keep": True}}),
    "it took 30 s": Shape(COMPLETED, milliseconds={ROOT: 30_000}),
}


@pytest.mark.parametrize("shape", REASONS.values(), ids=REASONS)
def test_a_transaction_is_kept_whole_when(shape: Shape, pipeline: Pipeline, backend: Backend) -> None:
    trace_id = next(IDS)
    spans = shape.stamped(trace_id)
    # In pieces, as its processes export them, the reason in the last or in the one before.
    pipeline.send(spans[:7], spans[7:14], spans[14:])
    backend.wait_whole(trace_id, shape.names)


@pytest.mark.parametrize(
    "shape", [HEALTHY, Shape(COMPLETED, milliseconds={ROOT: 29_999})], ids=["it is healthy", "it took less than 30 s"]
)
def test_a_transaction_is_let_go_when(shape: Shape, pipeline: Pipeline, backend: Backend) -> None:
    trace_id = next(IDS)
    before = pipeline.let_go
    pipeline.send(shape.stamped(trace_id))
    wait_until(lambda: pipeline.let_go > before, "its wait is over")
    # What leaves after it arrives after it, if it leaves at all.
    later = next(IDS)
    pipeline.send(REASONS["an error in it"].stamped(later))
    backend.wait_whole(later, REASONS["an error in it"].names)
    assert backend.names(trace_id) == []


def test_one_that_fails_after_the_wait_has_its_error_and_all_from_there_on_root_included(
    pipeline: Pipeline, backend: Backend
) -> None:
    trace_id = next(IDS)
    shape = REASONS["an error in it"]
    spans = shape.stamped(trace_id)
    fails = shape.names.index("worker.charge_payment")
    before = pipeline.let_go
    pipeline.send(spans[: fails - 2])
    wait_until(lambda: pipeline.let_go > before, "its wait is over")
    # Two spans that did not fail, in the window in which it fails; then the failure; then the rest, root last.
    pipeline.send(spans[fails - 2 : fails], spans[fails : fails + 1], spans[fails + 1 : -1], spans[-1:])
    backend.wait_whole(trace_id, shape.names[fails - 2 :])


def test_one_whose_callers_span_ends_first_is_kept_whole_with_it(pipeline: Pipeline, backend: Backend) -> None:
    trace_id = next(IDS)
    caller = Shape("POST /orders SERVER", first=100)
    shape = Shape(WORKER_FAILS, parent=100)
    ticks = pipeline.figure("processor_tail_sampling_sampling_decision_timer_latency_count")
    pipeline.send(caller.stamped(trace_id))
    wait_until(
        lambda: pipeline.figure("processor_tail_sampling_sampling_decision_timer_latency_count") > ticks + 1,
        "a decision on what is due",
    )
    pipeline.send(shape.stamped(trace_id))
    backend.wait_whole(trace_id, (*caller.names, *shape.names))


def test_one_that_outlives_the_window_of_others_and_fails_at_its_end_is_kept_whole(
    backend: Backend, tmp_path: Path
) -> None:
    chosen: dict[str, Any] = {"healthy_percent": 0, "decision_wait": "5m", "decision_wait_after_root": "1s"}
    with gateways(tmp_path, backend, **chosen) as pipeline:
        trace_id, short = next(IDS), next(IDS)
        shape = Shape(COMPLETED.replace(f"{ROOT} INTERNAL", f"{ROOT} INTERNAL ERROR ValueError"))
        *first, root = shape.stamped(trace_id)
        pipeline.send(first)
        pipeline.send(HEALTHY.stamped(short))
        wait_until(lambda: pipeline.let_go == 1, "one that began later is over")
        pipeline.send([root])
        backend.wait_whole(trace_id, shape.names)
        assert backend.names(short) == []


def test_when_there_is_room_for_too_few_the_oldest_is_let_go_and_the_gauge_that_the_alert_goes_by_is_at_its_top(
    backend: Backend, tmp_path: Path
) -> None:
    with one_collector(tmp_path, backend, healthy_percent=0, held_transactions=50) as pipeline:
        shape = REASONS["an error in it"]
        oldest, youngest = next(IDS), next(IDS)
        fails = shape.names.index("worker.charge_payment")
        pipeline.send(shape.stamped(oldest)[:fails])
        for _ in range(60):
            pipeline.send(HEALTHY.stamped(next(IDS)))
        pipeline.send(shape.stamped(youngest)[:fails])
        wait_until(
            lambda: pipeline.figure("processor_tail_sampling_sampling_traces_on_memory") == 50, "all room is taken"
        )
        pipeline.send(shape.stamped(oldest)[fails:], shape.stamped(youngest)[fails:])
        backend.wait_whole(youngest, shape.names)
        backend.wait_whole(oldest, shape.names[fails:])
