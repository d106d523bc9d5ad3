"""An event bus and state stores in memory, as a user might write them: deterministic, nothing to start."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Generator, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple, cast

import structlog
from multiagents.core.exceptions import EventBusException
from multiagents.core.saga_context import SagaContext
from multiagents.event_bus.interface import EventHandler, IEventBus
from multiagents.event_bus.redis_bus import EventEncoder
from multiagents.orchestrator.interface import IStateStore
from multiagents.orchestrator.orchestrator import Orchestrator

from tests.support.deadline import DEADLINE

logger = structlog.get_logger()

_REMEMBERED = 10_000
_SHOWN = 30


class WireMessage(NamedTuple):
    """What a publication put on the wire."""

    event_type: str
    text: str

    @property
    def event(self) -> dict[str, Any]:
        return cast(dict[str, Any], json.loads(self.text))


class _Broker:
    """What the buses of several simulated processes share: the wire, and the count of what is under way."""

    def __init__(self) -> None:
        self.buses: list[MemoryBus] = []
        self.wire: deque[WireMessage] = deque(maxlen=_REMEMBERED)
        self.under_way = 0
        self.idle = asyncio.Event()
        self.idle.set()

    def begin(self) -> None:
        self.under_way += 1
        self.idle.clear()

    def end(self, _task: object = None) -> None:
        self.under_way -= 1
        if not self.under_way:
            self.idle.set()


class MemoryBus(IEventBus):
    """Delivers like RedisEventBus, in memory.

    Messages pass through JSON, are handled one after the other by a task that the first ``subscribe``
    creates, and a handler's error is logged and swallowed. With ``inline=True`` there is no such task:
    ``publish`` calls the handlers itself.
    """

    def __init__(self, *, inline: bool = False) -> None:
        self.handlers: defaultdict[str, list[EventHandler]] = defaultdict(list)
        self.failures: dict[str, Exception] = {}
        """Publishing one of these event types raises EventBusException from the exception."""
        self._inline = inline
        self._running = False
        self._queue: asyncio.Queue[WireMessage] = asyncio.Queue()
        self._listener: asyncio.Task[None] | None = None
        self._join(_Broker())

    def peer(self) -> MemoryBus:
        """Another bus on the same wire, as another process has one: each gets its own copy of a message."""
        other = MemoryBus(inline=self._inline)
        other._join(self._broker)
        return other

    def _join(self, broker: _Broker) -> None:
        self._broker = broker
        broker.buses.append(self)

    @property
    def wire(self) -> list[WireMessage]:
        """All that was published on this wire (the last 10,000), failed publications left out."""
        return list(self._broker.wire)

    async def start(self) -> None:
        self._running = True

    async def stop(self) -> None:
        self._running = False
        if self._listener:
            self._listener.cancel()
            await asyncio.gather(self._listener, return_exceptions=True)
            self._listener = None
        while not self._queue.empty():
            self._queue.get_nowait()
            self._broker.end()

    async def publish(self, event_type: str, event_data: dict[str, Any]) -> None:
        if not self._running:
            raise EventBusException("Event bus not started")
        try:
            if event_type in self.failures:
                raise self.failures[event_type]
            message = WireMessage(event_type, json.dumps(event_data, cls=EventEncoder))
        except Exception as error:
            raise EventBusException(f"Failed to publish event: {error}") from error
        self._broker.wire.append(message)
        for bus in tuple(self._broker.buses):
            if bus._receives(event_type):
                await bus._deliver(message)

    async def subscribe(self, event_type: str, handler: EventHandler) -> None:
        self.handlers[event_type].append(handler)
        if not self._inline and self._listener is None:
            # As in RedisEventBus: the task inherits the context of whoever subscribes first.
            self._listener = asyncio.create_task(self._listen())

    async def unsubscribe(self, event_type: str, handler: EventHandler) -> None:
        if handler in self.handlers.get(event_type, ()):
            self.handlers[event_type].remove(handler)

    async def drain(self, timeout: float = DEADLINE) -> None:
        """Waits until every message on the wire, and every task that handling one created, is done."""
        waiter = asyncio.ensure_future(self._broker.idle.wait())
        await asyncio.wait([waiter], timeout=timeout)
        if not waiter.done():
            waiter.cancel()
            tasks = "\n".join(sorted(repr(task) for task in asyncio.all_tasks())[:_SHOWN])
            raise AssertionError(f"after {timeout} s {self._broker.under_way} messages and tasks remain:\n{tasks}")

    def _receives(self, event_type: str) -> bool:
        listening = self._inline or self._listener is not None
        return self._running and listening and bool(self.handlers.get(event_type))

    async def _deliver(self, message: WireMessage) -> None:
        self._broker.begin()
        if self._inline:
            await self._handle(message)
        else:
            self._queue.put_nowait(message)

    async def _listen(self) -> None:
        while True:
            await self._handle(await self._queue.get())

    async def _handle(self, message: WireMessage) -> None:
        try:
            event = message.event
            for handler in tuple(self.handlers.get(message.event_type, ())):
                try:
                    await _Spawning(_called(handler, event), self._follow)
                except Exception as error:
                    logger.error("Handler error", event_type=message.event_type, handler=handler, error=str(error))
        finally:
            self._broker.end()

    def _follow(self, task: asyncio.Task[Any]) -> None:
        self._broker.begin()
        task.add_done_callback(self._broker.end)


async def _called(handler: EventHandler, event: dict[str, Any]) -> None:
    await handler(event)


class _Spawning:
    """Awaits something and tells which tasks it creates.

    Between two suspensions nobody else runs on the event loop, so a task factory that is in place for
    just such a step sees the tasks of this awaitable only, and is gone when others could notice.
    """

    def __init__(self, awaitable: Awaitable[None], created: Callable[[asyncio.Task[Any]], None]) -> None:
        self._awaitable = awaitable
        self._created = created

    def __await__(self) -> Generator[Any, None, None]:
        steps = self._awaitable.__await__()
        step: Callable[[], Any] = partial(next, steps)
        while True:
            try:
                with self._watching():
                    suspended_on = step()
            except StopIteration:
                return
            try:
                yield suspended_on
                step = partial(next, steps)
            except BaseException as error:
                step = partial(_throw, steps, error)

    @contextmanager
    def _watching(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        users: Any = loop.get_task_factory()

        def factory(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> Any:
            create = users or _create_task
            task = create(loop, coroutine, **options)
            self._created(task)
            return task

        loop.set_task_factory(factory)
        try:
            yield
        finally:
            loop.set_task_factory(users)


def _create_task(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
    """What an event loop without a task factory does."""
    return asyncio.Task(coroutine, loop=loop, **options)


def _throw(steps: Any, error: BaseException) -> Any:
    return steps.throw(error)


class MemoryStore(IStateStore):
    """Keeps contexts as JSON and loads them as dicts, as RedisStateStore does.

    Several orchestrators may share one, as after a crash: ``rows`` is what survives.
    """

    def __init__(self) -> None:
        self.rows: dict[str, str] = {}

    async def save_context(self, context: SagaContext) -> None:
        self.rows[context.transaction_id] = json.dumps(context.to_dict())

    async def load_context(self, transaction_id: str) -> Any:
        row = self.rows.get(transaction_id)
        return None if row is None else json.loads(row)

    async def delete_context(self, transaction_id: str) -> bool:
        return self.rows.pop(transaction_id, None) is not None

    async def list_contexts(self, workflow_id: str | None = None, state: str | None = None) -> list[str]:
        rows = {transaction: json.loads(row) for transaction, row in self.rows.items()}
        return [
            transaction
            for transaction, row in rows.items()
            if workflow_id in (None, row["workflow_id"]) and state in (None, row["state"])
        ]


class ContextStore(MemoryStore):
    """Loads SagaContext objects, as IStateStore says (the orchestrator itself can't read them back)."""

    async def load_context(self, transaction_id: str) -> SagaContext | None:
        row = await super().load_context(transaction_id)
        if row is None:
            return None
        # The framework's own way back from a dict; it does not use its self.
        return Orchestrator._reconstruct_context(cast(Orchestrator, None), row)
