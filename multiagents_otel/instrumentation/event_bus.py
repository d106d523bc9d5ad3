"""The event bus: ``publish``, ``subscribe``, ``unsubscribe``, and the handlers in between."""

from __future__ import annotations

import asyncio
import functools
import inspect
import sys
import weakref
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any, Final

import wrapt
from opentelemetry import context as context_api
from opentelemetry import trace
from opentelemetry.trace import Link

from multiagents_otel import semconv
from multiagents_otel.instrumentation.patching import Patch, PatchSet
from multiagents_otel.telemetry.bus import Buses
from multiagents_otel.telemetry.core import Telemetry, suppressed
from multiagents_otel.telemetry.delivery import INCOMING, Delivery, Messages
from multiagents_otel.telemetry.sending import SENDING, Sending
from multiagents_otel.telemetry.workflows import Workflows

REDIS_BUS_MODULE: Final = "multiagents.event_bus.redis_bus"
WORKER_MANAGER_MODULE: Final = "multiagents.worker_sdk.worker_manager"
_METHODS: Final = ("publish", "subscribe", "unsubscribe")
_REDIS_INSTRUMENTATION: Final = "opentelemetry.instrumentation.redis"


class Subscription:
    """A handler's place on a bus, and what happens when the bus calls it.

    Attributes:
        bus: the bus, weakly.
        instrumentation: None while it is off: the user's handler is called and nothing else.
        siblings: the handlers of the same event type on the same bus, this one among them.
        is_async: the handler is known to be a coroutine function.
        starts_worker: it is a WorkerManager's: its execution, in a task of its own, is what is processed; the
            call only starts that task.
    """

    __slots__ = ("bus", "event_type", "instrumentation", "is_async", "siblings", "starts_worker")

    def __init__(self, handler: Any, instrumentation: EventBusInstrumentation, bus: Any, event_type: str) -> None:
        self.bus = weakref.ref(bus)
        self.event_type = event_type
        self.instrumentation: EventBusInstrumentation | None = instrumentation
        self.siblings: list[weakref.ref[Handler]] = []
        self.is_async = _is_async(handler)
        self.starts_worker = getattr(handler, "__module__", None) == WORKER_MANAGER_MODULE

    def call(self, wrapped: Any, _instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call the user's handler inside its delivery, sync or async as it is."""
        instrumentation = self.instrumentation
        if instrumentation is None:
            return wrapped(*args, **kwargs)
        data = args[0] if args else next(iter(kwargs.values()), None)
        delivery = None
        if type(data) is dict or isinstance(data, MutableMapping):
            delivery = instrumentation.receive(self, data)
        if delivery is None:
            return wrapped(*args, **kwargs)
        if self.is_async:
            return instrumentation.handle(delivery, wrapped(*args, **kwargs))
        delivery.attach()
        try:
            result = wrapped(*args, **kwargs)
        except BaseException as exception:
            delivery.detach()
            instrumentation.end(delivery, exception)
            raise
        delivery.detach()
        if inspect.isawaitable(result):
            return instrumentation.handle(delivery, result)
        instrumentation.end(delivery, None)
        return result


class Handler(wrapt.FunctionWrapper):  # type: ignore[type-arg,unused-ignore]
    """A subscribed handler. It equals and hashes as the user's own, so that ``unsubscribe`` finds it."""

    def __init__(self, handler: Any, subscription: Subscription) -> None:
        super().__init__(handler, subscription.call)
        self._self_subscription = subscription

    @property
    def subscription(self) -> Subscription:
        """Where it is subscribed."""
        subscription: Subscription = self._self_subscription
        return subscription


def _is_async(handler: Any) -> bool:
    while isinstance(handler, functools.partial):
        handler = handler.func
    return inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(type(handler).__call__)


class EventBusInstrumentation:
    """Everything about event buses: the patches of their classes, and the handlers that were subscribed.

    Args:
        telemetry: what is recorded with.
        workflows: told of commands that are published and of results that come in.
        patches: where the classes of the users' own buses are patched, as they are met.
    """

    def __init__(self, telemetry: Telemetry, workflows: Workflows, patches: PatchSet) -> None:
        self._telemetry = telemetry
        self._workflows = workflows
        self._patches = patches
        self._messages = Messages()
        self._by_bus: weakref.WeakKeyDictionary[Any, dict[str, list[weakref.ref[Handler]]]] = (
            weakref.WeakKeyDictionary()
        )
        self._clients: weakref.WeakSet[Any] = weakref.WeakSet()
        self.buses = Buses()
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
            elif not self._patches.is_replacement(owner, name):
                build = {"publish": self._publish, "subscribe": self._subscribe, "unsubscribe": self._unsubscribe}
                self._patches.replace(owner, name, build[name])
        self._wrap_live(bus)

    def _wrap_live(self, bus: Any) -> None:
        subscriptions = getattr(bus, "handlers", None)
        if not isinstance(subscriptions, dict):
            return
        originals = self._patches.originals()
        for event_type, handlers in subscriptions.items():
            if isinstance(handlers, list) and isinstance(event_type, str):
                for at, handler in enumerate(handlers):
                    if isinstance(handler, Handler):
                        continue
                    # A bound method that was taken before its class was patched is taken again.
                    if inspect.ismethod(handler) and handler.__func__ in originals:
                        handler = getattr(handler.__self__, originals[handler.__func__])
                    handlers[at] = self._wrap(bus, event_type, handler)

    def release(self) -> None:
        """Give every bus its users' own handlers back; one that can't be reached only passes through."""
        for bus in self.buses:
            subscriptions = getattr(bus, "handlers", None)
            if isinstance(subscriptions, dict):
                for handlers in subscriptions.values():
                    if isinstance(handlers, list):
                        handlers[:] = [h.__wrapped__ if isinstance(h, Handler) else h for h in handlers]
        for handler in self.handlers:
            handler.subscription.instrumentation = None
        for client in list(self._clients):
            vars(client).pop("publish", None)
        self._clients.clear()

    def resume(self, handlers: list[Handler]) -> None:
        """Take up handlers of an earlier instrumentation that still sit in some bus."""
        for handler in handlers:
            bus = handler.subscription.bus()
            if bus is not None:
                handler.subscription.instrumentation = self
                self._note(bus, handler)

    @property
    def handlers(self) -> list[Handler]:
        """The wrapped handlers that are alive."""
        refs = [ref for by_type in list(self._by_bus.values()) for refs in by_type.values() for ref in refs]
        return [handler for ref in refs if (handler := ref()) is not None]

    # --- publish -------------------------------------------------------------------------------

    def _publish(self, original: Callable[..., Any]) -> Callable[..., Any]:
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
            if len(args) >= 2:
                args = (args[0], sending.data, *args[2:])
            else:
                kwargs = {**kwargs, "event_data": sending.data}
            try:
                result = await original(bus, *args, **kwargs)
            except BaseException as exception:
                self._end_sending(sending, exception)
                raise
            self._end_sending(sending, None)
            return result

        return publish

    def _begin(self, bus: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Sending | None:
        event_type = args[0] if args else kwargs.get("event_type")
        data = args[1] if len(args) >= 2 else kwargs.get("event_data")
        if type(event_type) is not str or not (type(data) is dict or isinstance(data, Mapping)):
            return None
        telemetry = self._telemetry
        if not telemetry.settled:
            telemetry.settle()
        outer = SENDING.get()
        if outer is not None and outer.bus is bus and outer.continues(data):
            return None
        if telemetry.passive and not context_api.get_current():
            return None  # nothing to record and nothing to hand on
        client = getattr(bus, "redis_client", None)
        if client is not None:
            self._watch(client)
        return Sending(telemetry, self._workflows, bus, self.buses[bus], event_type, data)

    def _end_sending(self, sending: Sending, exception: BaseException | None) -> None:
        try:
            if isinstance(exception, GeneratorExit):
                sending.forget()
                return
            sending.detach()
            if exception is None:
                sending.succeeded()
            else:
                sending.failed(exception)
        except Exception:
            self._telemetry.guard.caught("publish")

    def _watch(self, client: Any) -> None:
        """Learn from the Redis client how many received a message, which the bus drops."""
        attributes = getattr(client, "__dict__", None)
        if attributes is None or "publish" in attributes:
            return
        original = client.publish
        cluster = any(cls.__name__ == "RedisCluster" for cls in type(client).__mro__)
        guard = self._telemetry.guard

        @functools.wraps(original)
        async def publish(*args: Any, **kwargs: Any) -> Any:
            sending = SENDING.get()
            if sending is None or getattr(sending.bus, "redis_client", None) is None:
                return await original(*args, **kwargs)
            token = _suppress_redis()
            try:
                receivers = await original(*args, **kwargs)
            finally:
                if token is not None:
                    context_api.detach(token)
            try:
                message = args[1] if len(args) > 1 else kwargs.get("message")
                sending.reached(receivers, message, cluster=cluster)
            except Exception:
                guard.caught("publish")
            return receivers

        client.publish = publish
        self._clients.add(client)

    def _quiet(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """The state store's own Redis calls would be root spans of the Redis instrumentation."""
        switch = self._patches.switch

        @functools.wraps(original)
        async def quiet(*args: Any, **kwargs: Any) -> Any:
            token = _suppress_redis() if switch.on else None
            try:
                return await original(*args, **kwargs)
            finally:
                if token is not None:
                    context_api.detach(token)

        return quiet

    # --- subscribe, unsubscribe ----------------------------------------------------------------

    def _wrap(self, bus: Any, event_type: str, handler: Any) -> Handler:
        wrapper = Handler(handler, Subscription(handler, self, bus, event_type))
        self._note(bus, wrapper)
        return wrapper

    def _note(self, bus: Any, wrapper: Handler) -> None:
        try:
            siblings = self._by_bus.setdefault(bus, {}).setdefault(wrapper.subscription.event_type, [])
            siblings[:] = [ref for ref in siblings if ref() is not None]
            siblings.append(weakref.ref(wrapper))
            wrapper.subscription.siblings = siblings
        except TypeError:  # a bus that can't be a key: each of its handlers counts for itself
            pass

    def _subscribe(self, original: Callable[..., Any]) -> Callable[..., Any]:
        switch = self._patches.switch

        @functools.wraps(original)
        async def subscribe(bus: Any, *args: Any, **kwargs: Any) -> Any:
            if switch.on:
                try:
                    args, kwargs = self._with_handler(bus, args, kwargs, self._to_subscribe)
                except Exception:
                    self._telemetry.guard.caught("subscribe")
            return await original(bus, *args, **kwargs)

        return subscribe

    def _unsubscribe(self, original: Callable[..., Any]) -> Callable[..., Any]:
        switch = self._patches.switch

        @functools.wraps(original)
        async def unsubscribe(bus: Any, *args: Any, **kwargs: Any) -> Any:
            if switch.on:
                try:
                    args, kwargs = self._with_handler(bus, args, kwargs, self._to_unsubscribe)
                except Exception:
                    self._telemetry.guard.caught("unsubscribe")
            return await original(bus, *args, **kwargs)

        return unsubscribe

    def _with_handler(
        self, bus: Any, args: tuple[Any, ...], kwargs: dict[str, Any], change: Callable[[Any, str, Any], Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        event_type = args[0] if args else kwargs.get("event_type")
        if not isinstance(event_type, str):
            return args, kwargs
        if len(args) >= 2:
            return (args[0], change(bus, event_type, args[1]), *args[2:]), kwargs
        if callable(kwargs.get("handler")):
            return args, {**kwargs, "handler": change(bus, event_type, kwargs["handler"])}
        return args, kwargs

    def _to_subscribe(self, bus: Any, event_type: str, handler: Any) -> Any:
        _ = self.buses[bus]
        if isinstance(handler, Handler) or not callable(handler):
            return handler
        return self._wrap(bus, event_type, handler)

    def _to_unsubscribe(self, bus: Any, event_type: str, handler: Any) -> Any:
        # A bus may compare by identity: it is given the very object that it was given before.
        wrappers = self._by_bus.get(bus, {}).get(event_type, [])
        for at, ref in enumerate(wrappers):
            wrapper = ref()
            if wrapper is not None and wrapper.__wrapped__ == handler:
                del wrappers[at]
                return wrapper
        return handler

    # --- handlers ------------------------------------------------------------------------------

    def receive(self, subscription: Subscription, data: MutableMapping[str, Any]) -> Delivery | None:
        """A handler is about to be called: take the carrier out and start what has to be started."""
        telemetry = self._telemetry
        try:
            if not telemetry.settled:
                telemetry.settle()
            if telemetry.passive and semconv.CARRIER_KEY not in data:
                return None
            bus, siblings = subscription.bus(), subscription.siblings
            handlers = 1 if len(siblings) <= 1 else sum(ref() is not None for ref in siblings)
            delivery = self.delivery(bus, subscription.event_type, data, handlers, subscription.starts_worker)
            ambient = context_api.get_current()
            links: tuple[Link, ...] | None = None
            if ambient and not _in_listener(bus):  # what the listener's task has inherited is not meant for us
                if suppressed(ambient):
                    delivery.suppress()
                current = trace.get_current_span(ambient).get_span_context()
                parent = trace.get_current_span(delivery.context).get_span_context()
                if current.is_valid and current.span_id != parent.span_id:
                    links = (Link(current),)
            if not delivery.deferred:
                delivery.begin(links)
            return delivery
        except Exception:
            telemetry.guard.caught("process")
            data.pop(semconv.CARRIER_KEY, None)
            return None

    def delivery(
        self, bus: Any, event_type: str, data: MutableMapping[str, Any], handlers: int, deferred: bool
    ) -> Delivery:
        """The delivery of an event's dict; its command, if it is a result, is answered."""
        message = self._messages.take(self._telemetry, event_type, data, handlers)
        if message.kind == semconv.RESULT_EVENT and type(command_id := data.get("command_id")) is str:
            self._workflows.in_flight.remove(command_id)
        return Delivery(self._telemetry, self.buses[bus], message, data, deferred)

    async def handle(self, delivery: Delivery, awaitable: Any) -> Any:
        """Await a handler inside its delivery."""
        delivery.attach()
        try:
            result = await awaitable
        except GeneratorExit:
            delivery.forget()
            self.end(delivery, None)
            raise
        except BaseException as exception:
            delivery.detach()
            self.end(delivery, exception)
            raise
        delivery.detach()
        self.end(delivery, None)
        return result

    def end(self, delivery: Delivery, exception: BaseException | None) -> None:
        """A handler is done; a deferred delivery goes on in its worker's task."""
        try:
            if not delivery.deferred or exception is not None:
                delivery.end(exception)
        except Exception:
            self._telemetry.guard.caught("process")

    def _handle_message(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """Only to know the size of what came in."""
        switch = self._patches.switch

        @functools.wraps(original)
        async def _handle_message(bus: Any, message: Any) -> Any:
            if not switch.on:
                return await original(bus, message)
            token = INCOMING.set(message)
            try:
                return await original(bus, message)
            finally:
                INCOMING.reset(token)

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


def _in_listener(bus: Any) -> bool:
    """Whether this is the listener's own task: its ambient context is that of whoever subscribed first."""
    task = getattr(bus, "_listener_task", None)
    try:
        return task is not None and task is asyncio.current_task()
    except RuntimeError:  # no event loop: a bus that calls its handlers from a thread
        return False


def _suppress_redis() -> Any:
    if _REDIS_INSTRUMENTATION not in sys.modules:
        return None
    return context_api.attach(context_api.set_value("suppress_instrumentation", True))
