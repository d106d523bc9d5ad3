"""The orchestrator: workflows, their steps and compensations, and how each of them ends."""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Callable, MutableMapping
from contextvars import ContextVar
from typing import Any, Final

from opentelemetry import context as context_api
from opentelemetry.context import Context, get_current
from opentelemetry.trace import NonRecordingSpan, set_span_in_context

from multiagents_otel import semconv
from multiagents_otel.instrumentation.event_bus import EventBusInstrumentation
from multiagents_otel.instrumentation.patching import Patch, PatchSet
from multiagents_otel.instrumentation.swallowed import telling_error
from multiagents_otel.processing.redaction import scrub
from multiagents_otel.semconv import WorkflowStatus
from multiagents_otel.telemetry.core import Telemetry
from multiagents_otel.telemetry.delivery import DELIVERY
from multiagents_otel.telemetry.event import text
from multiagents_otel.telemetry.failure import Failure, failure_of
from multiagents_otel.telemetry.propagation import told_name, told_seconds
from multiagents_otel.telemetry.sending import STAGE, Stage
from multiagents_otel.telemetry.workflows import ENDED_STATES, Step, Workflow, Workflows, created_ns

ORCHESTRATOR_MODULE: Final = "multiagents.orchestrator.orchestrator"
SAGA_MODULE: Final = "multiagents.core.saga_context"


class Call:
    """One call into an orchestrator, from outside or with a result.

    Attributes:
        saga: the saga that it is about, once that is known.
        workflow: the workflow of the saga, if it has not ended.
        failure: of the step that failed in it.
        ended: the saga had already ended when it was loaded.
    """

    __slots__ = (
        "caller",
        "command_id",
        "ended",
        "failure",
        "saga",
        "start",
        "start_ns",
        "starting",
        "swallowed",
        "workflow",
    )

    def __init__(self, *, starting: bool = False, command_id: str | None = None) -> None:
        self.starting = starting
        self.start_ns = time.time_ns()
        self.start = time.perf_counter_ns()
        self.caller: Context = get_current()
        self.command_id = command_id
        self.saga: Any = None
        self.workflow: Workflow | None = None
        self.failure: Failure | None = None
        self.swallowed: BaseException | None = None
        self.ended = False


CALL: ContextVar[Call | None] = ContextVar("multiagents_otel_call", default=None)


class WorkflowInstrumentation:
    """The patches of Orchestrator and SagaContext."""

    def __init__(
        self, telemetry: Telemetry, workflows: Workflows, buses: EventBusInstrumentation, patches: PatchSet
    ) -> None:
        self._telemetry = telemetry
        self._workflows = workflows
        self._buses = buses
        self._patches = patches

    def table(self) -> list[Patch]:
        """The rows for workflows."""
        row = functools.partial(Patch, ORCHESTRATOR_MODULE, "Orchestrator")
        return [
            row("__init__", self._init),
            row("execute_workflow", self._execute_workflow),
            row("cancel_workflow", self._cancel_workflow),
            row("_publish_status_event", self._publish_status_event),
            row("_execute_step", self._execute_step),
            row("_handle_result_event", self._handle_result_event),
            row("_trigger_compensations", self._trigger_compensations),
            row("_load_context", self._load_context),
            Patch(ORCHESTRATOR_MODULE, "logger", "error", self._logger_error),
            Patch(SAGA_MODULE, "SagaContext", "record_step_completion", self._record_step_completion),
            Patch(SAGA_MODULE, "SagaContext", "record_step_failure", self._record_step_failure),
        ]

    def adopt(self, orchestrator: Any) -> None:
        """Take note of an orchestrator: its bus is instrumented, its workflow's series start at 0."""
        self._buses.adopt(orchestrator.event_bus)
        definition = orchestrator.workflow
        self._workflows.register(str(definition.get_id()), [str(step.worker_type) for step in definition.get_steps()])

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

    # --- calls into the orchestrator -----------------------------------------------------------

    def _execute_workflow(self, original: Callable[..., Any]) -> Callable[..., Any]:
        switch, guard = self._patches.switch, self._telemetry.guard

        @functools.wraps(original)
        async def execute_workflow(orchestrator: Any, *args: Any, **kwargs: Any) -> Any:
            if not switch.on or self._telemetry.passive:
                return await original(orchestrator, *args, **kwargs)
            call = Call(starting=True)
            token = CALL.set(call)
            try:
                result = await original(orchestrator, *args, **kwargs)
            except BaseException as exception:
                _reset(token, exception)
                try:
                    self._start_failed(orchestrator, call, args, kwargs, exception)
                except Exception:
                    guard.caught("workflow")
                raise
            CALL.reset(token)
            self._settle(call)
            return result

        return execute_workflow

    def _start_failed(
        self, orchestrator: Any, call: Call, args: tuple[Any, ...], kwargs: dict[str, Any], exception: BaseException
    ) -> None:
        if not isinstance(exception, Exception):
            return  # the caller was cancelled; the workflow may go on
        workflow = call.workflow
        if workflow is None:
            # The first save failed, before anything of ours saw the saga.
            data = args[1] if len(args) > 1 else kwargs.get("initial_context")
            sagas = reversed(list(orchestrator.active_workflows.values()))
            saga = next((saga for saga in sagas if saga.data is data), None)
            if saga is None or self._workflows.find(saga, adopt=False) is not None:
                return
            workflow = self._workflows.begin(
                saga, self._definition(orchestrator), call.caller, call.start_ns, call.start
            )
        self._workflows.end(workflow, WorkflowStatus.FAILED, failure_of(exception))

    def _cancel_workflow(self, original: Callable[..., Any]) -> Callable[..., Any]:
        switch = self._patches.switch

        @functools.wraps(original)
        async def cancel_workflow(orchestrator: Any, *args: Any, **kwargs: Any) -> Any:
            if not switch.on or self._telemetry.passive:
                return await original(orchestrator, *args, **kwargs)
            call = Call()
            token = CALL.set(call)
            try:
                result = await original(orchestrator, *args, **kwargs)
            except BaseException as exception:
                _reset(token, exception)
                self._cancelled(call, exception)
                raise
            CALL.reset(token)
            if result:
                self._cancelled(call, None)
            return result

        return cancel_workflow

    def _cancelled(self, call: Call, exception: BaseException | None) -> None:
        try:
            if call.saga is None or call.ended or (exception is not None and not isinstance(exception, Exception)):
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
        async def _handle_result_event(orchestrator: Any, event_data: Any) -> Any:
            if not switch.on or self._telemetry.passive:
                return await original(orchestrator, event_data)
            call = Call()
            try:
                if isinstance(event_data, MutableMapping):
                    event_data.pop(semconv.CARRIER_KEY, None)
                    call.command_id = text(event_data.get("command_id"))
                    if event_data.get("success") is False:
                        call.failure = _failure_of_result(event_data)
            except Exception:
                guard.caught("workflow")
            token = CALL.set(call)
            try:
                result = await original(orchestrator, event_data)
            except BaseException as exception:
                _reset(token, exception)
                raise
            CALL.reset(token)
            self._settle(call)
            return result

        return _handle_result_event

    def _settle(self, call: Call) -> None:
        """A call returned: see whether its workflow ended."""
        try:
            workflow, exception = call.workflow, call.swallowed
            delivery = DELIVERY.get()
            if exception is not None and delivery is not None:
                delivery.swallowed = exception
            if workflow is None or call.ended:
                return
            saga = workflow.saga
            state = getattr(saga.state, "value", saga.state)
            if state == "completed":
                self._workflows.end(workflow, WorkflowStatus.COMPLETED)
            elif state == "compensated":
                compensated = workflow.compensations > 0
                self._workflows.end(workflow, WorkflowStatus.COMPENSATED if compensated else WorkflowStatus.FAILED)
            elif state in ("failed", "compensating", "cancelled"):
                failure = failure_of(exception) if exception is not None else None
                self._workflows.end(workflow, WorkflowStatus.FAILED, failure)
            elif workflow.step is None and exception is not None:
                # The step's result is recorded, and what should have come next was swallowed.
                self._workflows.end(workflow, WorkflowStatus.STALLED, failure_of(exception)._replace(exception=None))
        except Exception:
            self._telemetry.guard.caught("workflow")

    # --- inside such a call --------------------------------------------------------------------

    def _load_context(self, original: Callable[..., Any]) -> Callable[..., Any]:
        switch, guard = self._patches.switch, self._telemetry.guard

        @functools.wraps(original)
        async def _load_context(orchestrator: Any, *args: Any, **kwargs: Any) -> Any:
            saga = await original(orchestrator, *args, **kwargs)
            if switch.on and (call := CALL.get()) is not None:
                try:
                    self._loaded(orchestrator, call, saga)
                except Exception:
                    guard.caught("workflow")
            return saga

        return _load_context

    def _loaded(self, orchestrator: Any, call: Call, saga: Any) -> None:
        """See of a saga that was loaded whether it has ended, and whether this result is the one it waits for."""
        delivery = DELIVERY.get()
        worker = delivery.message.worker if delivery is not None else ""
        if saga is None:
            if call.command_id is not None:
                self._count_stale(worker)
            return
        call.saga = saga
        call.workflow = self._workflows.find(saga, adopt=False)
        stalled = call.workflow is not None and call.workflow.stalled
        state = getattr(saga.state, "value", saga.state)
        call.ended = self._workflows.has_ended(saga.transaction_id) or (state in ENDED_STATES and not stalled)
        if call.command_id is None:
            return
        kept = saga.metadata.get(semconv.CARRIER_KEY) if isinstance(saga.metadata, dict) else None
        if isinstance(kept, dict) and kept.get("workflow") != self._definition(orchestrator):
            call.ended = True  # another definition's workflow, whose workers this one shares
            return
        if call.ended or not _waits_for(saga, call.command_id):
            self._count_stale(worker)

    def _count_stale(self, worker: str) -> None:
        label = self._telemetry.ledger.worker(worker)
        self._telemetry.ledger.add(semconv.EVENTS_STALE, (label,))
        self._telemetry.warn_once(
            f"stale {label}",
            "a result of worker %r is not the one that its workflow waits for: it is late, or a replica of the worker "
            "or of the orchestrator runs beside this one; the framework takes it for the current step's all the same",
            label,
        )

    def _publish_status_event(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """The first that sees a new saga: its identity is in it before the next save, which is before any command."""
        switch, guard = self._patches.switch, self._telemetry.guard

        @functools.wraps(original)
        async def _publish_status_event(orchestrator: Any, context: Any, message: Any) -> Any:
            within = None
            if switch.on and not self._telemetry.passive:
                try:
                    workflow = self._begun(orchestrator, context)
                    if workflow is not None:
                        within = context_api.attach(workflow.within(get_current()))
                except Exception:
                    guard.caught("workflow")
            if within is None:
                return await original(orchestrator, context, message)
            try:
                result = await original(orchestrator, context, message)
            except GeneratorExit:
                raise
            except BaseException:
                context_api.detach(within)
                raise
            context_api.detach(within)
            return result

        return _publish_status_event

    def _begun(self, orchestrator: Any, saga: Any) -> Workflow | None:
        call = CALL.get()
        if call is None:
            return None
        if call.starting and call.workflow is None:
            call.saga = saga
            call.workflow = self._workflows.begin(
                saga, self._definition(orchestrator), call.caller, call.start_ns, call.start
            )
        return call.workflow

    def _execute_step(self, original: Callable[..., Any]) -> Callable[..., Any]:
        switch, guard = self._patches.switch, self._telemetry.guard

        @functools.wraps(original)
        async def _execute_step(orchestrator: Any, context: Any, step: Any) -> Any:
            stage: Stage | None = None
            if switch.on and not self._telemetry.passive:
                try:
                    stage = self._start_step(orchestrator, context, step)
                except Exception:
                    guard.caught("step")
            if stage is None:
                return await original(orchestrator, context, step)
            within = context_api.attach(_within_step(stage))
            token = STAGE.set(stage)
            try:
                result = await original(orchestrator, context, step)
            except GeneratorExit:
                raise
            except BaseException:
                STAGE.reset(token)
                context_api.detach(within)
                raise
            STAGE.reset(token)
            context_api.detach(within)
            self._step_started(stage)
            return result

        return _execute_step

    def _start_step(self, orchestrator: Any, saga: Any, step: Any) -> Stage | None:
        self._begun(orchestrator, saga)
        call = CALL.get()
        if call is not None and call.ended:
            return None
        workflow = self._workflows.find(saga, adopt=True)
        if workflow is None:
            if self._workflows.has_ended(saga.transaction_id):
                return None
            # It was started before it could be seen: by an uninstrumented process, or before instrument().
            workflow = self._workflows.begin(
                saga, self._definition(orchestrator), get_current(), created_ns(saga), None
            )
        if call is not None:
            call.workflow = workflow
        return Stage(workflow, self._workflows.start_step(workflow, str(step.name), text(step.worker_type)))

    def _step_started(self, stage: Stage) -> None:
        try:
            workflow, step = stage.workflow, stage.step
            if step is None or step.failure is None or step.ended or stage.recorded is not None:
                return
            self._workflows.end_step(workflow, step, step.failure)  # published, and to nobody
            self._workflows.end(workflow, WorkflowStatus.STALLED, step.failure)
        except Exception:
            self._telemetry.guard.caught("step")

    def _trigger_compensations(self, original: Callable[..., Any]) -> Callable[..., Any]:
        switch, guard = self._patches.switch, self._telemetry.guard

        @functools.wraps(original)
        async def _trigger_compensations(orchestrator: Any, context: Any) -> Any:
            workflow = None
            if switch.on and not self._telemetry.passive:
                try:
                    workflow = self._compensating(context)
                except Exception:
                    guard.caught("workflow")
            if workflow is None:
                return await original(orchestrator, context)
            token = STAGE.set(Stage(workflow))
            try:
                return await original(orchestrator, context)
            finally:
                STAGE.reset(token)

        return _trigger_compensations

    def _compensating(self, saga: Any) -> Workflow | None:
        call = CALL.get()
        if call is None or call.ended:
            return None
        workflow = call.workflow = self._workflows.find(saga, adopt=True)
        return workflow

    # --- the saga ------------------------------------------------------------------------------

    def _record_step_completion(self, original: Callable[..., Any]) -> Callable[..., Any]:
        return self._recorder(original, failed=False)

    def _record_step_failure(self, original: Callable[..., Any]) -> Callable[..., Any]:
        return self._recorder(original, failed=True)

    def _recorder(self, original: Callable[..., Any], *, failed: bool) -> Callable[..., Any]:
        switch, guard = self._patches.switch, self._telemetry.guard

        @functools.wraps(original)
        def record(saga: Any, step_name: Any, *args: Any, **kwargs: Any) -> Any:
            step = None
            if switch.on and CALL.get() is not None:
                try:
                    step = self._step_of(saga, step_name)  # before the saga forgets which command it waits for
                except Exception:
                    guard.caught("step")
            result = original(saga, step_name, *args, **kwargs)
            if step is not None:
                try:
                    self._end_step(step[0], step[1], failed=failed)
                except Exception:
                    guard.caught("step")
            return result

        return record

    def _step_of(self, saga: Any, step_name: object) -> tuple[Workflow, Step] | None:
        call = CALL.get()
        if call is None or call.ended:
            return None
        workflow = call.workflow = self._workflows.find(saga, adopt=True)
        if workflow is None or workflow.step is None or workflow.step.name != step_name:
            return None
        return workflow, workflow.step

    def _end_step(self, workflow: Workflow, step: Step, *, failed: bool) -> None:
        call, delivery = CALL.get(), DELIVERY.get()
        failure: Failure | None = None
        if failed:
            stage = STAGE.get()
            if step.failure is not None:
                failure = step.failure  # its command's publish failed
            elif stage is not None and stage.step is step and stage.swallowed is not None:
                failure = failure_of(stage.swallowed)  # something else did, before the command left
                workflow.recorded_exception = True
            elif call is not None and call.failure is not None:
                failure = call.failure
            else:
                failure = Failure(semconv.OTHER)
        if delivery is not None and call is not None and call.command_id is not None:
            step.queue_time = told_seconds(delivery.message.fields)
        self._workflows.end_step(workflow, step, failure)

    def _logger_error(self, _original: Any) -> Any:
        """The orchestrator swallows what goes wrong inside it: here it is seen, by the innermost that it is about."""

        def swallowed(exception: BaseException) -> None:
            stage, call = STAGE.get(), CALL.get()
            if stage is not None and stage.step is not None:
                stage.swallowed = exception
            elif call is not None:
                recorded = stage is not None and stage.recorded is exception
                if not recorded and not (call.workflow is not None and call.workflow.recorded_exception):
                    call.swallowed = exception

        logger = sys.modules[ORCHESTRATOR_MODULE].logger
        return telling_error(logger, self._patches.switch, swallowed)

    @staticmethod
    def _definition(orchestrator: Any) -> str:
        return str(orchestrator.workflow.get_id())


def _waits_for(saga: Any, command_id: str) -> bool:
    for execution in reversed(saga.execution_history):
        if execution.status == "started":
            return bool(execution.command_id == command_id)
    return False


def _within_step(stage: Stage) -> Context:
    assert stage.step is not None  # noqa: S101 - a step was just started
    if stage.step.span is not None:
        return set_span_in_context(stage.step.span)
    return set_span_in_context(NonRecordingSpan(stage.step.identity.span_context))


def _reset(token: Any, exception: BaseException) -> None:
    if not isinstance(exception, GeneratorExit):  # closed in a context that may not be its own
        CALL.reset(token)


def _failure_of_result(result: MutableMapping[str, Any]) -> Failure:
    """Why a result says that its step failed: the cause travels in the carrier, the framework tells its own class."""
    delivery = DELIVERY.get()
    error = told_name(delivery.message.fields, semconv.CARRIER_ERROR_TYPE) if delivery is not None else None
    details = result.get("error_details")
    if error is None and isinstance(details, dict):
        error = text(details.get("error_type"))
    message = result.get("error_message")
    return Failure(error or semconv.OTHER, scrub(message) if isinstance(message, str) else None)
