"""A three-step workflow on an in-memory bus of the user's own, and the ways to run it."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import Any

from multiagents import BaseWorker, IEventBus, Orchestrator, WorkerManager, WorkflowBuilder
from multiagents.worker_sdk.base_worker import WorkerConfig

STEPS = ("validate", "charge", "ship")


class QueueBus(IEventBus):
    """The least that a bus can be: a queue, and one listener that calls the handlers in turn."""

    def __init__(self) -> None:
        self.handlers: dict[str, list[Any]] = defaultdict(list)
        self.queue: asyncio.Queue[tuple[str, dict[str, Any]]] = asyncio.Queue()
        self.listener: asyncio.Task[None] | None = None

    async def publish(self, event_type: str, event_data: dict[str, Any]) -> None:
        self.queue.put_nowait((event_type, dict(event_data)))

    async def subscribe(self, event_type: str, handler: Any) -> None:
        self.handlers[event_type].append(handler)
        if self.listener is None:
            self.listener = asyncio.create_task(self._listen())

    async def unsubscribe(self, event_type: str, handler: Any) -> None:
        self.handlers[event_type].remove(handler)

    async def start(self) -> None: ...

    async def stop(self) -> None:
        if self.listener is not None:
            self.listener.cancel()

    async def _listen(self) -> None:
        while True:
            event_type, data = await self.queue.get()
            for handler in self.handlers.get(event_type, ()):
                await handler(data)


class MemoryStore:
    """Keeps nothing: the workflow never leaves memory."""

    async def save_context(self, context: Any) -> None: ...

    async def load_context(self, transaction_id: str) -> None:
        return None


class NoLogger:
    """An ILogger that drops everything."""

    def __getattr__(self, _name: str) -> Any:
        async def drop(*_args: Any, **_kwargs: Any) -> None: ...

        return drop


class Echo(BaseWorker):
    """A worker that does nothing, so that only the machinery is measured."""

    def __init__(self, name: str) -> None:
        super().__init__(WorkerConfig(worker_type=name, enable_logging=False))

    async def execute(self, context: dict[str, Any]) -> dict[str, Any]:
        return {"done": self.config.worker_type}


class System:
    """Bus, workers and orchestrator, wired bare or as the framework wires itself."""

    def __init__(self, bus: IEventBus | None = None, *, builtin_monitors: bool = False) -> None:
        builder = WorkflowBuilder("order_processing")
        for step in STEPS:
            builder.add_step(step, f"{step}_worker")
        self.bus = bus or QueueBus()
        logger: Any = None if builtin_monitors else NoLogger()
        store: Any = MemoryStore()
        self.manager = WorkerManager(self.bus, logger=logger)
        if not builtin_monitors:
            self.manager.event_monitor = self.manager.worker_monitor = self.manager.monitoring_logger = None
        self.orchestrator = Orchestrator(builder.build(), self.bus, state_store=store, logger=logger or NoLogger())
        for step in STEPS:
            self.manager.workers[f"{step}_worker"] = Echo(f"{step}_worker")

    async def run(self, workflows: int) -> None:
        """Run workflows one after the other, each to its end."""
        await self.manager.start()
        await self.orchestrator.start()
        active = self.orchestrator.active_workflows
        for _ in range(workflows):
            transaction = await self.orchestrator.execute_workflow("order_processing", {"order": 1})
            while transaction in active:
                await asyncio.sleep(0)
        await self.manager.stop()
        await self.bus.stop()
