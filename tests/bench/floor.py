"""The floor: the bare SDK in the same place, as many spans with as many attributes, inject and extract."""

from __future__ import annotations

from typing import Any

from opentelemetry import context, propagate
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import SpanKind

from tests.bench.workload import QueueBus, System

_USUAL = {f"messaging.attribute.{n}": f"a value of usual length {n}" for n in range(9)}
_SETS = {count: dict(list(_USUAL.items())[:count]) for count in (3, 6, 9)}


def _attributes(count: int) -> dict[str, Any]:
    return _SETS[count].copy()


class FloorBus(QueueBus):
    """Opens the spans that we open, written as the SDK's documentation shows it."""

    def __init__(self, provider: TracerProvider) -> None:
        super().__init__()
        self._tracer = provider.get_tracer("floor")

    async def publish(self, event_type: str, event_data: dict[str, Any]) -> None:
        if event_type.startswith("status"):
            carrier: dict[str, str] = {}
            propagate.inject(carrier)
            await super().publish(event_type, {**event_data, "_otel": carrier})
        elif event_type.startswith("command"):
            with self._tracer.start_as_current_span("step", kind=SpanKind.INTERNAL, attributes=_attributes(6)):
                await self._send(event_type, event_data)
        else:
            await self._send(event_type, event_data)

    async def _send(self, event_type: str, event_data: dict[str, Any]) -> None:
        with self._tracer.start_as_current_span(
            f"send {event_type}", kind=SpanKind.PRODUCER, attributes=_attributes(9)
        ):
            carrier: dict[str, str] = {}
            propagate.inject(carrier)
            await super().publish(event_type, {**event_data, "_otel": carrier})

    async def subscribe(self, event_type: str, handler: Any) -> None:
        async def traced(data: dict[str, Any]) -> None:
            token = context.attach(propagate.extract(data.pop("_otel")))
            try:
                with self._tracer.start_as_current_span(
                    f"process {event_type}", kind=SpanKind.CONSUMER, attributes=_attributes(9)
                ):
                    if event_type.startswith("command"):
                        with self._tracer.start_as_current_span("worker", attributes=_attributes(6)):
                            await handler(data)
                    else:
                        await handler(data)
            finally:
                context.detach(token)

        await super().subscribe(event_type, traced)


class FloorSystem(System):
    """The workload with the floor's spans, a root for each workflow among them."""

    def __init__(self, provider: TracerProvider) -> None:
        super().__init__(FloorBus(provider))
        tracer = provider.get_tracer("floor")
        execute = self.orchestrator.execute_workflow

        async def execute_workflow(workflow_id: str, data: dict[str, Any]) -> Any:
            with tracer.start_as_current_span("workflow", context.Context(), attributes=_attributes(3)):
                return await execute(workflow_id, data)

        self.orchestrator.execute_workflow = execute_workflow  # type: ignore[method-assign,assignment]
