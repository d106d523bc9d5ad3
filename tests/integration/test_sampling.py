"""Head sampling over two processes and a real Redis: what fails arrives whole, the healthy share is right."""

from __future__ import annotations

import pytest

from tests.integration import expected
from tests.integration.conftest import Orders, arrived
from tests.integration.test_two_processes import counted
from tests.support.sagas import order_payload
from tests.support.trees import by_trace, orphans, roots, tree

KEEP = "multiagents.sampling.keep"
FAILED = """\
workflow.order_processing INTERNAL ERROR ValueError
  step.validate INTERNAL
  step.charge INTERNAL
  step.ship INTERNAL ERROR ValueError
    process command.ship_order CONSUMER ERROR ValueError
      worker.ship_order INTERNAL ERROR ValueError
      send result.ship_order PRODUCER
        process result.ship_order CONSUMER
  compensate.refund_payment INTERNAL
    send compensation.refund_payment PRODUCER
      process compensation.refund_payment CONSUMER"""
PLAIN = """\
workflow.order_processing INTERNAL ERROR ValueError
  step.validate PRODUCER
  step.charge PRODUCER
  step.ship PRODUCER ERROR ValueError
    worker.ship_order CONSUMER ERROR ValueError
  compensate.refund_payment PRODUCER"""


def sampled_by(sampler: str, ratio: str = "0") -> dict[str, str]:
    return {"OTEL_TRACES_SAMPLER": sampler, "OTEL_TRACES_SAMPLER_ARG": ratio}


@pytest.mark.parametrize(
    ("sampler", "detailed_timing"),
    [
        ("always_off", True),
        ("traceidratio", True),
        ("parentbased_traceidratio", True),
        ("parentbased_always_off", False),
    ],
)
def test_at_0_percent_every_failing_workflow_arrives_whole_and_no_healthy_one(
    orders: Orders, sampler: str, detailed_timing: bool
) -> None:
    env = sampled_by(sampler)
    worker = orders.worker(env=env, detailed_timing=detailed_timing)
    orchestrator = orders.orchestrator(env=env, detailed_timing=detailed_timing)
    payloads = [order_payload(), order_payload(fail_at="ship_order")] * 3
    ended = [orders.order(orchestrator, payload, number) for number, payload in enumerate(payloads, 1)]
    receiver = orders.receiver
    arrived(receiver, lambda received: len(roots(received.spans)) >= 3)
    orders.stop(orchestrator, worker)

    spans = receiver.spans
    assert orphans(spans) == []
    traces = by_trace(spans)
    assert [tree(trace) for trace in traces.values()] == [FAILED if detailed_timing else PLAIN] * 3
    assert {trace[0].attributes["workflow.transaction_id"] for trace in traces.values()} == {
        transaction for transaction, state in ended if state == "compensated"
    }
    assert {span.attributes[KEEP] for span in spans} == {True}
    for trace in traces.values():
        events = [(span.name, event.name) for span in trace for event in span.events]
        assert events == [("worker.ship_order", "exception")]
    assert counted(receiver) == expected.sums(completed=3, compensated=3)
