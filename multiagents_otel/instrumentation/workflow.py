"""The orchestrator: workflows, how they start, go on with each result, and end."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, MutableMapping
from typing import Any

from multiagents_otel import semconv
from multiagents_otel.core.scope import FRAME, Entry
from multiagents_otel.instrumentation.arguments import argument
from multiagents_otel.instrumentation.call import Call, definition_of
from multiagents_otel.instrumentation.event_bus import EventBusInstrumentation
from multiagents_otel.instrumentation.patching import Patch, PatchSet
from multiagents_otel.instrumentation.step import ORCHESTRATOR_MODULE
from multiagents_otel.processing.redaction import scrub
from multiagents_otel.semconv import WorkflowStatus
from multiagents_otel.telemetry.by_identity import ByIdentity
from multiagents_otel.telemetry.core import Telemetry
from multiagents_otel.telemetry.delivery import Delivery
from multiagents_otel.telemetry.event import text
from multiagents_otel.telemetry.failure import Failure, failure_of
from multiagents_otel.telemetry.json_values import name_of
from multiagents_otel.telemetry.observers import OBSERVERS
from multiagents_otel.telemetry.propagation import told_name
from multiagents_otel.telemetry.workflows import ENDED_STATES, Workflows


class WorkflowInstrumentation:
    """The patches of Orchestrator's own methods."""

    def __init__(
        self, telemetry: Telemetry, workflows: Workflows, buses: EventBusInstrumentation, patches: PatchSet
    ) -> None:
        self._telemetry = telemetry
        self._workflows = workflows
        self._buses = buses
        self._patches = patches
        self._known: ByIdentity[object] = ByIdentity()
        self._unseen: list[weakref.ref[Any]] = []

    def table(self) -> list[Patch]:
        """The rows for calls into an orchestrator."""
        row = functools.partial(Patch, ORCHESTRATOR_MODULE, "Orchestrator")
        return [
            row("__init__", self._init),
            row("execute_workflow", self._execute_workflow),
            row("cancel_workflow", self._cancel_workflow),
            row("_handle_result_event", self._handle_result_event),
            row("_load_context", self._load_context),
        ]

    def adopt(self, orchestrator: Any) -> None:
        """Take note of an orchestrator: its bus is instrumented, its workflow's series start at 0."""
        self._known.set(orchestrator, self)
        self._patches.extend(type(orchestrator))
        bus = orchestrator.event_bus
        self._buses.adopt(bus)
        if getattr(orchestrator, "_running", False) and not isinstance(getattr(bus, "handlers", None), dict):
            # Its bus holds the result handler that was taken before the patch, where nobody can reach it: no step of
            # it would be seen to end, and every workflow of it would be told to have stalled.
            self._unseen.append(weakref.ref(orchestrator))
            self._telemetry.warn_once(
                f"unseen {type(bus).__qualname__}",
                "an orchestrator was started on a %s before it was instrumented: its workflows and steps are not "
                "recorded; call auto_instrument() or instrument() before start()",
                type(bus).__qualname__,
            )
        definition = orchestrator.workflow
        self._workflows.register(
            definition_of(orchestrator),
            {name_of(step.name): name_of(step.worker_type) for step in definition.get_steps()},
        )

    def _init(self, original: Callable[..., Any]) -> Callable[..., Any]:
        switch = self._patches.switch

        @functools.wraps(original)
        def __init__(orchestrator: Any, *args: Any, **kwargs: Any) -> None:
            original(orchestrator, *args, **kwargs)
            if switch.on:
                try:
                    self.adopt(orchestrator)
                except Exception:
                    self._telemetry.guard.caught("workflow")

        return __init__

    def _call(self, orchestrator: Any, result: Any = None, *, starting: bool = False) -> Call | None:
        """What a call into an orchestrator is known by; None if nothing of it is to be recorded."""
        try:
            if self._telemetry.idle:
                return None
            if self._known.get(orchestrator) is None:  # in use before, and could not be found then
                self.adopt(orchestrator)
            if any(ref() is orchestrator for ref in self._unseen):
                return None
            outer: Call | None = FRAME.get().call
            if result is not None and outer is not None and outer.result is result:
                return None  # a subclass that calls super(): the same call
            return Call(orchestrator, result, starting=starting)
        except Exception:
            self._telemetry.guard.caught("workflow")
            return None

    # --- calls into the orchestrator -----------------------------------------------------------

    def _execute_workflow(self, original: Callable[..., Any]) -> Callable[..., Any]:
        switch, guard = self._patches.switch, self._telemetry.guard

        @functools.wraps(original)
        async def execute_workflow(orchestrator: Any, *args: Any, **kwargs: Any) -> Any:
            call = self._call(orchestrator, starting=True) if switch.on else None
            if call is None:
                return await original(orchestrator, *args, **kwargs)
            try:
                with Entry(FRAME.get().with_call(call)):
                    result = await original(orchestrator, *args, **kwargs)
            except Exception as exception:
                try:
                    self._start_failed(orchestrator, call, args, kwargs, exception)
                except Exception:
                    guard.caught("workflow")
                raise
            except BaseException as exception:
                self._start_interrupted(call, exception)
                raise
            else:
                self._settle(call)
            finally:
                guard.run("workflow", call.release)
            return result

        return execute_workflow

    def _start_interrupted(self, call: Call, exception: BaseException) -> None:
        """Cancelled before its first command had left for sure: nobody goes on with it, unless a result comes."""
        try:
            if call.workflow is not None and not isinstance(exception, GeneratorExit):
                failure = failure_of(exception)._replace(exception=None)
                self._workflows.end(call.workflow, WorkflowStatus.STALLED, failure)
        except Exception:
            self._telemetry.guard.caught("workflow")

    def _start_failed(
        self, orchestrator: Any, call: Call, args: tuple[Any, ...], kwargs: dict[str, Any], exception: Exception
    ) -> None:
        workflow = call.workflow
        if workflow is None:
            # The first save failed, before anything of ours saw the saga.
            data = args[1] if len(args) > 1 else kwargs.get("initial_context")
            sagas = reversed(list(orchestrator.active_workflows.values()))
            saga = next((saga for saga in sagas if saga.data is data), None)
            if saga is None or self._workflows.find(saga, adopt=False) is not None:
                return
            if self._workflows.has_ended(saga.transaction_id):
                return
            workflow = self._workflows.begin(saga, definition_of(orchestrator), call.caller, call.start_ns, call.start)
        self._workflows.end(workflow, WorkflowStatus.FAILED, failure_of(exception))

    def _cancel_workflow(self, original: Callable[..., Any]) -> Callable[..., Any]:
        switch = self._patches.switch

        @functools.wraps(original)
        async def cancel_workflow(orchestrator: Any, *args: Any, **kwargs: Any) -> Any:
            call = self._call(orchestrator) if switch.on else None
            if call is None:
                return await original(orchestrator, *args, **kwargs)
            try:
                with Entry(FRAME.get().with_call(call)):
                    result = await original(orchestrator, *args, **kwargs)
            except Exception as exception:
                self._cancelled(call, exception)
                raise
            else:
                if result:
                    self._cancelled(call, None)
            finally:
                self._telemetry.guard.run("workflow", call.release)
            return result

        return cancel_workflow

    def _cancelled(self, call: Call, exception: Exception | None) -> None:
        try:
            if call.saga is None or call.ended:
                return
            workflow = self._workflows.find(call.saga, adopt=True)
            if workflow is None:
                return
            if exception is None:
                self._workflows.end(workflow, WorkflowStatus.CANCELLED)
            else:
                self._workflows.end(workflow, WorkflowStatus.FAILED, failure_of(exception))
        except Exception:
            self._telemetry.guard.caught("workflow")

    def _handle_result_event(self, original: Callable[..., Any]) -> Callable[..., Any]:
        switch, guard = self._patches.switch, self._telemetry.guard

        @functools.wraps(original)
        async def _handle_result_event(orchestrator: Any, *args: Any, **kwargs: Any) -> Any:
            event_data = argument(args, kwargs, 0, "event_data")
            call = self._call(orchestrator, event_data) if switch.on else None
            if call is None:
                return await original(orchestrator, *args, **kwargs)
            try:
                if isinstance(event_data, MutableMapping):
                    event_data.pop(semconv.CARRIER_KEY, None)
                    call.command_id = text(event_data.get("command_id"))
                    if event_data.get("success") is False:
                        call.failure = _failure_of_result(event_data)
            except Exception:
                guard.caught("workflow")
            try:
                with Entry(FRAME.get().with_call(call)):
                    return await original(orchestrator, *args, **kwargs)
            finally:  # also when it was cancelled while it told of the workflow's end
                self._settle(call)
                guard.run("workflow", call.release)

        return _handle_result_event

    def _settle(self, call: Call) -> None:
        """A call returned: see whether its workflow ended."""
        try:
            workflow, exception = call.workflow, call.swallowed
            delivery: Delivery | None = FRAME.get().delivery
            if exception is not None and delivery is not None:
                delivery.swallowed = exception
            if workflow is None or call.ended:
                return
            saga = workflow.saga
            if saga is None:
                return  # stalled within this call: its command reached nobody
            state = getattr(saga.state, "_value_", saga.state)
            if state == "completed":
                self._workflows.end(workflow, WorkflowStatus.COMPLETED)
            elif state == "compensated":
                compensated = workflow.compensations > 0
                self._workflows.end(workflow, WorkflowStatus.COMPENSATED if compensated else WorkflowStatus.FAILED)
            elif state in ("failed", "compensating", "cancelled"):
                failure = failure_of(exception) if exception is not None else None
                if failure is not None and delivery is not None:
                    failure = failure._replace(exception=None)  # `process` tells it
                self._workflows.end(workflow, WorkflowStatus.FAILED, failure)
            elif not workflow.steps and exception is not None:
                # The step's result is recorded, and what should have come next was swallowed.
                self._workflows.end(workflow, WorkflowStatus.STALLED, failure_of(exception)._replace(exception=None))
        except Exception:
            self._telemetry.guard.caught("workflow")

    # --- inside such a call --------------------------------------------------------------------

    def _load_context(self, original: Callable[..., Any]) -> Callable[..., Any]:
        switch, guard = self._patches.switch, self._telemetry.guard

        @functools.wraps(original)
        async def _load_context(orchestrator: Any, *args: Any, **kwargs: Any) -> Any:
            call: Call | None = FRAME.get().call if switch.on else None
            if call is None or call.loading:  # a subclass that calls super(): what it gives back itself is looked at
                return await original(orchestrator, *args, **kwargs)
            call.loading = True
            try:
                saga = await original(orchestrator, *args, **kwargs)
            finally:
                call.loading = False
            try:
                self._loaded(orchestrator, call, saga)
            except Exception:
                guard.caught("workflow")
            return saga

        return _load_context

    def _loaded(self, orchestrator: Any, call: Call, saga: Any) -> None:
        """See of a saga that was loaded whether it has ended, and whether this result is the one it waits for."""
        delivery: Delivery | None = FRAME.get().delivery
        worker = delivery.message.worker if delivery is not None else ""
        if saga is None:
            if call.command_id is not None:
                self._count_stale(worker)
            return
        call.saga = saga
        call.workflow = self._workflows.find(saga, adopt=False)
        stalled = call.workflow is not None and call.workflow.stalled
        state = getattr(saga.state, "_value_", saga.state)
        call.ended = self._workflows.has_ended(saga.transaction_id) or (state in ENDED_STATES and not stalled)
        if call.command_id is None:
            return
        kept = saga.metadata.get(semconv.CARRIER_KEY) if isinstance(saga.metadata, dict) else None
        if isinstance(kept, dict) and kept.get("workflow") != definition_of(orchestrator):
            call.ended = True  # another definition's workflow, whose workers this one shares
            return
        if isinstance(kept, dict):
            result_id = delivery.message.id if delivery is not None else None
            self._workflows.ends.handled(orchestrator, kept.get("owner"), kept["workflow"], worker, result_id)
        if call.ended or not _waits_for(saga, call.command_id):
            self._count_stale(worker)

    def _count_stale(self, worker: str) -> None:
        label = self._telemetry.ledger.worker(worker)
        self._telemetry.ledger.add(semconv.EVENTS_STALE, (label,))
        if OBSERVERS.present and (delivery := FRAME.get().delivery) is not None and not delivery.message.excluded:
            self._telemetry.tell("stale", delivery.message)
        self._telemetry.warn_once(
            f"stale {label}",
            "a result of worker %r is not the one that its workflow waits for: the result is late, or a second process "
            "runs the same worker or the same orchestrator; the framework uses it as the current step's result",
            label,
        )


def _waits_for(saga: Any, command_id: str) -> bool:
    for execution in reversed(saga.execution_history):
        if execution.status == "started":
            return bool(execution.command_id == command_id)
    return False


def _failure_of_result(result: MutableMapping[str, Any]) -> Failure:
    """Why a result says that its step failed: the cause travels in the carrier, the framework tells its own class."""
    delivery: Delivery | None = FRAME.get().delivery
    error = told_name(delivery.message.fields, semconv.CARRIER_ERROR_TYPE) if delivery is not None else None
    details = result.get("error_details")
    if error is None and isinstance(details, dict):
        error = text(details.get("error_type"))
    message = result.get("error_message")
    return Failure(error or semconv.OTHER, scrub(message) if isinstance(message, str) else None)
