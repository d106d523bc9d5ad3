"""Contexts come back whatever runs the tasks: eager tasks, nested loops, handlers that start tasks of their own."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import sys
from collections import Counter
from typing import Any

import pytest
from multiagents.worker_sdk.base_worker import BaseWorker, WorkerConfig
from opentelemetry import trace

from multiagents_otel.core.scope import FRAME, NOWHERE, Frame
from tests.catalogue.recording import Recording, recording
from tests.neighbours.schedulers import eager
from tests.support.buses import MemoryBus, WireMessage
from tests.support.sagas import order_system

pytestmark = pytest.mark.skipif(
    sys.version_info < (3, 11), reason="no task can be given a context there: none is eager"
)


class Watching(MemoryBus):
    """Takes note of the context that its listener is in before each message and after the last."""

    def __init__(self) -> None:
        super().__init__()
        self.left: list[Any] = []

    async def _handle(self, message: WireMessage) -> None:
        self._look()
        try:
            for handler in tuple(self.handlers.get(message.event_type, ())):
                await handler(message.event)
        finally:
            self._broker.end()
            self._look()

    def _look(self) -> None:
        frame = contextvars.copy_context().get(FRAME, NOWHERE)
        self.left += [value for field in Frame._fields if (value := getattr(frame, field)) is not None]


class Waits(BaseWorker):
    """Waits so often before it answers, and tells in which trace it is each time."""

    def __init__(self, worker_type: str, times: int) -> None:
        super().__init__(WorkerConfig(worker_type=worker_type))
        self.times = times
        self.traces: set[int] = set()

    async def execute(self, context: dict[str, Any]) -> dict[str, Any]:
        for _ in range(self.times):
            await asyncio.sleep(0)
            self.traces.add(trace.get_current_span().get_span_context().trace_id)
        return {"ok": True}


def _is_exact(record: Recording, workflows: int) -> None:
    roots = [span for span in record.spans if span.parent is None]
    assert Counter(span.name for span in roots) == {"workflow.order_processing": workflows}
    traces = {span.context.span_id: span.context.trace_id for span in record.spans if span.context}
    for span in record.spans:
        if span.parent is not None:
            assert traces[span.parent.span_id] == span.parent.trace_id
    steps = Counter(span.name for span in record.spans if span.name.startswith("step."))
    assert sorted(steps.values()) == [workflows] * 3, steps
    assert record.open.names == []


@pytest.mark.parametrize("waits", [0, 1, 3])
async def test_eager_tasks_leave_the_listener_s_context_as_it_was(waits: int, caplog: pytest.LogCaptureFixture) -> None:
    loop = asyncio.get_running_loop()
    with recording() as record, caplog.at_level(logging.WARNING):
        loop.set_task_factory(eager())
        try:
            bus = Watching()
            workers = [Waits(name, waits) for name in ("validate_order", "charge_payment", "ship_order")]
            async with order_system(bus, workers=workers, monitors=False) as system:
                transactions = [await system.run() for _ in range(3)]
                for transaction in transactions:
                    await system.wait_ended(transaction)
                await bus.drain()
        finally:
            loop.set_task_factory(None)
        assert bus.left == []
        _is_exact(record, 3)
        if waits:
            assert all(len(worker.traces) == 3 for worker in workers)
    assert "detach" not in caplog.text


async def test_a_handler_s_own_eager_tasks_are_in_its_trace_and_leave_nothing() -> None:
    loop = asyncio.get_running_loop()
    seen: dict[str, set[int]] = {}
    done: list[asyncio.Future[Any]] = []

    async def later(name: str) -> None:
        seen.setdefault(name, set()).add(trace.get_current_span().get_span_context().trace_id)
        await asyncio.sleep(0)
        seen[name].add(trace.get_current_span().get_span_context().trace_id)

    async def handler(event: dict[str, Any]) -> None:
        done.append(asyncio.ensure_future(loop.create_task(later(event["id"]))))

    with recording() as record:
        loop.set_task_factory(eager())
        try:
            bus = Watching()
            from multiagents_otel import instrument_event_bus

            instrument_event_bus(bus)
            await bus.start()
            await bus.subscribe("order.placed", handler)
            for number in range(3):
                await bus.publish("order.placed", {"id": str(number)})
            await bus.drain()
            await asyncio.gather(*done)
            await bus.stop()
        finally:
            loop.set_task_factory(None)
        assert bus.left == []
        assert len({trace_id for traces in seen.values() for trace_id in traces}) == 3
        assert all(len(traces) == 1 for traces in seen.values())
        assert len([span for span in record.spans if span.name == "process order.placed"]) == 3


async def test_handlers_that_are_stepped_side_by_side_are_not_mixed(caplog: pytest.LogCaptureFixture) -> None:
    """Two handlers in one context, the first one left last: each is in its own trace when it is called."""
    ended: list[str] = []

    async def handler(event: dict[str, Any]) -> None:
        for _ in range(int(event["id"])):
            await asyncio.sleep(0)
        ended.append(event["id"])

    class Direct(MemoryBus):
        handler: Any = None

        async def subscribe(self, event_type: str, handler: Any) -> None:
            self.handler = handler

    with recording() as record:
        from multiagents_otel import instrument_event_bus

        bus = Direct()
        instrument_event_bus(bus)
        await bus.subscribe("order.placed", handler)
        stepped = [bus.handler({"id": "3"}), bus.handler({"id": "1"})]
        while stepped:
            for coroutine in list(stepped):
                try:
                    coroutine.send(None)
                except StopIteration:
                    stepped.remove(coroutine)
        assert ended == ["1", "3"]
        assert len([span for span in record.spans if span.name == "process order.placed"]) == 2
        assert not trace.get_current_span().is_recording()
    assert "detach" not in caplog.text
