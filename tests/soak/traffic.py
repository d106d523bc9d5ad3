"""Workflows over an in-memory bus that loses some results and doubles others."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from tests.bench.workload import QueueBus, System

LOST: Final = 101
DOUBLED: Final = 37


class LossyBus(QueueBus):
    """Loses one result in 101, and delivers one in 37 twice."""

    def __init__(self) -> None:
        super().__init__()
        self.delivered = self.lost = self.doubled = 0
        self._results = 0

    async def _listen(self) -> None:
        while True:
            event_type, data = await self.queue.get()
            copies = 1
            if event_type.startswith("result."):
                self._results += 1
                copies = 0 if not self._results % LOST else 2 if not self._results % DOUBLED else 1
                self.lost += copies == 0
                self.doubled += copies == 2
            for _ in range(copies):
                self.delivered += 1
                for handler in self.handlers.get(event_type, ()):
                    await handler(dict(data))


class Traffic(System):
    """Workflows one after the other; those that lose a result are left where they are."""

    def __init__(self, timeout_seconds: int = 1) -> None:
        self.lossy = LossyBus()
        super().__init__(self.lossy)
        for step in self.orchestrator.workflow.get_steps():
            step.timeout_seconds = timeout_seconds

    async def events(self, count: int) -> None:
        """Go on until so many events have been delivered in all."""
        active: dict[str, Any] = self.orchestrator.active_workflows
        while self.lossy.delivered < count:
            lost = self.lossy.lost
            transaction = await self.orchestrator.execute_workflow("order_processing", {"order": 1})
            while transaction in active and lost == self.lossy.lost:
                await asyncio.sleep(0)
            active.clear()  # the framework never forgets a workflow that did not complete

    async def __aenter__(self) -> Traffic:
        await self.manager.start()
        await self.orchestrator.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.manager.stop()
        await self.bus.stop()
