"""The four hooks: called once each, with what they are promised, on a span that can still be written."""

from __future__ import annotations

from typing import Any

import pytest
from multiagents.core.saga_context import SagaContext
from opentelemetry.trace import Span

from tests.contract.observed import Observed, tally
from tests.support.buses import MemoryBus
from tests.support.expected import COMPLETED
from tests.support.sagas import order_payload, order_system


class Hooks:
    """Hooks that note how they are called, and write to the span."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str, Any]] = []

    def publish(self, span: Span, event_type: str, event: Any) -> None:
        self._note("publish", span, event_type, event)

    def process(self, span: Span, event_type: str, event: Any) -> None:
        self._note("process", span, event_type, event)

    def step(self, span: Span, context: SagaContext, step: str) -> None:
        self._note("step", span, step, context)

    def workflow(self, span: Span, context: SagaContext, status: str) -> None:
        self._note("workflow", span, status, context)

    def _note(self, hook: str, span: Span, what: str, given: Any) -> None:
        self.calls.append((hook, what, given))
        span.set_attribute("shop.hook", f"{hook} {what}")

    @property
    def options(self) -> dict[str, Any]:
        return {f"{name}_hook": getattr(self, name) for name in ("publish", "process", "step", "workflow")}

    def called(self, hook: str) -> dict[str, int]:
        return tally(what for name, what, _ in self.calls if name == hook)


WORKERS = ("validate_order", "charge_payment", "ship_order")
TYPES = {f"{kind}.{worker}": 1 for kind in ("command", "result") for worker in WORKERS}


async def test_every_hook_is_called_once_for_what_it_is_about(observed: Observed) -> None:
    hooks = Hooks()
    observed.instrument(**hooks.options)
    async with order_system(monitors=False) as system:
        await system.run()
        await system.bus.drain()
    assert hooks.called("publish") == {**TYPES, "status.workflow": 2}
    assert hooks.called("process") == TYPES
    assert hooks.called("step") == {"validate": 1, "charge": 1, "ship": 1}
    assert hooks.called("workflow") == {"completed": 1}
    assert observed.tree == COMPLETED


async def test_a_hooks_attribute_is_exported_with_the_span(observed: Observed) -> None:
    hooks = Hooks()
    observed.instrument(**hooks.options)
    async with order_system(monitors=False) as system:
        await system.run()
        await system.bus.drain()
    written = {
        s.name: s.attributes["shop.hook"] for s in observed.spans if s.attributes and "shop.hook" in s.attributes
    }
    assert written == {
        **{f"send {name}": f"publish {name}" for name in TYPES},
        **{f"process {name}": f"process {name}" for name in TYPES},
        **{f"step.{step}": f"step {step}" for step in ("validate", "charge", "ship")},
        "workflow.order_processing": "workflow completed",
    }


async def test_hooks_see_the_event_without_a_carrier_and_the_saga_as_it_is(observed: Observed) -> None:
    hooks = Hooks()
    observed.instrument(**hooks.options)
    async with order_system(monitors=False) as system:
        transaction = await system.run(order_payload(fail_at="ship_order"))
        await system.bus.drain()
    for hook, what, given in hooks.calls:
        if hook in ("publish", "process"):
            assert "_otel" not in given
            assert given["metadata"]["transaction_id"] == transaction
            assert given["type"] == what.split(".")[0]
        else:
            assert isinstance(given, SagaContext)
            assert given.transaction_id == transaction
    assert hooks.called("step") == {"validate": 1, "charge": 1, "ship": 1}
    assert hooks.called("workflow") == {"compensated": 1}
    assert hooks.called("publish")["compensation.refund_payment"] == 1


async def test_a_hook_that_changes_the_event_it_is_given_is_the_users_own_doing_and_reaches_nobody_else(
    observed: Observed,
) -> None:
    event = {"id": "o-1", "payload": {"a": 1}}

    def publish_hook(span: Span, event_type: str, given: dict[str, Any]) -> None:
        assert given is event

    observed.instrument(publish_hook=publish_hook)
    bus = MemoryBus()
    async with order_system(bus, monitors=False):
        await bus.publish("shop.opened", event)
    assert event == {"id": "o-1", "payload": {"a": 1}}


async def test_hooks_run_without_a_span_too_and_writing_to_nothing_is_harmless() -> None:
    from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

    observed, hooks = Observed(sampler=ALWAYS_OFF), Hooks()
    observed.instrument(**hooks.options)
    async with order_system(monitors=False) as system:
        await system.run()
        await system.bus.drain()
    assert hooks.called("publish") == {**TYPES, "status.workflow": 2}
    assert hooks.called("process") == TYPES
    assert observed.spans == []
    observed.close()


@pytest.mark.faults
async def test_C2_a_hook_that_raises_changes_nothing_and_is_counted_and_told_as_the_users(
    observed: Observed, caplog: pytest.LogCaptureFixture
) -> None:
    def raises(*_: Any) -> None:
        raise RuntimeError("hook")

    names = ("publish_hook", "process_hook", "step_hook", "workflow_hook")
    observed.instrument(**dict.fromkeys(names, raises))
    async with order_system(monitors=False) as system:
        transaction = await system.run()
        await system.bus.drain()
        assert (await system.orchestrator.get_status(transaction))["state"] == "completed"
    assert observed.tree == COMPLETED
    # 8 publications, 6 handled events, 3 steps, 1 workflow.
    assert observed.sums("multiagents.otel.errors") == {frozenset({("component", "hook")}): 18}
    # Each is told by its name, once a minute, and as the user's own.
    told = [record.getMessage() for record in caplog.records if record.name == "multiagents_otel"]
    assert sorted(line.partition(",")[0] for line in told) == [
        f"{name} raised RuntimeError: your hook" for name in sorted(names)
    ]


@pytest.mark.parametrize("name", ["publish_hook", "process_hook", "step_hook", "workflow_hook"])
def test_a_hook_that_is_no_plain_function_is_refused(observed: Observed, name: str) -> None:
    async def later(*_: Any) -> None: ...

    for wrong in ("hook", 3, later):
        with pytest.raises(TypeError, match=name) as refused:
            observed.instrument(**{name: wrong})
        assert ("nobody would await it" in str(refused.value)) is (wrong is later)
