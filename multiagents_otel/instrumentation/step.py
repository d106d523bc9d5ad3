"""Steps and compensations: what the orchestrator does inside a call, and what the saga records of it."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any, Final

from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan

from multiagents_otel import semconv
from multiagents_otel.core.scope import FRAME, Entry
from multiagents_otel.core.trace_context import EMPTY, get_current, with_span
from multiagents_otel.instrumentation.arguments import argument
from multiagents_otel.instrumentation.call import Call, definition_of
from multiagents_otel.instrumentation.patching import Patch, PatchSet
from multiagents_otel.instrumentation.swallowed import telling_error
from multiagents_otel.semconv import WorkflowStatus
from multiagents_otel.telemetry.core import Telemetry
from multiagents_otel.telemetry.delivery import Delivery
from multiagents_otel.telemetry.failure import Failure, failure_of
from multiagents_otel.telemetry.json_values import name_of
from multiagents_otel.telemetry.propagation import told_seconds
from multiagents_otel.telemetry.sending import Stage
from multiagents_otel.telemetry.workflow import Step, Workflow, elapsed, from_metadata, utc_ns
from multiagents_otel.telemetry.workflows import Workflows

ORCHESTRATOR_MODULE: Final = "multiagents.orchestrator.orchestrator"
SAGA_MODULE: Final = "multiagents.core.saga_context"


class StepInstrumentation:
    """The patches of Orchestrator's inner methods and of SagaContext."""

    def __init__(self, telemetry: Telemetry, workflows: Workflows, patches: PatchSet) -> None:
        self._telemetry = telemetry
        self._workflows = workflows
        self._patches = patches

    def table(self) -> list[Patch]:
        """The rows for steps."""
        row = functools.partial(Patch, ORCHESTRATOR_MODULE, "Orchestrator")
        return [
            row("_publish_status_event", self._publish_status_event),
            row("_execute_step", self._execute_step),
            row("_trigger_compensations", self._trigger_compensations),
            Patch(ORCHESTRATOR_MODULE, "logger", "error", self._logger_error),
            Patch(SAGA_MODULE, "SagaContext", "record_step_completion", self._record_step_completion),
            Patch(SAGA_MODULE, "SagaContext", "record_step_failure", self._record_step_failure),
        ]

    def _publish_status_event(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """The first that sees a new saga: its identity is in it before the next save, which is before any command."""
        switch, guard = self._patches.switch, self._telemetry.guard

        @functools.wraps(original)
        async def _publish_status_event(orchestrator: Any, *args: Any, **kwargs: Any) -> Any:
            within = None
            if switch.on:
                try:
                    workflow = self._begun(orchestrator, argument(args, kwargs, 0, "context"))
                    if workflow is not None:
                        within = Entry(FRAME.get().with_stage(Stage(workflow)), workflow.within(get_current()))
                except Exception:
                    guard.caught("workflow")
            if within is None:
                return await original(orchestrator, *args, **kwargs)
            with within:
                return await original(orchestrator, *args, **kwargs)

        return _publish_status_event

    def _begun(self, orchestrator: Any, saga: Any) -> Workflow | None:
        call: Call | None = FRAME.get().call
        if call is None or saga is None:
            return None
        if call.starting and call.workflow is None:
            call.saga = saga
            call.workflow = self._workflows.find(saga, adopt=False)  # begun by the call of a base class inside this one
            if call.workflow is None and not self._workflows.has_ended(saga.transaction_id):
                call.workflow = self._workflows.begin(
                    saga, definition_of(orchestrator), call.caller, call.start_ns, call.start
                )
        return call.workflow

    def _execute_step(self, original: Callable[..., Any]) -> Callable[..., Any]:
        switch, guard = self._patches.switch, self._telemetry.guard

        @functools.wraps(original)
        async def _execute_step(orchestrator: Any, *args: Any, **kwargs: Any) -> Any:
            stage: Stage | None = None
            within = None
            if switch.on:
                try:
                    saga, step = argument(args, kwargs, 0, "context"), argument(args, kwargs, 1, "step")
                    if saga is not None and step is not None:
                        stage = self._start_step(orchestrator, saga, step)
                    if stage is not None:
                        within = Entry(FRAME.get().with_stage(stage), _within_step(stage))
                except Exception:
                    guard.caught("step")
            if stage is None or within is None:
                return await original(orchestrator, *args, **kwargs)
            try:
                with within:
                    result = await original(orchestrator, *args, **kwargs)
                self._step_started(stage)
            finally:
                guard.run("step", stage.release)
            return result

        return _execute_step

    def _start_step(self, orchestrator: Any, saga: Any, step: Any) -> Stage | None:
        outer: Stage | None = FRAME.get().stage
        if outer is not None and outer.awaits(saga.transaction_id, name_of(step.name)):
            return None  # a subclass that calls super(): the same step
        self._begun(orchestrator, saga)
        call: Call | None = FRAME.get().call
        if call is not None and call.ended:
            return None
        workflow = self._workflows.find(saga, adopt=call is not None)
        if workflow is None:
            # Without a call into it that was seen, the orchestrator is one of those that can't be seen.
            if call is None or self._workflows.has_ended(saga.transaction_id):
                return None
            # It was started before it could be seen: by an uninstrumented process, or before instrument().
            # Whoever called is not known: the result that is being handled, younger than the workflow, is not it.
            workflow = self._workflows.begin(saga, definition_of(orchestrator), EMPTY, utc_ns(saga.created_at), None)
        if call is not None:
            call.workflow = workflow
        worker = name_of(step.worker_type) or None
        return Stage(workflow, self._workflows.start_step(workflow, name_of(step.name), worker))

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
        async def _trigger_compensations(orchestrator: Any, *args: Any, **kwargs: Any) -> Any:
            within = None
            if switch.on:
                try:
                    workflow = self._compensating(argument(args, kwargs, 0, "context"))
                    if workflow is not None:
                        within = Entry(FRAME.get().with_stage(Stage(workflow)))
                except Exception:
                    guard.caught("workflow")
            if within is None:
                return await original(orchestrator, *args, **kwargs)
            with within:
                return await original(orchestrator, *args, **kwargs)

        return _trigger_compensations

    def _compensating(self, saga: Any) -> Workflow | None:
        call: Call | None = FRAME.get().call
        if call is None or saga is None:
            return None
        if call.ended:
            return from_metadata(saga)  # requested all the same: in its trace, and counted
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
            if switch.on and FRAME.get().call is not None:
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
        call: Call | None = FRAME.get().call
        if call is None or call.ended:
            return None
        workflow = call.workflow = self._workflows.find(saga, adopt=True)
        delivery: Delivery | None = FRAME.get().delivery
        if workflow is not None and delivery is not None and delivery.kept:
            self._workflows.keep(workflow)
        step = workflow.step(step_name, call.command_id) if workflow is not None else None
        return (workflow, step) if workflow is not None and step is not None else None

    def _end_step(self, workflow: Workflow, step: Step, *, failed: bool) -> None:
        frame = FRAME.get()
        call: Call | None = frame.call
        delivery: Delivery | None = frame.delivery
        failure: Failure | None = None
        if failed:
            stage: Stage | None = frame.stage
            if step.failure is not None:
                failure = step.failure  # its command's publish failed
            elif stage is not None and stage.step is step and stage.swallowed is not None:
                failure = failure_of(stage.swallowed)  # something else did, before the command left
                workflow.recorded_exception = stage.swallowed
            elif call is not None and call.failure is not None:
                failure = call.failure
            else:
                failure = Failure(semconv.OTHER)
        if delivery is not None and call is not None and call.command_id is not None:
            queue_time = told_seconds(delivery.message.fields)
            # A command has waited no longer than its step has taken: else the worker's clock is wrong.
            if queue_time is not None and queue_time <= elapsed(step.start_ns, step.start)[0] + 1.0:
                step.queue_time = queue_time
            workflow.skewed = workflow.skewed or delivery.message.skewed
        self._workflows.end_step(workflow, step, failure)

    def _logger_error(self, _original: Any) -> Any:
        """The orchestrator swallows what goes wrong inside it: here it is seen, by the innermost that it is about."""

        def swallowed(exception: BaseException) -> None:
            stage, call = FRAME.get().stage, FRAME.get().call
            if stage is not None and stage.step is not None:
                stage.swallowed = exception
            elif call is not None and (call.workflow is None or call.workflow.recorded_exception is not exception):
                call.swallowed = exception

        logger = sys.modules[ORCHESTRATOR_MODULE].logger
        return telling_error(logger, self._patches.switch, swallowed)


def _within_step(stage: Stage) -> Context:
    assert stage.step is not None  # noqa: S101 - a step was just started
    if stage.step.span is not None:
        return with_span(stage.step.span, get_current())
    return with_span(NonRecordingSpan(stage.step.identity.span_context), get_current())
