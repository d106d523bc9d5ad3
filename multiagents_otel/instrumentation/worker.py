"""Workers: their executions, and the context of the ones that run in a thread."""

from __future__ import annotations

import contextvars
import functools
import sys
from collections.abc import Callable, MutableMapping
from typing import Any, Final

import wrapt

from multiagents_otel import semconv
from multiagents_otel.core.scope import FRAME, Entry
from multiagents_otel.instrumentation.arguments import argument, with_argument
from multiagents_otel.instrumentation.builtins import BuiltinReplacement
from multiagents_otel.instrumentation.event_bus import EventBusInstrumentation
from multiagents_otel.instrumentation.framework_logs import FrameworkLogs
from multiagents_otel.instrumentation.handlers import WORKER_MANAGER_MODULE
from multiagents_otel.instrumentation.patching import Patch, PatchSet
from multiagents_otel.instrumentation.swallowed import telling_error
from multiagents_otel.telemetry.by_identity import ByIdentity
from multiagents_otel.telemetry.core import Telemetry
from multiagents_otel.telemetry.delivery import Delivery
from multiagents_otel.telemetry.execution import Execution, WorkerProxy

DECORATORS_MODULE: Final = "multiagents.worker_sdk.decorators"


class WorkerInstrumentation:
    """The patches of WorkerManager and of the workers that run in an executor."""

    def __init__(
        self,
        telemetry: Telemetry,
        buses: EventBusInstrumentation,
        patches: PatchSet,
        logs: FrameworkLogs,
        builtins: BuiltinReplacement,
    ) -> None:
        self._telemetry = telemetry
        self._buses = buses
        self._patches = patches
        self._logs = logs
        self._builtins = builtins
        self._managers: ByIdentity[object] = ByIdentity()

    def table(self) -> list[Patch]:
        """The rows for workers."""
        row = functools.partial(Patch, WORKER_MANAGER_MODULE)
        return [
            row("WorkerManager", "__init__", lambda original: self._init(self._builtins.manager(original))),
            row("WorkerManager", "register", self._register),
            row("WorkerManager", "_handle_command", self._handle_command),
            row("WorkerManager", "_execute_worker_with_timeout", self._execute),
            row("logger", "error", self._logger_error),
            Patch(DECORATORS_MODULE, "", "asyncio", lambda original: _Asyncio(original, self._patches.switch)),
        ]

    def adopt(self, manager: Any) -> None:
        """Take note of a manager: its bus is instrumented, its workers' series start at 0."""
        self._managers.set(manager, self)
        self._patches.extend(type(manager))
        self._buses.adopt(manager.event_bus)
        for name, worker in manager.workers.items():
            self._known(name)
            self._logs.adopt(worker)

    def _known(self, worker: str) -> None:
        ledger, label = self._telemetry.ledger, self._telemetry.ledger.worker(worker)
        ledger.register(
            semconv.WORKER_EXECUTIONS, [(label, s) for s in (semconv.SUCCESS, semconv.ERROR, semconv.CANCELLED)]
        )
        ledger.register(semconv.WORKER_ERRORS, [(label, ledger.error(semconv.TIMEOUT))])
        ledger.register(semconv.WORKER_ACTIVE, [(label,)])
        ledger.register(semconv.EVENTS_UNDELIVERED, [(semconv.RESULT_EVENT, label)])
        for kind in (semconv.COMMAND_EVENT, semconv.RESULT_EVENT):
            ledger.register(semconv.EVENTS, [(kind, semconv.SUCCESS), (kind, semconv.ERROR)])

    def _init(self, original: Callable[..., Any]) -> Callable[..., Any]:
        switch = self._patches.switch

        @functools.wraps(original)
        def __init__(manager: Any, *args: Any, **kwargs: Any) -> None:
            original(manager, *args, **kwargs)
            if switch.on:
                try:
                    self.adopt(manager)
                except Exception:
                    self._telemetry.guard.caught("event_bus")

        return __init__

    def _register(self, original: Callable[..., Any]) -> Callable[..., Any]:
        switch = self._patches.switch

        @functools.wraps(original)
        def register(manager: Any, *args: Any, **kwargs: Any) -> Any:
            result = original(manager, *args, **kwargs)
            if switch.on:
                try:
                    if (worker := argument(args, kwargs, 0, "worker")) is not None:
                        self._known(worker.get_worker_type())
                        self._logs.adopt(worker)
                except Exception:
                    self._telemetry.guard.caught("worker")
            return result

        return register

    def _handle_command(self, original: Callable[..., Any]) -> Callable[..., Any]:
        switch, telemetry = self._patches.switch, self._telemetry

        @functools.wraps(original)
        async def _handle_command(manager: Any, *args: Any, **kwargs: Any) -> Any:
            if not switch.on:
                return await original(manager, *args, **kwargs)
            try:
                if self._managers.get(manager) is None:  # in use before, and could not be found then
                    self.adopt(manager)
            except Exception:
                telemetry.guard.caught("event_bus")
            delivery: Delivery | None = FRAME.get().delivery
            entry = None
            if delivery is None or delivery.claimed or not delivery.deferred:
                # The bus gave it to a handler that is not wrapped.
                worker, event_data = argument(args, kwargs, 0, "worker"), argument(args, kwargs, 1, "event_data")
                delivery = self._deliver(manager, worker, event_data)
                entry = Entry(FRAME.get().with_delivery(delivery)) if delivery is not None else None
            try:
                result = await original(manager, *args, **kwargs)
            finally:
                if entry is not None:
                    entry.leave()
            if delivery is not None and delivery.swallowed is not None and not delivery.ended:
                try:  # the command could not be read: no task was started
                    delivery.begin()
                    delivery.end(None)
                except Exception:
                    telemetry.guard.caught("process")
            return result

        return _handle_command

    def _deliver(self, manager: Any, worker: Any, event_data: Any) -> Delivery | None:
        try:
            if not isinstance(event_data, MutableMapping):
                return None
            if self._telemetry.idle:
                return None
            event_type = f"command.{worker.get_worker_type()}"
            info = self._buses.buses[manager.event_bus]
            return self._buses.handlers.delivery(info, event_type, event_data, 1, True)
        except Exception:
            self._telemetry.guard.caught("process")
            return None

    def _execute(self, original: Callable[..., Any]) -> Callable[..., Any]:
        switch, telemetry = self._patches.switch, self._telemetry
        own = getattr(original, "__module__", None) != WORKER_MANAGER_MODULE

        @functools.wraps(original)
        async def _execute_worker_with_timeout(manager: Any, *args: Any, **kwargs: Any) -> Any:
            execution = None
            if switch.on:
                try:
                    worker, command = argument(args, kwargs, 0, "worker"), argument(args, kwargs, 1, "command")
                    if worker is not None and command is not None:
                        execution = self._begin(worker, command)
                        if execution is not None:
                            proxy: Any = WorkerProxy(worker, execution, telemetry)
                            if own:  # the framework calls nothing but `process` on it; who knows what others do
                                proxy = WholeWorker(worker, proxy)
                            args, kwargs = with_argument(args, kwargs, 0, "worker", proxy)
                except Exception:
                    telemetry.guard.caught("worker")
            if execution is None:
                return await original(manager, *args, **kwargs)
            try:
                result = await original(manager, *args, **kwargs)
            except BaseException as exception:
                self._end(execution, exception)
                raise
            self._end(execution, None)
            return result

        return _execute_worker_with_timeout

    def _begin(self, worker: Any, command: Any) -> Execution | None:
        delivery: Delivery | None = FRAME.get().delivery
        if delivery is None or delivery.claimed or not delivery.deferred:
            return None
        return Execution(self._telemetry, worker.get_worker_type(), command.timeout_seconds, delivery)

    def _end(self, execution: Execution, exception: BaseException | None) -> None:
        try:
            execution.end(exception)
        except Exception:
            self._telemetry.guard.caught("worker")

    def _logger_error(self, _original: Any) -> Any:
        """``_handle_command`` swallows what goes wrong and logs it: that is where it can be seen."""

        def swallowed(exception: BaseException) -> None:
            delivery: Delivery | None = FRAME.get().delivery
            if delivery is not None and delivery.deferred and not delivery.claimed:
                delivery.swallowed = exception

        logger = sys.modules[WORKER_MANAGER_MODULE].logger
        return telling_error(logger, self._patches.switch, swallowed)


class WholeWorker(wrapt.ObjectProxy):  # type: ignore[type-arg,misc,unused-ignore]
    """Stands for a worker in a manager's own way to execute it: whatever is done with it is done with the worker."""

    def __init__(self, worker: Any, proxy: WorkerProxy) -> None:
        super().__init__(worker)
        self._self_proxy = proxy

    async def process(self, *args: Any, **kwargs: Any) -> Any:
        """The worker's own, inside its span."""
        return await self._self_proxy.process(*args, **kwargs)


class _Asyncio:
    """The ``asyncio`` of the module that runs sync workers: its executor keeps the caller's context.

    ``loop.run_in_executor`` drops context variables, so a sync worker's own spans and logs would be of no trace.
    """

    def __init__(self, asyncio: Any, switch: Any) -> None:
        self._asyncio = asyncio
        self._switch = switch

    def __getattr__(self, name: str) -> Any:
        if name == "_asyncio":  # while it is copied or unpickled
            raise AttributeError(name)
        return getattr(self._asyncio, name)

    def get_event_loop(self) -> Any:
        loop = self._asyncio.get_event_loop()
        return _Loop(loop) if self._switch.on else loop


class _Loop:
    def __init__(self, loop: Any) -> None:
        self._loop = loop

    def __getattr__(self, name: str) -> Any:
        if name == "_loop":  # while it is copied or unpickled
            raise AttributeError(name)
        return getattr(self._loop, name)

    def run_in_executor(self, executor: Any, function: Callable[..., Any], *args: Any) -> Any:
        return self._loop.run_in_executor(executor, contextvars.copy_context().run, function, *args)
