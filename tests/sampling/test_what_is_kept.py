"""Tail sampling in one Collector: which transactions a user finds in the backend, and whether they are whole."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sampling.running import SAMPLING, Running, running
from tests.support.expected import COMPLETED
from tests.support.otlp import Attributes
from tests.support.receiver import OtlpReceiver
from tests.support.services import wait_until
from tests.support.traffic import Shape, trace_ids, traces

ROOT = "workflow.order_processing"
IDS = trace_ids(5)
WORKER_FAILS = COMPLETED.replace("worker.charge_payment INTERNAL", "worker.charge_payment INTERNAL ERROR ValueError")
HEALTHY = Shape(COMPLETED)


class Backend(OtlpReceiver):
    def names(self, trace_id: bytes) -> list[str]:
        """The spans of a transaction that have come, in no order that says anything."""
        return sorted(span.name for span in self.spans if span.trace_id == trace_id.hex())

    def wait_whole(self, trace_id: bytes, names: tuple[str, ...]) -> None:
        self.wait_for(lambda backend: len(self.names(trace_id)) >= len(names))
        assert self.names(trace_id) == sorted(names)


@pytest.fixture(scope="module")
def backend() -> Iterator[Backend]:
    with Backend() as receiver:
        assert isinstance(receiver, Backend)
        yield receiver


@pytest.fixture(scope="module")
def collector(backend: Backend, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Keeps no share of the healthy ones, so that what arrives has been kept for a reason."""
    place = tmp_path_factory.mktemp("sampling")
    with running(place, SAMPLING, backend, healthy_percent="0", decision_wait="2s") as started:
        yield started


def send(collector: Running, *requests: list[bytes]) -> None:
    client = collector.client()
    for spans in requests:
        assert client.send("traces", traces(spans)) == 200
    client.close()


def let_go(collector: Running) -> float:
    """How many transactions were held for all of decision_wait, and then dropped."""
    return collector.figure("processor_tail_sampling_global_count_traces_sampled", decision="not_sampled")


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
def test_a_transaction_is_kept_whole_when(shape: Shape, collector: Running, backend: Backend) -> None:
    trace_id = next(IDS)
    spans = shape.stamped(trace_id)
    # In pieces, as its processes export them, the reason in the last or in the one before.
    send(collector, spans[:7], spans[7:14], spans[14:])
    backend.wait_whole(trace_id, shape.names)


@pytest.mark.parametrize(
    "shape", [HEALTHY, Shape(COMPLETED, milliseconds={ROOT: 29_999})], ids=["it is healthy", "it took less than 30 s"]
)
def test_a_transaction_is_let_go_when(shape: Shape, collector: Running, backend: Backend) -> None:
    trace_id = next(IDS)
    before = let_go(collector)
    send(collector, shape.stamped(trace_id))
    wait_until(lambda: let_go(collector) > before, "its wait is over")
    # What leaves after it arrives after it, if it leaves at all.
    later = next(IDS)
    send(collector, REASONS["an error in it"].stamped(later))
    backend.wait_whole(later, REASONS["an error in it"].names)
    assert backend.names(trace_id) == []


def test_one_that_fails_after_the_wait_has_its_error_and_all_from_there_on_root_included(
    collector: Running, backend: Backend
) -> None:
    trace_id = next(IDS)
    shape = REASONS["an error in it"]
    spans = shape.stamped(trace_id)
    fails = shape.names.index("worker.charge_payment")
    before = let_go(collector)
    send(collector, spans[: fails - 2])
    wait_until(lambda: let_go(collector) > before, "its wait is over")
    # Two spans that did not fail, in the window in which it fails; then the failure; then the rest, root last.
    send(collector, spans[fails - 2 : fails], spans[fails : fails + 1], spans[fails + 1 : -1], spans[-1:])
    backend.wait_whole(trace_id, shape.names[fails - 2 :])


def test_one_whose_callers_span_ends_first_is_kept_whole_with_it(collector: Running, backend: Backend) -> None:
    trace_id = next(IDS)
    caller = Shape("POST /orders SERVER")
    shape = Shape(WORKER_FAILS, parent=(1).to_bytes(8, "big"))
    ticks = collector.figure("processor_tail_sampling_sampling_decision_timer_latency_count")
    send(collector, caller.stamped(trace_id))
    wait_until(
        lambda: collector.figure("processor_tail_sampling_sampling_decision_timer_latency_count") > ticks + 1,
        "a decision on what is due",
    )
    send(collector, shape.stamped(trace_id))
    backend.wait_whole(trace_id, (*caller.names, *shape.names))


def test_one_that_outlives_the_window_of_others_and_fails_at_its_end_is_kept_whole(
    backend: Backend, tmp_path: Path
) -> None:
    chosen = {"healthy_percent": "0", "decision_wait": "5m", "decision_wait_after_root": "1s"}
    with running(tmp_path, SAMPLING, backend, **chosen) as collector:
        trace_id, short = next(IDS), next(IDS)
        shape = Shape(COMPLETED.replace(f"{ROOT} INTERNAL", f"{ROOT} INTERNAL ERROR ValueError"))
        *first, root = shape.stamped(trace_id)
        send(collector, first)
        send(collector, HEALTHY.stamped(short))
        wait_until(lambda: let_go(collector) == 1, "one that began later is over")
        send(collector, [root])
        backend.wait_whole(trace_id, shape.names)
        assert backend.names(short) == []
