"""An orchestrator and a worker in processes of their own: one trace for each workflow, and exact metrics."""

from __future__ import annotations

from collections import Counter
from importlib.metadata import version
from itertools import pairwise

import pytest

from tests.integration import expected
from tests.integration.conftest import Orders, arrived
from tests.support.expected import COMPENSATED, COMPLETED
from tests.support.receiver import OtlpReceiver, ReceivedSpan
from tests.support.sagas import order_payload
from tests.support.trees import by_trace, orphans, roots, tree


def finished(receiver: OtlpReceiver, count: int) -> bool:
    return len(roots(receiver.spans)) >= count


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_24_of_24_worker_spans_are_in_the_trace_of_their_workflow(orders: Orders, protocol: str) -> None:
    orders.protocol = protocol
    worker, orchestrator = orders.worker(), orders.orchestrator()
    payloads = [order_payload()] * 5 + [order_payload(fail_at="ship_order")] * 3
    ended = [orders.order(orchestrator, payload, number) for number, payload in enumerate(payloads, 1)]
    receiver = orders.receiver
    arrived(receiver, lambda received: finished(received, 8))
    orders.stop(orchestrator, worker)

    spans = receiver.spans
    assert {request.protocol for request in receiver.requests} == {protocol}
    assert len([span for span in spans if span.name.startswith("worker.")]) == 24
    assert orphans(spans) == []
    assert len(by_trace(spans)) == len(roots(spans)) == 8
    assert len({span.span_id for span in spans}) == len(spans)
    traces = {trace[0].attributes["workflow.transaction_id"]: trace for trace in by_trace(spans).values()}
    assert traces.keys() == {transaction for transaction, _state in ended}
    for transaction, state in ended:
        trace = traces[transaction]
        assert tree(trace) == (COMPLETED if state == "completed" else COMPENSATED)
        check_attributes(trace, transaction, orders.redis.port)
        check_events_and_times(trace)
    assert Counter(state for _transaction, state in ended) == {"completed": 5, "compensated": 3}

    assert counted(receiver) == expected.sums(completed=5, compensated=3)
    for gauge in ("active_workflows", "events.in_flight", "worker.active", "workflows.stalled"):
        points = receiver.metric(f"multiagents.{gauge}")
        assert points, gauge
        assert {point.value for point in points} == {0}, gauge
    assert [log.event_name for log in receiver.logs] == ["multiagents.workflow.started"] * 8


def counted(receiver: OtlpReceiver) -> Counter[tuple[str, ...]]:
    """Counters and histograms (their counts) of what is done, summed over the processes, without the zeros."""
    of_the_time = ("multiagents.event_loop.", "multiagents.system.")  # they grow whether anything is done or not
    counts: Counter[tuple[str, ...]] = Counter()
    for point in receiver.metrics:
        counts_work = point.scope_name == "multiagents_otel" and not point.name.startswith(of_the_time)
        if counts_work and (point.count is not None or point.monotonic):
            value = point.count if point.count is not None else int(point.value or 0)
            key = (point.name, *sorted(map(str, point.attributes.values())))
            counts[key] += value
    return +counts


def check_attributes(trace: list[ReceivedSpan], transaction: str, port: int) -> None:
    sent = [span for span in trace if span.name.startswith("send ")]
    messages = {span.name.split(" ")[1]: span.attributes["messaging.message.id"] for span in sent}
    assert len(set(messages.values())) == len(messages)
    failed = any(span.status == "ERROR" for span in trace)
    for span in trace:
        assert span.attributes == expected.attributes(span, transaction, port, messages, failed=failed), span.name


def check_events_and_times(trace: list[ReceivedSpan]) -> None:
    by_id = {span.span_id: span for span in trace}
    events = [(span.name, event.name) for span in trace for event in span.events]
    failed = any(span.status == "ERROR" for span in trace)
    assert events == ([("worker.ship_order", "exception")] if failed else [])
    assert [span.links for span in trace if span.links] == []
    steps = [span for span in trace if span.name.startswith("step.")]
    root = next(span for span in trace if not span.parent_id)
    assert [span.parent_id for span in steps] == [root.span_id] * 3
    assert all(root.start_ns <= step.start_ns <= step.end_ns <= root.end_ns for step in steps)
    assert all(one.end_ns <= other.start_ns for one, other in pairwise(steps))
    services = {span.name.split(".")[0].split(" ")[0]: span.resource["service.name"] for span in trace}
    assert (services["workflow"], services["step"], services["worker"]) == ("orchestrator", "orchestrator", "worker")
    for span in trace:
        if span.parent_id:
            assert by_id[span.parent_id].start_ns <= span.start_ns <= span.end_ns


def test_without_detailed_timing_a_step_joins_its_worker_directly(orders: Orders) -> None:
    worker, orchestrator = orders.worker(detailed_timing=False), orders.orchestrator(detailed_timing=False)
    orders.order(orchestrator, order_payload())
    arrived(orders.receiver, lambda received: finished(received, 1))
    orders.stop(orchestrator, worker)
    assert tree(orders.receiver.spans) == (
        "workflow.order_processing INTERNAL\n"
        "  step.validate PRODUCER\n    worker.validate_order CONSUMER\n"
        "  step.charge PRODUCER\n    worker.charge_payment CONSUMER\n"
        "  step.ship PRODUCER\n    worker.ship_order CONSUMER"
    )
    assert counted(orders.receiver) == expected.sums(completed=1, compensated=0)


@pytest.mark.skipif(
    version("opentelemetry-instrumentation-redis").startswith("0.59"),
    reason="it can't be suppressed: not among the versions that the extra [redis] takes",
)
def test_T14_H3_the_redis_instrumentation_beside_ours_doubles_nothing_and_keeps_the_users_own_calls(
    orders: Orders,
) -> None:
    worker = orders.worker()
    code = """
    from opentelemetry.instrumentation.redis import RedisInstrumentor
    from tests.integration import programs
    RedisInstrumentor().instrument()
    real = programs._orchestrator
    async def main():
        import os, redis.asyncio
        await real()
        client = redis.asyncio.from_url(os.environ["REDIS_URL"])
        await client.get("a-users-own-key")
        await client.publish("a-users-own-channel", "hello")
        await client.aclose()
    programs._orchestrator = main
    programs.orchestrator()
    """
    orchestrator = orders.program(code, "orchestrator")
    orders.order(orchestrator, order_payload())
    arrived(
        orders.receiver, lambda received: any(not s.parent_id and s.name.startswith("work") for s in received.spans)
    )
    orders.stop(orchestrator, worker)
    spans = orders.receiver.spans
    ours = [span for span in spans if span.scope_name == "multiagents_otel"]
    others = [span for span in spans if span.scope_name != "multiagents_otel"]
    assert tree(ours) == COMPLETED
    [trace_id] = {span.trace_id for span in ours}
    assert [span.name for span in others if span.trace_id == trace_id] == []
    commands = Counter(span.attributes["db.statement"].split(" ")[0] for span in others)
    # The pub/sub connection's own commands are neither a publication of ours nor the store's.
    assert {name: commands[name] for name in ("GET", "PUBLISH", "SET", "SETEX")} == {
        "GET": 1, "PUBLISH": 1, "SET": 0, "SETEX": 0,
    }  # fmt: skip
