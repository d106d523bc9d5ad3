"""Handlers: wrapped when they are subscribed, and what happens when a bus calls one."""

from __future__ import annotations

import asyncio
import copy
import functools
import inspect
import itertools
import weakref
from collections.abc import Callable, Mapping, MutableMapping
from types import MethodType
from typing import Any, Final

import wrapt
from opentelemetry.trace import Link

from multiagents_otel import semconv
from multiagents_otel.core.trace_context import get_current, span_of
from multiagents_otel.instrumentation.patching import PatchSet, itself
from multiagents_otel.telemetry.bus import Buses, BusInfo
from multiagents_otel.telemetry.by_identity import ByIdentity
from multiagents_otel.telemetry.core import Telemetry, suppressed
from multiagents_otel.telemetry.delivery import Delivery, Message, Messages
from multiagents_otel.telemetry.event import seconds
from multiagents_otel.telemetry.observers import OBSERVERS
from multiagents_otel.telemetry.sending import DEFAULT_TIMEOUT
from multiagents_otel.telemetry.workflows import Workflows

WORKER_MANAGER_MODULE: Final = "multiagents.worker_sdk.worker_manager"


class Subscription:
    """A handler's place on a bus, and what happens when the bus calls it.

    Attributes:
        bus: the bus, weakly.
        instrumentation: None while it is off: the user's handler is called and nothing else.
        info: what is known of the bus.
        siblings: the handlers of the same event type on the same bus, this one among them.
        is_async: the handler is known to be a coroutine function.
        starts_worker: it is a WorkerManager's: its execution, in a task of its own, is what is processed; the
            call only starts that task.
    """

    __slots__ = ("bus", "event_type", "info", "instrumentation", "is_async", "siblings", "starts_worker")

    def __init__(self, handler: Any, instrumentation: Handlers, bus: Any, info: BusInfo, event_type: str) -> None:
        try:
            self.bus: Callable[[], Any] = weakref.ref(bus)
        except TypeError:  # no weak references to it
            self.bus = lambda: bus
        self.info = info
        self.event_type = event_type
        self.instrumentation: Handlers | None = instrumentation
        self.siblings: list[weakref.ref[Handler]] = []
        self.is_async = _is_async(handler)
        self.starts_worker = getattr(handler, "__module__", None) == WORKER_MANAGER_MODULE

    def replaces(self, other: Subscription) -> bool:
        """Whether another subscription has the same place."""
        return self.event_type == other.event_type and self.bus() is other.bus()

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
        instrumentation.attach(delivery)
        try:
            result = wrapped(*args, **kwargs)
        except BaseException as exception:
            instrumentation.end(delivery, exception)
            raise
        if inspect.isawaitable(result):
            instrumentation.detach(delivery)
            return instrumentation.handle(delivery, result)
        instrumentation.end(delivery, None)
        return result


class Handler(wrapt.FunctionWrapper):  # type: ignore[type-arg,unused-ignore]
    """A subscribed handler. It equals and hashes as the user's own, so that ``unsubscribe`` finds it."""

    def __new__(cls, handler: Any, subscription: Any) -> Any:
        """Make a wrapper; or the method again of which a bus has kept a ``weakref.WeakMethod``."""
        if isinstance(subscription, Subscription):
            return super().__new__(cls, handler, subscription)
        method = MethodType(handler, subscription)  # WeakMethod calls the type with a function and its object
        known = (_METHODS.get(subscription) or {}).get(id(handler), [])
        # Of two event types with one method nothing says which one this call is for.
        return Handler(method, known[0]) if len(known) == 1 else method

    def __init__(self, handler: Any, subscription: Any) -> None:
        if isinstance(subscription, Subscription):
            super().__init__(handler, subscription.call)
            self._self_subscription = subscription

    # A copy, and what comes out of a pickle, is the user's own: as it would be without us.

    def __copy__(self) -> Any:
        return copy.copy(self.__wrapped__)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return copy.deepcopy(self.__wrapped__, memo)

    def __reduce_ex__(self, _protocol: Any) -> Any:
        return itself(self.__wrapped__)

    @property
    def subscription(self) -> Subscription:
        """Where it is subscribed."""
        subscription: Subscription = self._self_subscription
        return subscription


_METHODS: Final[ByIdentity[dict[int, list[Subscription]]]] = ByIdentity()
"""The subscriptions of bound methods, by object and by the id of the function."""


def _keep_reachable(wrapper: Handler) -> None:
    """Make a wrapper usable for a bus that holds handlers weakly, as it could hold the user's own."""
    handler, subscription = wrapper.__wrapped__, wrapper.subscription
    if inspect.ismethod(handler):
        methods = _METHODS.get(handler.__self__)
        if methods is None:
            _METHODS.set(handler.__self__, methods := {})
        known = methods.setdefault(id(handler.__func__), [])
        known[:] = [other for other in known if other.bus() is not None and not subscription.replaces(other)]
        known.append(subscription)
    elif inspect.isfunction(handler) and "<locals>" not in handler.__qualname__:
        subscription.info.kept[id(handler), subscription.event_type] = wrapper  # it lives as long as its module


def _is_async(handler: Any) -> bool:
    while isinstance(handler, functools.partial):
        handler = handler.func
    return inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(type(handler).__call__)


def _retaken(handler: Any, functions: Mapping[int, str]) -> Any:
    """A bound method that was taken before its class was changed, taken again; any other handler as it is."""
    if inspect.ismethod(handler) and id(handler.__func__) in functions:
        return getattr(handler.__self__, functions[id(handler.__func__)])
    return handler


class Handlers:
    """The handlers that were subscribed, and the deliveries that they are called with.

    Args:
        telemetry: what is recorded with.
        workflows: told of results that come in.
        patches: knows which functions were replaced.
        buses: what is known of each bus.
    """

    def __init__(self, telemetry: Telemetry, workflows: Workflows, patches: PatchSet, buses: Buses) -> None:
        self._telemetry = telemetry
        self._workflows = workflows
        self._patches = patches
        self._buses = buses
        self._messages = Messages()

    # --- on a bus ------------------------------------------------------------------------------

    def wrap(self, bus: Any, event_type: str, handler: Any) -> Handler:
        """Wrap a handler that is being subscribed."""
        wrapper: Handler = Handler(handler, Subscription(handler, self, bus, self._buses[bus], event_type))
        self._note(wrapper)
        _keep_reachable(wrapper)
        return wrapper

    def _note(self, wrapper: Handler) -> None:
        subscription = wrapper.subscription
        siblings = subscription.info.subscribed.setdefault(subscription.event_type, [])
        siblings[:] = [ref for ref in siblings if ref() is not None]
        siblings.append(weakref.ref(wrapper))
        subscription.siblings = siblings

    def wrap_live(self, bus: Any) -> None:
        """Wrap the handlers that a bus holds already, in a ``handlers`` dict as RedisEventBus has."""
        subscriptions = getattr(bus, "handlers", None)
        if not isinstance(subscriptions, dict):
            return
        originals = self._patches.originals()
        for event_type, handlers in subscriptions.items():
            if isinstance(handlers, list) and isinstance(event_type, str):
                for at, handler in enumerate(handlers):
                    if isinstance(handler, Handler):
                        continue
                    handlers[at] = self.wrap(bus, event_type, _retaken(handler, originals))

    def to_subscribe(self, bus: Any, event_type: str, handler: Any) -> Any:
        """What a bus is given in the place of a handler."""
        if isinstance(handler, Handler) or not callable(handler):
            return handler
        return self.wrap(bus, event_type, handler)

    def to_unsubscribe(self, bus: Any, event_type: str, handler: Any) -> Any:
        """What a bus was given in the place of a handler."""
        # A bus may compare by identity: it is given the very object that it was given before.
        wrappers = self._buses[bus].subscribed.get(event_type, [])
        for at, ref in enumerate(wrappers):
            wrapper = ref()
            if wrapper is not None and wrapper.__wrapped__ == handler:
                del wrappers[at]
                wrapper.subscription.info.kept.pop((id(handler), event_type), None)
                return wrapper
        return handler

    def release(self, replacements: Mapping[int, str]) -> None:
        """Give every bus its users' own handlers back; one that can't be reached only passes through.

        Args:
            replacements: the functions of the patches, undone by now, with their names.
        """
        for handler in self.alive:
            handler.__wrapped__ = _retaken(handler.__wrapped__, replacements)
        for bus in self._buses:
            subscriptions = getattr(bus, "handlers", None)
            if isinstance(subscriptions, dict):
                for handlers in subscriptions.values():
                    if isinstance(handlers, list):
                        handlers[:] = [h.__wrapped__ if isinstance(h, Handler) else h for h in handlers]
        for handler in self.alive:
            handler.subscription.instrumentation = None
        for methods in _METHODS.values():  # those that a bus holds weakly have no wrapper now
            for subscription in itertools.chain(*methods.values()):
                if subscription.instrumentation is self:
                    subscription.instrumentation = None

    def resume(self, handlers: list[Handler]) -> None:
        """Take up handlers of an earlier instrumentation that still sit in some bus."""
        originals = self._patches.originals()
        for handler in handlers:
            bus = handler.subscription.bus()
            if bus is not None:
                handler.__wrapped__ = _retaken(handler.__wrapped__, originals)
                handler.subscription.instrumentation = self
                handler.subscription.info = self._buses[bus]
                self._note(handler)

    @property
    def alive(self) -> list[Handler]:
        """The wrapped handlers that are alive."""
        refs = [ref for info in self._buses.infos for refs in list(info.subscribed.values()) for ref in refs]
        return [handler for ref in refs if (handler := ref()) is not None]

    # --- called --------------------------------------------------------------------------------

    def receive(self, subscription: Subscription, data: MutableMapping[str, Any]) -> Delivery | None:
        """A handler is about to be called: take the carrier out and start what has to be started."""
        telemetry = self._telemetry
        try:
            if telemetry.idle and semconv.CARRIER_KEY not in data:
                return None
            siblings = subscription.siblings
            handlers = 1 if len(siblings) <= 1 else sum(ref() is not None for ref in siblings)
            delivery = self.delivery(
                subscription.info, subscription.event_type, data, handlers, subscription.starts_worker
            )
            ambient = get_current()
            links: tuple[Link, ...] | None = None
            # What the listener's task has inherited is not meant for us.
            if ambient and not _in_listener(subscription.bus()):
                if suppressed(ambient):
                    delivery.suppress()
                span = span_of(ambient)
                parent = delivery.message.parent
                # One that has ended is nobody's: the task of a listener that was started inside it still has it.
                if span.is_recording() and (current := span.get_span_context()).span_id != parent.span_id:
                    links = (Link(current),)
            if not delivery.deferred:
                delivery.begin(links)
            return delivery
        except Exception:
            telemetry.guard.caught("process")
            data.pop(semconv.CARRIER_KEY, None)
            return None

    def delivery(
        self, info: BusInfo, event_type: str, data: MutableMapping[str, Any], handlers: int, deferred: bool
    ) -> Delivery:
        """The delivery of an event's dict; its command, if it is a result, is answered."""
        command_id = data.get("command_id")
        flight = self._workflows.in_flight.get(command_id) if type(command_id) is str else None
        longest = flight.timeout if flight is not None else seconds(data.get("timeout_seconds"))
        if longest is None:
            longest = DEFAULT_TIMEOUT
        if handlers <= 1:  # nobody comes after it
            message = Message(self._telemetry, event_type, data, 1, longest)
        else:
            message = self._messages.take(self._telemetry, info, event_type, data, handlers, longest)
        if flight is not None and message.kind == semconv.RESULT_EVENT:
            self._workflows.in_flight.remove(flight.command_id)
        delivery = Delivery(self._telemetry, info, message, data, deferred)
        if OBSERVERS.present and not message.told and not message.excluded:
            message.told = True
            self._telemetry.tell("received", delivery)
        return delivery

    async def handle(self, delivery: Delivery, awaitable: Any) -> Any:
        """Await a handler inside its delivery."""
        self.attach(delivery)
        try:
            result = await awaitable
        except BaseException as exception:
            self.end(delivery, exception)
            raise
        self.end(delivery, None)
        return result

    def attach(self, delivery: Delivery) -> None:
        """A handler's code comes next."""
        try:
            delivery.attach()
        except Exception:
            self._telemetry.guard.caught("process")

    def detach(self, delivery: Delivery) -> None:
        """A handler's code has been left."""
        try:
            delivery.detach()
        except Exception:
            self._telemetry.guard.caught("process")

    def end(self, delivery: Delivery, exception: BaseException | None) -> None:
        """A handler is done; a deferred delivery goes on in its worker's task."""
        try:
            if isinstance(exception, GeneratorExit):
                delivery.forget()
            else:
                delivery.detach()
            if not delivery.deferred or exception is not None:
                delivery.end(exception)
                if exception is not None and delivery.kept:
                    self._workflows.keep_transaction(delivery.message.transaction_id)
        except Exception:
            self._telemetry.guard.caught("process")


def _in_listener(bus: Any) -> bool:
    """Whether this is the listener's own task: its ambient context is that of whoever subscribed first."""
    task = getattr(bus, "_listener_task", None)
    try:
        return task is not None and task is asyncio.current_task()
    except RuntimeError:  # no event loop: a bus that calls its handlers from a thread
        return False
