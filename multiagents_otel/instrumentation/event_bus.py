"""The event bus: ``publish``, ``subscribe`` and ``unsubscribe`` of RedisEventBus and of every bus of a user's own."""

from __future__ import annotations

import asyncio
import functools
import inspect
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final

from opentelemetry import context as context_api
from opentelemetry.context import Context

from multiagents_otel import semconv
from multiagents_otel.core.scope import FRAME, Entry
from multiagents_otel.instrumentation.handlers import Handlers
from multiagents_otel.instrumentation.patching import Patch, PatchSet
from multiagents_otel.telemetry.bus import Buses, BusInfo
from multiagents_otel.telemetry.by_identity import ByIdentity
from multiagents_otel.telemetry.core import Telemetry
from multiagents_otel.telemetry.lag import LoopLag
from multiagents_otel.telemetry.sending import Sending
from multiagents_otel.telemetry.workflows import Workflows

REDIS_BUS_MODULE: Final = "multiagents.event_bus.redis_bus"
_METHODS: Final = ("publish", "subscribe", "unsubscribe")
_REDIS_INSTRUMENTATION: Final = "opentelemetry.instrumentation.redis"


class EventBusInstrumentation:
    """The patches of event buses' classes.

    Args:
        telemetry: what is recorded with.
        workflows: told of commands that are published and of results that come in.
        patches: where the classes of the users' own buses are patched, as they are met.
    """

    def __init__(self, telemetry: Telemetry, workflows: Workflows, patches: PatchSet) -> None:
        self._telemetry = telemetry
        self._workflows = workflows
        self._patches = patches
        self._client_classes: ByIdentity[object] = ByIdentity()
        self.buses = Buses()
        self.handlers = Handlers(telemetry, workflows, patches, self.buses)
        self.lag = LoopLag(telemetry, workflows.in_flight.resumed)
        telemetry.instruments.gauges[semconv.LISTENER_ACTIVE.name] = self._listeners

    def table(self) -> list[Patch]:
        """The rows for RedisEventBus and its state store."""
        row = functools.partial(Patch, REDIS_BUS_MODULE)
        return [
            row("RedisEventBus", "publish", self._publish),
            row("RedisEventBus", "subscribe", self._subscribe),
            row("RedisEventBus", "unsubscribe", self._unsubscribe),
            row("RedisEventBus", "_handle_message", self._handle_message),
            row("RedisStateStore", "save_context", self._quiet),
            row("RedisStateStore", "load_context", self._quiet),
            row("RedisStateStore", "delete_context", self._quiet),
            row("RedisStateStore", "list_contexts", self._quiet),
        ]

    def adopt(self, bus: Any, system: str | None = None) -> None:
        """Instrument the class of a bus, wherever in its bases each method comes from, and its live handlers."""
        _ = self.buses[bus]
        self._watch_loop()
        if system is not None:
            self.buses.describe(bus, system)
        for name in _METHODS:
            owner = next((cls for cls in type(bus).__mro__ if name in vars(cls)), None)
            if owner is None:
                self._telemetry.warn_once(
                    f"bus {type(bus).__qualname__}",
                    "the event bus %s has no method %r in its class: what passes through it is not recorded",
                    type(bus).__qualname__,
                    name,
                )
            elif not self._patches.has_replaced(owner, name):
                build = {"publish": self._publish, "subscribe": self._subscribe, "unsubscribe": self._unsubscribe}
                self._patches.replace(owner, name, build[name])
        self.handlers.wrap_live(bus)
        # Before the application takes hold of its client's publish.
        if (client := getattr(bus, "redis_client", None)) is not None:
            self._watch(client)
        elif isinstance(kind := getattr(sys.modules.get("redis.asyncio"), "Redis", None), type):
            self._watch_class(kind)

    def release(self, replacements: Mapping[int, str]) -> None:
        """Give every bus back what was its own; ``replacements`` are undone by now."""
        self.lag.stop()
        self.handlers.release(replacements)

    # --- publish -------------------------------------------------------------------------------

    def _publish(self, original: Callable[..., Any]) -> Callable[..., Any]:
        if not inspect.iscoroutinefunction(original):
            return self._publish_plain(original)
        switch, telemetry = self._patches.switch, self._telemetry

        @functools.wraps(original)
        async def publish(bus: Any, *args: Any, **kwargs: Any) -> Any:
            sending = None
            if switch.on:
                try:
                    sending = self._begin(bus, args, kwargs)
                except Exception:
                    telemetry.guard.caught("publish")
            if sending is None:
                return await original(bus, *args, **kwargs)
            if len(args) == 2:
                args = (args[0], sending.data)
            else:
                args, kwargs = _with_data(sending.data, args, kwargs)
            try:
                result = await original(bus, *args, **kwargs)
            except BaseException as exception:
                self._end_sending(sending, exception)
                raise
            self._end_sending(sending, None)
            return result

        return publish

    def _publish_plain(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """A ``publish`` that is no coroutine function works when it is called, whether anybody awaits it or not."""
        switch, telemetry = self._patches.switch, self._telemetry

        @functools.wraps(original)
        def publish(bus: Any, *args: Any, **kwargs: Any) -> Any:
            sending = None
            if switch.on:
                try:
                    sending = self._begin(bus, args, kwargs)
                except Exception:
                    telemetry.guard.caught("publish")
            if sending is None:
                return original(bus, *args, **kwargs)
            args, kwargs = _with_data(sending.data, args, kwargs)
            try:
                result = original(bus, *args, **kwargs)
            except BaseException as exception:
                self._end_sending(sending, exception)
                raise
            if asyncio.iscoroutine(result):
                sending.detach()
                return self._awaited(sending, result)
            if asyncio.isfuture(result):
                sending.detach()
                result.add_done_callback(functools.partial(self._done, sending))
            else:
                self._end_sending(sending, None)
            return result

        return publish

    async def _awaited(self, sending: Sending, coroutine: Any) -> Any:
        sending.attach()
        try:
            result = await coroutine
        except BaseException as exception:
            self._end_sending(sending, exception)
            raise
        self._end_sending(sending, None)
        return result

    def _done(self, sending: Sending, future: asyncio.Future[Any]) -> None:
        cancelled = future.cancelled()
        self._end_sending(sending, asyncio.CancelledError() if cancelled else future.exception())

    def _begin(self, bus: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Sending | None:
        event_type = args[0] if args else kwargs.get("event_type")
        data = args[1] if len(args) >= 2 else kwargs.get("event_data")
        if type(event_type) is not str or not (type(data) is dict or isinstance(data, Mapping)):
            return None
        telemetry = self._telemetry
        outer: Sending | None = FRAME.get().sending
        if outer is not None and outer.bus is bus and outer.continues(data):
            return None
        if telemetry.idle and not context_api.get_current():
            return None  # nothing to record and nothing to hand on
        client = getattr(bus, "redis_client", None)
        if client is not None:
            self._watch(client)
        return Sending(telemetry, self._workflows, bus, self._info(bus), event_type, data)

    def _info(self, bus: Any) -> BusInfo:
        """What is known of a bus; one that was in use before, and could not be found then, is instrumented now."""
        info = self.buses.get(bus)
        if info is None:
            self.adopt(bus)
            info = self.buses[bus]
        return info

    def _end_sending(self, sending: Sending, exception: BaseException | None) -> None:
        try:
            if isinstance(exception, GeneratorExit):
                sending.forget()
                return
            sending.detach()
            sending.give_back()
            if exception is None:
                sending.succeeded()
            else:
                sending.failed(exception)
        except Exception:
            self._telemetry.guard.caught("publish")
        self._telemetry.guard.run("publish", sending.release)

    def _watch_loop(self) -> None:
        try:
            self.lag.watch()
        except Exception:
            self._telemetry.guard.caught("event_loop")

    def _watch(self, client: Any) -> None:
        """Learn from the Redis client how many received a message, which the bus drops.

        Its class is patched, not the client: a wrapper on the client would refer to it, and keep it.
        """
        if self._client_classes.get(type(client)) is None:
            self._client_classes.set(type(client), self)
            self._watch_loop()
            # A client that stands for another one, a proxy, has the publish of that one.
            if not self._watch_class(type(client)):
                self._watch_class(type(getattr(getattr(client, "publish", None), "__self__", None)))

    def _watch_class(self, kind: type) -> bool:
        if not any("publish" in vars(cls) for cls in kind.__mro__):
            return False
        self._patches.replace(kind, "publish", self._client_publish)
        return True

    def _client_publish(self, original: Callable[..., Any]) -> Callable[..., Any]:
        switch, guard = self._patches.switch, self._telemetry.guard

        def reached(
            client: Any, sending: Sending, receivers: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
        ) -> None:
            try:
                message = args[1] if len(args) > 1 else kwargs.get("message")
                channel = args[0] if args else kwargs.get("channel")
                cluster = any(cls.__name__ == "RedisCluster" for cls in type(client).__mro__)
                sending.reached(receivers, channel, message, cluster=cluster)
            except Exception:
                guard.caught("publish")

        async def answered(
            client: Any, sending: Sending, answer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
        ) -> Any:
            with Entry(None, _without_redis()):
                receivers = await answer
            reached(client, sending, receivers, args, kwargs)
            return receivers

        @functools.wraps(original)
        def publish(client: Any, *args: Any, **kwargs: Any) -> Any:
            sending: Sending | None = FRAME.get().sending if switch.on else None
            if sending is None or not _sends_through(sending.bus, client):
                return original(client, *args, **kwargs)
            # A user's own bus may have a client that is not async: it has published when the call returns.
            with Entry(None, _without_redis()):
                answer = original(client, *args, **kwargs)
            if asyncio.iscoroutine(answer):
                return answered(client, sending, answer, args, kwargs)
            reached(client, sending, answer, args, kwargs)
            return answer

        return publish

    def _quiet(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """The state store's own Redis calls would be root spans of the Redis instrumentation."""
        switch = self._patches.switch

        @functools.wraps(original)
        async def quiet(*args: Any, **kwargs: Any) -> Any:
            with Entry(None, _without_redis() if switch.on else None):
                return await original(*args, **kwargs)

        return quiet

    # --- subscribe, unsubscribe ----------------------------------------------------------------

    def _subscribe(self, original: Callable[..., Any]) -> Callable[..., Any]:
        return self._with_changed(original, self.handlers.to_subscribe, "subscribe")

    def _unsubscribe(self, original: Callable[..., Any]) -> Callable[..., Any]:
        return self._with_changed(original, self.handlers.to_unsubscribe, "unsubscribe")

    def _with_changed(
        self, original: Callable[..., Any], change: Callable[[Any, str, Any], Any], component: str
    ) -> Callable[..., Any]:
        """The call with another handler, a coroutine function if it was one before."""
        switch, guard = self._patches.switch, self._telemetry.guard

        def plain(bus: Any, *args: Any, **kwargs: Any) -> Any:
            if switch.on:
                try:
                    args, kwargs = self._with_handler(bus, args, kwargs, change)
                except Exception:
                    guard.caught(component)
            return original(bus, *args, **kwargs)

        if not inspect.iscoroutinefunction(original):
            return functools.wraps(original)(plain)

        @functools.wraps(original)
        async def wrapper(bus: Any, *args: Any, **kwargs: Any) -> Any:
            return await plain(bus, *args, **kwargs)

        return wrapper

    def _with_handler(
        self, bus: Any, args: tuple[Any, ...], kwargs: dict[str, Any], change: Callable[[Any, str, Any], Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        event_type = args[0] if args else kwargs.get("event_type")
        if not isinstance(event_type, str):
            return args, kwargs
        self._watch_loop()
        self._info(bus)
        if len(args) >= 2:
            return (args[0], change(bus, event_type, args[1]), *args[2:]), kwargs
        if callable(kwargs.get("handler")):
            return args, {**kwargs, "handler": change(bus, event_type, kwargs["handler"])}
        return args, kwargs

    def _handle_message(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """To know the size of what came in."""
        switch, guard = self._patches.switch, self._telemetry.guard

        @functools.wraps(original)
        async def _handle_message(bus: Any, message: Any) -> Any:
            if not switch.on:
                return await original(bus, message)
            try:
                self._info(bus)
            except Exception:
                guard.caught("event_bus")
            with Entry(FRAME.get().with_incoming(message)):
                return await original(bus, message)

        return _handle_message

    def _listeners(self) -> dict[tuple[str, ...], int]:
        """1 while every started bus that has subscribed has a living listener; nothing where there is no such bus."""
        tasks = [
            task
            for bus in self.buses
            if getattr(bus, "_running", False)
            and isinstance(task := getattr(bus, "_listener_task", None), asyncio.Task)
        ]
        return {(): int(not any(task.done() for task in tasks))} if tasks else {}


def _sends_through(bus: Any, client: Any) -> bool:
    """Whether a client is the one that a bus publishes with, or the one that this stands for."""
    held = getattr(bus, "redis_client", None)
    return held is client or (held is not None and getattr(getattr(held, "publish", None), "__self__", None) is client)


def _with_data(data: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments of ``publish`` with another event."""
    if len(args) >= 2:
        return (args[0], data, *args[2:]), kwargs
    return args, {**kwargs, "event_data": data}


def _without_redis() -> Context | None:
    """A context in which the Redis instrumentation makes no spans, where it is there."""
    if _REDIS_INSTRUMENTATION not in sys.modules:
        return None
    return context_api.set_value("suppress_instrumentation", True)
