"""A program that runs every snippet of the guide in order, and tells what they gave, as a line of JSON.

``python -m tests.guide.walkthrough [instrumented]``, in an empty folder, with the Redis URL in ``REDIS_URL``.
Defined beforehand are only the names that the guide takes for granted; between two of its snippets, real orders run.
"""

from __future__ import annotations

import ast
import asyncio
import datetime
import functools
import inspect
import json
import logging
import os
import random
import sys
import time
from collections import Counter
from pathlib import Path
from types import CodeType
from typing import Any, Final

import redis.asyncio

from tests.guide.framework_source import snippets

URL: Final = os.environ.get("REDIS_URL", "")
GOOD, BAD = 6, 2


class Independent:
    """Counts what goes over Redis, without the framework and without us."""

    def __init__(self) -> None:
        self.channels: Counter[str] = Counter()
        self.statuses: Counter[str] = Counter()

    async def listen(self) -> None:
        self._client = redis.asyncio.from_url(URL)
        self._pubsub = self._client.pubsub()
        await self._pubsub.psubscribe("multiagent:*")
        self._task = asyncio.create_task(self._count())

    async def _count(self) -> None:
        async for message in self._pubsub.listen():
            if message["type"] == "pmessage":
                channel = message["channel"].decode().removeprefix("multiagent:")
                event = json.loads(message["data"])
                self.channels[channel] += 1
                if channel == "status.workflow":
                    self.statuses[event["status"]] += 1

    async def settled(self, ended: int) -> None:
        while self.statuses["completed"] + self.statuses["compensated"] < ended:
            await asyncio.sleep(0.01)

    async def close(self) -> None:
        self._task.cancel()
        await self._pubsub.aclose()  # type: ignore[no-untyped-call]
        await self._client.aclose()


def taken_for_granted() -> dict[str, Any]:
    """What the guide uses without a word of where it comes from."""
    from multiagents import WorkerManager
    from multiagents.event_bus.events import CommandEvent, EventMetadata, ResultEvent
    from multiagents.event_bus.redis_bus import RedisEventBus

    def metadata(correlation: str) -> Any:
        return EventMetadata(transaction_id="TX-123", correlation_id=correlation, source="the guide")

    async def worker_function(context: dict[str, Any]) -> dict[str, Any]:
        return context

    command = CommandEvent(worker_type="by_hand", metadata=metadata("TX-123.by_hand"))
    result = ResultEvent(command_id=command.id, success=True, metadata=metadata("TX-123.by_hand"))
    return {
        "RedisEventBus": functools.partial(RedisEventBus, URL),
        "WorkerManager": WorkerManager,
        "command_event": command,
        "result_event": result,
        "worker_function": worker_function,
        "context": {},
        "transaction_id": "TX-123",
        "asyncio": asyncio,
        "json": json,
        "os": os,
        "random": random,
        "time": time,
        "datetime": datetime.datetime,
        "timedelta": datetime.timedelta,
    }


async def run_orders(names: dict[str, Any], counted: Independent) -> None:
    """Orders over the bus and the manager that the guide has made: two workers, of which one fails at times."""
    from multiagents import Orchestrator, WorkflowBuilder, worker
    from multiagents.event_bus.redis_bus import RedisStateStore

    bus, manager = names["event_bus"], names["worker_manager"]

    @worker("inventory_service")
    async def inventory_service(context: dict[str, Any]) -> dict[str, Any]:
        return {"reserved": True}

    @worker("payment_processor")
    async def payment_processor(context: dict[str, Any]) -> dict[str, Any]:
        if context.get("declined"):
            raise ValueError("declined")
        return {"paid": True}

    workflow = WorkflowBuilder("order_processing")
    workflow.add_step("reserve", "inventory_service")
    workflow.add_step("pay", "payment_processor")
    store: Any = RedisStateStore(URL)
    orchestrator = Orchestrator(workflow.build(), bus, store)
    manager.register(inventory_service)
    manager.register(payment_processor)
    await bus.start()
    await manager.start()
    await orchestrator.start()
    for number in range(GOOD + BAD):
        names["a_transaction"] = await orchestrator.execute_workflow("order_processing", {"declined": number >= GOOD})
    await counted.settled(GOOD + BAD)
    names["orchestrator"] = orchestrator


async def run(code: str, names: dict[str, Any]) -> None:
    """A snippet as a notebook would run it: ``await`` may stand at the top."""
    compiled: CodeType = compile(code, "the guide", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    result = eval(compiled, names)
    if inspect.iscoroutine(result):
        await result


async def walk(instrumented: bool) -> dict[str, Any]:
    if instrumented:
        import multiagents_otel

        multiagents_otel.auto_instrument()
    names, counted = taken_for_granted(), Independent()
    await counted.listen()
    ran = []
    for snippet in snippets():
        if snippet.language == "yaml":
            Path("monitoring.yaml").write_text(snippet.code)
            continue
        await run(snippet.code, names)
        ran.append(snippet.title)
        if snippet.title == "Worker Performance Tracking":
            await run_orders(names, counted)
            # The guide looks at the events before it has any: once more, now that there are some.
            again = [other for other in snippets() if other.title in ("Event Metrics Analysis", "Transaction Tracing")]
            for other in again:
                await run(other.code, names)
    told = {
        name: names[name]
        for name in (
            "event_metrics", "event_type_metrics", "transaction_trace", "worker_perf", "summary", "health",
            "all_health", "current_metrics", "historical_metrics", "order_stats",
        )
    }  # fmt: skip
    told["trace_of_an_order"] = await names["event_monitor"].get_transaction_trace(names["a_transaction"])
    told["batch"] = await names["collect_metrics_batch"]()
    await the_rest(names)
    await names["logger"].close()
    told["channels"], told["ran"] = counted.channels, ran
    for part in (names["orchestrator"], names["worker_manager"], names["event_bus"]):
        await part.stop()
    await counted.close()
    return told


async def the_rest(names: dict[str, Any]) -> None:
    """Call what the guide only defines."""
    for environment in ("production", "staging", "development"):
        os.environ["ENVIRONMENT"] = environment
        names["create_environment_config"]().create_logger()
    del os.environ["ENVIRONMENT"]
    sampling = names["SamplingEventMonitor"](sample_rate=1.0)
    await sampling.track_event_lifecycle(names["command_event"], "error")
    secure = names["SecureLogger"](names["logger"])
    await secure.log("INFO", "a standard record", user={"password": "hunter2", "name": "Ann"})
    await names["SecureLogger"](names["logger"], access_level="restricted").log("INFO", "a restricted record", secret=1)
    metrics = await names["event_monitor"].get_event_metrics()
    await names["alert_manager"].check_alerts(metrics)


def main() -> None:
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s %(message)s")
    told = asyncio.run(walk(sys.argv[1:] == ["instrumented"]))
    print("TOLD " + json.dumps(told))


if __name__ == "__main__":
    main()
