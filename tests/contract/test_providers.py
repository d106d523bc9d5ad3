"""Providers that are not the SDK's, and global ones that are set after ``instrument()``."""

from __future__ import annotations

import gc
import logging
from collections.abc import Mapping
from typing import Any

import pytest
from opentelemetry import _logs, metrics, trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import Span, SpanContext, Status, StatusCode, TraceFlags
from opentelemetry.util._once import Once

from multiagents_otel import MultiAgentsInstrumentor
from tests.contract.answering import AnsweringBus
from tests.contract.conftest import Clock
from tests.contract.observed import Observed, series
from tests.support.buses import MemoryBus
from tests.support.expected import COMPLETED
from tests.support.sagas import order_payload, order_system


class PlainTracer(trace.Tracer):
    """A tracer with the API's methods and nothing more, which counts its spans on the SDK behind it."""

    def __init__(self, real: trace.Tracer, opened: list[str]) -> None:
        self._real = real
        self._opened = opened

    def start_span(self, name: str, *args: Any, **kwargs: Any) -> Span:
        self._opened.append(name)
        return PlainSpan(self._real.start_span(name, *args, **kwargs))

    def start_as_current_span(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError


class PlainSpan(Span):
    """The API's span, and nothing more."""

    def __init__(self, real: Span) -> None:
        self._real = real

    def end(self, end_time: int | None = None) -> None:
        self._real.end(end_time)

    def get_span_context(self) -> SpanContext:
        return self._real.get_span_context()

    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        self._real.set_attributes(attributes)

    def set_attribute(self, key: str, value: Any) -> None:
        self._real.set_attribute(key, value)

    def add_event(self, name: str, attributes: Any = None, timestamp: int | None = None) -> None:
        self._real.add_event(name, attributes, timestamp)

    def update_name(self, name: str) -> None:
        self._real.update_name(name)

    def is_recording(self) -> bool:
        return self._real.is_recording()

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        self._real.set_status(status, description)

    def record_exception(self, exception: BaseException, *args: Any, **kwargs: Any) -> None:
        self._real.record_exception(exception, *args, **kwargs)


class PlainProvider(trace.TracerProvider):
    """A provider of another maker."""

    def __init__(self, real: TracerProvider) -> None:
        self._real = real
        self.opened: list[str] = []

    def get_tracer(self, *args: Any, **kwargs: Any) -> trace.Tracer:
        return PlainTracer(self._real.get_tracer(*args, **kwargs), self.opened)


def unpinnable(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING and "opened live" in r.getMessage()]


async def test_another_makers_provider_gives_the_same_tree_from_spans_opened_live_and_one_warning(
    observed: Observed, caplog: pytest.LogCaptureFixture
) -> None:
    provider = PlainProvider(observed.tracers)
    observed.instrument(tracer_provider=provider)
    async with order_system(monitors=False) as system:
        await system.run()
        await system.run()
        await system.bus.drain()
    assert observed.forest == f"{COMPLETED}\n\n{COMPLETED}"
    assert provider.opened[:3] == ["workflow.order_processing", "step.validate", "send command.validate_order"]
    assert len(unpinnable(caplog)) == 1
    assert observed.named("workflow.order_processing")[0].attributes["workflow.status"] == "completed"


async def test_another_makers_provider_shows_failures_as_well(observed: Observed) -> None:
    observed.instrument(tracer_provider=PlainProvider(observed.tracers))
    async with order_system(AnsweringBus(), monitors=False) as system:
        await system.run(order_payload(fail_at="ship_order"))
        await system.bus.drain()
    assert observed.root().attributes["workflow.status"] == "compensated"
    assert observed.exceptions == [("worker.ship_order", "ValueError")]
    assert observed.one("step.ship").attributes["error.type"] == "ValueError"
    assert observed.one("compensate.refund_payment").parent_id == observed.root().span_id


async def test_another_makers_provider_shows_stalled_workflows(observed: Observed, clock: Clock) -> None:
    observed.instrument(tracer_provider=PlainProvider(observed.tracers))
    bus = MemoryBus()
    bus.failures["result.charge_payment"] = ConnectionError("broker gone")
    async with order_system(bus, monitors=False) as system:
        await system.run()
        await bus.drain()
        await clock.forward(311)
    assert observed.root().attributes["workflow.status"] == "stalled"
    assert observed.one("step.charge").status == "ERROR"


async def test_with_another_makers_provider_the_saga_keeps_no_identity_that_could_not_be_used(
    observed: Observed,
) -> None:
    observed.instrument(tracer_provider=PlainProvider(observed.tracers))
    async with order_system(monitors=False) as system:
        await system.run()
        await system.bus.drain()
    assert all('"_otel"' not in row for row in system.store.rows.values())


@pytest.fixture
def no_globals(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a process where no provider has been set yet."""
    gc.collect()  # what monitors of earlier tests still hear is counted, with or without a provider
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)
    monkeypatch.setattr(trace, "_TRACER_PROVIDER_SET_ONCE", Once())
    from opentelemetry.metrics import _internal as metrics_internal

    monkeypatch.setattr(metrics_internal, "_METER_PROVIDER", None)
    monkeypatch.setattr(metrics_internal, "_METER_PROVIDER_SET_ONCE", Once())
    monkeypatch.setattr(metrics_internal, "_PROXY_METER_PROVIDER", metrics_internal._ProxyMeterProvider())
    from opentelemetry._logs import _internal as logs_internal

    monkeypatch.setattr(logs_internal, "_LOGGER_PROVIDER", None)
    monkeypatch.setattr(logs_internal, "_LOGGER_PROVIDER_SET_ONCE", Once())


@pytest.mark.usefixtures("no_globals")
async def test_global_providers_that_are_set_after_instrument_are_used(observed: Observed) -> None:
    MultiAgentsInstrumentor().instrument(skip_dep_check=True, replace_builtin_monitors=False)
    async with order_system(monitors=False) as system:
        await system.run()
        await system.bus.drain()
        assert observed.exported.get_finished_spans() == ()
        trace.set_tracer_provider(observed.tracers)
        metrics.set_meter_provider(observed.meters)
        _logs.set_logger_provider(observed.loggers)
        await system.run()
        await system.bus.drain()
    assert observed.tree == COMPLETED
    ended = observed.sums("multiagents.workflows")
    assert ended == {series(workflow__id="order_processing", status="completed"): 1}
    assert observed.counts("multiagents.workflow.duration") == ended
    assert [log[0] for log in observed.logs] == ["multiagents.workflow.started"]


@pytest.mark.usefixtures("no_globals")
async def test_a_tracer_provider_alone_is_enough_for_traces(observed: Observed) -> None:
    MultiAgentsInstrumentor().instrument(skip_dep_check=True)
    trace.set_tracer_provider(observed.tracers)
    async with order_system(monitors=False) as system:
        await system.run()
        await system.bus.drain()
    assert observed.tree == COMPLETED


@pytest.mark.usefixtures("no_globals")
async def test_a_meter_provider_alone_is_enough_for_metrics(observed: Observed) -> None:
    metrics.set_meter_provider(observed.meters)
    MultiAgentsInstrumentor().instrument(skip_dep_check=True)
    async with order_system(monitors=False) as system:
        await system.run()
        await system.bus.drain()
    assert observed.sums("multiagents.workflows") == {series(workflow__id="order_processing", status="completed"): 1}
    assert sum(observed.counts("multiagents.worker.duration").values()) == 3


@pytest.mark.usefixtures("no_globals")
async def test_C7_without_any_provider_the_context_of_a_caller_is_handed_on() -> None:
    MultiAgentsInstrumentor().instrument(skip_dep_check=True)
    bus = MemoryBus()
    caller = trace.NonRecordingSpan(SpanContext(0xABC, 0xDEF, True, TraceFlags(1)))
    async with order_system(bus, monitors=False) as system:
        with trace.use_span(caller):
            transaction = await system.run()
        await bus.drain()
        assert (await system.orchestrator.get_status(transaction))["state"] == "completed"
    carried = {m.event["_otel"]["traceparent"] for m in bus.wire if "_otel" in m.event}
    assert {value.split("-")[1] for value in carried} == {f"{0xABC:032x}"}
