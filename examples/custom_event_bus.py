"""An event bus of your own: here one in memory, so that nothing has to be installed or started.

    python custom_event_bus.py

A bus that reaches a WorkerManager or an Orchestrator is found by itself; `instrument_event_bus` gives it the
name that its spans carry as `messaging.system`.
"""

import asyncio
import json
import logging
import os
from collections import defaultdict

import structlog
from multiagents import IEventBus, Orchestrator, WorkerManager, WorkflowBuilder, worker
from multiagents.orchestrator.interface import IStateStore

import multiagents_otel

multiagents_otel.auto_instrument()

# The framework logs every event to standard output: LOG_LEVEL=INFO shows that.
level = getattr(logging, os.environ.get("LOG_LEVEL", "WARNING"))
structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(level))


class MemoryBus(IEventBus):
    """Handlers are called one message after the other, by one task."""

    def __init__(self) -> None:
        self.handlers = defaultdict(list)
        self.messages: asyncio.Queue[tuple[str, str]] = asyncio.Queue()

    async def start(self) -> None:
        self.listener = asyncio.create_task(self.listen())

    async def stop(self) -> None:
        self.listener.cancel()
        await asyncio.gather(self.listener, return_exceptions=True)

    async def publish(self, event_type: str, event_data: dict) -> None:
        await self.messages.put((event_type, json.dumps(event_data, default=str)))

    async def subscribe(self, event_type: str, handler) -> None:
        self.handlers[event_type].append(handler)

    async def unsubscribe(self, event_type: str, handler) -> None:
        self.handlers[event_type].remove(handler)

    async def listen(self) -> None:
        while True:
            event_type, message = await self.messages.get()
            for handler in tuple(self.handlers[event_type]):
                await handler(json.loads(message))


class MemoryStore(IStateStore):
    """Keeps the workflows' states in a dict."""

    def __init__(self) -> None:
        self.contexts: dict[str, dict] = {}

    async def save_context(self, context) -> None:
        self.contexts[context.transaction_id] = context.to_dict()

    async def load_context(self, transaction_id: str) -> dict | None:
        return self.contexts.get(transaction_id)

    async def delete_context(self, transaction_id: str) -> bool:
        return self.contexts.pop(transaction_id, None) is not None

    async def list_contexts(self, workflow_id=None, state=None) -> list[str]:
        return list(self.contexts)


@worker("double")
async def double(context: dict) -> dict:
    return {"number": 2 * context["number"]}


async def main() -> None:
    workflow = WorkflowBuilder("doubling")
    workflow.add_step("double", "double")

    bus = MemoryBus()
    multiagents_otel.instrument_event_bus(bus, system="memory")
    workers = WorkerManager(bus)
    workers.register(double)
    orchestrator = Orchestrator(workflow.build(), bus, MemoryStore())
    ended: asyncio.Queue[dict] = asyncio.Queue()

    async def on_status(event: dict) -> None:
        if event["status"] == "completed":
            await ended.put(event)

    await bus.start()
    await bus.subscribe("status.workflow", on_status)
    await workers.start()
    await orchestrator.start()

    await orchestrator.execute_workflow("doubling", {"number": 21})
    event = await ended.get()
    print(f"doubled: {event['payload']['step_results']['double']['number']}")

    await orchestrator.stop()
    await workers.stop()
    await bus.stop()


asyncio.run(main())
