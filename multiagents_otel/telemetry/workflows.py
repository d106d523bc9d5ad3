"""Workflows and their steps: identity kept with the saga, one root, whoever sees the end.

A workflow's ids, start and sampling decision are put into ``SagaContext.metadata`` before the framework
saves it. The process that sees a step or a workflow end emits its span with them; a process that takes a
workflow over finds them there. What has ended here does not end again.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from contextlib import suppress
from time import perf_counter_ns, time_ns
from typing import Any, Final

from opentelemetry import trace
from opentelemetry._logs import SeverityNumber
from opentelemetry.context import Context
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.trace import Link, NonRecordingSpan, Span, SpanKind

from multiagents_otel import semconv
from multiagents_otel.config import matches
from multiagents_otel.core.bounded import BoundedMap
from multiagents_otel.core.scope import FRAME
from multiagents_otel.core.trace_context import EMPTY, get_current, span_of, with_span
from multiagents_otel.processing.sampling import in_critical_baggage
from multiagents_otel.semconv import WorkflowStatus
from multiagents_otel.telemetry.background import Background
from multiagents_otel.telemetry.core import Telemetry
from multiagents_otel.telemetry.ends import End, Ends
from multiagents_otel.telemetry.event import Event
from multiagents_otel.telemetry.failure import UNDELIVERED, Failure, cause_of
from multiagents_otel.telemetry.identity import Identity, can_pin, decide
from multiagents_otel.telemetry.in_flight import Flight, InFlight
from multiagents_otel.telemetry.keeping import can_keep, earlier_steps, keep
from multiagents_otel.telemetry.observers import OBSERVERS
from multiagents_otel.telemetry.operation import finish
from multiagents_otel.telemetry.receivers import Receivers
from multiagents_otel.telemetry.stalls import Stalls
from multiagents_otel.telemetry.workflow import Step, Workflow, elapsed, from_metadata, has_duration, to_metadata

_CAPACITY: Final = 50_000
_REMEMBERED: Final = 10_000
_DEFINITIONS: Final = 1_000
ENDED_STATES: Final = frozenset({"completed", "compensated", "cancelled", "failed"})
"""Saga states after which a workflow that is loaded from the store has ended."""


class Workflows:
    """The workflows of this process; every map is bounded."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        self._ledger = telemetry.ledger
        # The identity of one that is dropped is in its saga: it is taken up again when its next result comes.
        self._active: BoundedMap[str, Workflow] = BoundedMap(_CAPACITY)
        self._stalls = Stalls(telemetry, self._remember)
        background = Background(telemetry.guard)
        self.ends = Ends(telemetry, background, self._record)
        self.receivers = Receivers(background, self._duplicated, self._undelivered)
        self._ended: BoundedMap[str, None] = BoundedMap(_REMEMBERED)
        self._workers: dict[str, Mapping[str, str]] = {}
        self.in_flight = InFlight(telemetry.options.stall_grace, self._late)
        gauges = telemetry.instruments.gauges
        gauges[semconv.EVENTS_IN_FLIGHT.name] = self.in_flight.counts
        gauges[semconv.ACTIVE_WORKFLOWS.name] = lambda: self._count(self._active)
        gauges[semconv.WORKFLOWS_STALLED.name] = lambda: self._count(self._stalls.stalled)

    def clear(self) -> None:
        """Let go of everything: after ``uninstrument()`` nothing more is emitted."""
        self.in_flight.clear()
        self.ends.clear()
        self.receivers.clear()
        self._active.clear()
        self._stalls.stalled.clear()

    def register(self, workflow_id: str, workers: Mapping[str, str]) -> None:
        """Take note of a definition's steps and their workers: known label sets start at 0."""
        ledger = self._ledger
        if len(self._workers) < _DEFINITIONS:
            self._workers[workflow_id] = workers
        workflow = ledger.workflow(workflow_id)
        ledger.register(semconv.WORKFLOWS_STARTED, [(workflow,)])
        ledger.register(semconv.WORKFLOWS, [(workflow, status.value) for status in WorkflowStatus])
        ledger.register(semconv.WORKFLOW_STALLS, [(workflow,)])
        ledger.register(semconv.WORKFLOWS_STALLED, [(workflow,)])
        ledger.register(semconv.ACTIVE_WORKFLOWS, [(workflow,)])
        ledger.register(semconv.COMPENSATIONS, [(workflow, semconv.DELIVERED), (workflow, semconv.UNDELIVERED)])
        for name in workers.values():
            worker = ledger.worker(name)
            ledger.register(semconv.EVENTS_UNDELIVERED, [(semconv.COMMAND_EVENT, worker)])
            ledger.register(semconv.COMMANDS_DUPLICATED, [(worker,)])
            ledger.register(semconv.RESULTS_DUPLICATED, [(worker,)])
            ledger.register(semconv.EVENTS_STALE, [(worker,)])
            ledger.register(semconv.EVENTS_IN_FLIGHT, [(worker,)])
        for kind in (semconv.COMMAND_EVENT, semconv.RESULT_EVENT):
            ledger.register(semconv.EVENTS, [(kind, semconv.SUCCESS), (kind, semconv.ERROR)])
            ledger.register(semconv.EVENTS_CLOCK_SKEW, [(kind,)])

    # --- a workflow's start --------------------------------------------------------------------

    def begin(self, saga: Any, workflow_id: str, caller: Context, start_ns: int, start: int | None) -> Workflow:
        """A workflow starts: fix its identity and put it into the saga, whose next save carries it."""
        telemetry = self._telemetry
        workflow = self._identify(saga, workflow_id, caller, start_ns, start)
        self._hold(workflow)
        self.ends.started(workflow)
        if isinstance(saga.metadata, dict) and workflow.span is None:
            saga.metadata[semconv.CARRIER_KEY] = to_metadata(workflow)
        self._ledger.add(semconv.WORKFLOWS_STARTED, (self._ledger.workflow(workflow_id),))
        if OBSERVERS.present:
            telemetry.tell("workflow_started", workflow)
        try:
            telemetry.log(
                semconv.LOG_WORKFLOW_STARTED,
                SeverityNumber.INFO,
                f"workflow {workflow_id} started",
                workflow.within(EMPTY),
                workflow.ids,
            )
        except Exception:
            telemetry.guard.caught("log")
        return workflow

    def _identify(self, saga: Any, workflow_id: str, caller: Context, start_ns: int, start: int | None) -> Workflow:
        telemetry = self._telemetry
        parent = span_of(caller).get_span_context()
        links: tuple[Link, ...] = ()
        parent_context = caller
        if parent.is_valid and telemetry.options.workflow_parent == "link":
            links = (Link(parent),)
            parent_context = with_span(trace.INVALID_SPAN, caller)
        name = semconv.workflow_span(self._ledger.workflow(workflow_id))
        attributes = {semconv.TRANSACTION_ID: saga.transaction_id, semconv.WORKFLOW_ID: workflow_id}
        tracer = telemetry.tracer
        span: Span | None = None
        identity = _UNRECORDED
        if telemetry.tracing:
            try:
                if can_pin(tracer):
                    identity = decide(tracer, name, parent_context, attributes, links)
                else:
                    self._warn_unpinnable()
                    span = tracer.start_span(name, parent_context, SpanKind.INTERNAL, attributes, links, start_ns)
                    decision = Decision.RECORD_AND_SAMPLE if span.is_recording() else Decision.DROP
                    identity = Identity(span.get_span_context(), decision)
            except Exception:
                telemetry.guard.caught("workflow")
        if identity is _UNRECORDED:
            # Nothing will be emitted for it; its children still hang below the caller, if there is one.
            identity = Identity(parent, Decision.DROP)
        elif telemetry.pins and (
            in_critical_baggage(caller) or matches(telemetry.options.critical_workflows, workflow_id)
        ):
            identity = identity.keep()
        workflow = Workflow(saga, workflow_id, identity, start_ns, start)
        workflow.links = links
        workflow.parent = parent if parent.is_valid and not links else None
        workflow.span = span
        return workflow

    def find(self, saga: Any, *, adopt: bool) -> Workflow | None:
        """The workflow of a saga: held here, or (``adopt``) taken over with the identity that the saga brings."""
        transaction_id = saga.transaction_id
        workflow = self._active.get(transaction_id) or self._stalls.stalled.get(transaction_id)
        if workflow is None and adopt and transaction_id not in self._ended:
            workflow = from_metadata(saga)
            if workflow is not None:
                if not can_pin(self._telemetry.tracer):
                    workflow.identity = Identity(workflow.identity.span_context, Decision.DROP)
                self._hold(workflow)
        if workflow is not None:
            workflow.saga = saga
        return workflow

    def has_ended(self, transaction_id: str) -> bool:
        """Whether a workflow ended in this process, as far back as it remembers."""
        return transaction_id in self._ended

    def _hold(self, workflow: Workflow) -> None:
        self._active[workflow.transaction_id] = workflow
        call = FRAME.get().call
        if call is not None:
            with suppress(TypeError):  # no weak references to it
                workflow.orchestrator = weakref.ref(call.orchestrator)

    def _warn_unpinnable(self) -> None:
        self._telemetry.warn_once(
            "unpinnable",
            "the TracerProvider is not the OpenTelemetry SDK's (its tracers have no id_generator and sampler): "
            "workflow and step spans are opened live, and a workflow that another process finishes has no root span",
        )

    # --- a workflow that is kept whatever the sampler said ---------------------------------------

    def keep(self, workflow: Workflow) -> None:
        """From now on all of a workflow that this process holds is sampled; its earlier steps are emitted now."""
        transaction_id = workflow.transaction_id
        if workflow.kept or not self._telemetry.pins or self._active.get(transaction_id) is not workflow:
            return
        if not can_keep(workflow):
            return
        late = not workflow.identity.span_context.trace_flags.sampled
        tracer: Any = self._telemetry.tracer
        keep(workflow, tracer.id_generator.generate_span_id)
        if not late:
            return
        try:
            for step, end_ns in earlier_steps(workflow, self._workers.get(workflow.workflow_id, {})):
                step.kind = self._step_kind
                self._emit_step(workflow, step, None, end_ns)
        except Exception:
            self._telemetry.guard.caught("span")

    def keep_transaction(self, transaction_id: str | None) -> None:
        """Keep the workflow of a transaction, if this process holds it."""
        workflow = self._active.get(transaction_id) if transaction_id is not None else None
        if workflow is not None:
            self.keep(workflow)

    def _failed(self, workflow: Workflow) -> None:
        if self._telemetry.keeps_errors and not workflow.kept:
            try:
                self.keep(workflow)
            except Exception:
                self._telemetry.guard.caught("workflow")

    # --- steps ---------------------------------------------------------------------------------

    def start_step(self, workflow: Workflow, name: str, worker: str | None) -> Step:
        """A step starts; its identity is in the saga before the framework saves it."""
        telemetry = self._telemetry
        start_ns, start = time_ns(), perf_counter_ns()
        identity = workflow.identity
        span: Span | None = None
        if identity.recorded:
            tracer: Any = telemetry.tracer
            try:
                if can_pin(tracer):
                    identity = identity.child(tracer.id_generator.generate_span_id())
                else:
                    within = workflow.within(get_current())
                    attributes = {**workflow.ids, semconv.STEP_NAME: name, semconv.WORKER_NAME: worker or ""}
                    span_name = semconv.step_span(self._ledger.step(name))
                    span = tracer.start_span(span_name, within, self._step_kind, attributes, start_time=start_ns)
                    identity = Identity(span.get_span_context(), identity.decision)
            except Exception:
                telemetry.guard.caught("step")
                identity = Identity(identity.span_context, Decision.DROP)
        step = Step(name, worker, identity, start_ns, start)
        step.span = span
        step.kind = self._step_kind
        workflow.steps.append(step)
        metadata = workflow.saga.metadata
        if isinstance(metadata, dict) and isinstance(kept := metadata.get(semconv.CARRIER_KEY), dict):
            kept["step"] = {
                "name": name,
                "worker": worker,
                "span_id": f"{identity.span_context.span_id:016x}",
                "start": start_ns,
            }
        return step

    @property
    def _step_kind(self) -> SpanKind:
        return SpanKind.INTERNAL if self._telemetry.options.detailed_timing else SpanKind.PRODUCER

    def end_step(self, workflow: Workflow, step: Step, failure: Failure | None) -> None:
        """A step ended: emit its span and record its duration, once."""
        if step.ended:
            return
        step.ended = True
        failure = failure or step.failure
        if failure is not None:
            self._failed(workflow)
        if step in workflow.steps:
            workflow.steps.remove(step)
        if failure is not None and workflow.failure is None:
            workflow.failure = failure._replace(exception=None)
            workflow.failed_step = step.name
        telemetry = self._telemetry
        seconds, end_ns = elapsed(step.start_ns, step.start)
        span: Span | None = None
        if step.identity.recorded:
            try:
                span = self._emit_step(workflow, step, failure, end_ns)
            except Exception:
                telemetry.guard.caught("span")
        if telemetry.instruments.enabled and has_duration(workflow, step.start_ns, step.start):
            context = with_span(span, EMPTY) if span is not None else EMPTY
            key = (self._ledger.workflow(workflow.workflow_id), self._ledger.step(step.name))
            telemetry.instruments.record(semconv.STEP_DURATION, seconds, key, context)
        if OBSERVERS.present:
            telemetry.tell("step_ended", workflow, step, failure, seconds)

    def _emit_step(self, workflow: Workflow, step: Step, failure: Failure | None, end_ns: int) -> Span:
        if not step.attributes and step.late_attributes is not None:
            step.attributes = step.late_attributes()
        attributes: dict[str, Any] = {**workflow.ids, semconv.STEP_NAME: step.name, **step.attributes}
        if step.attributes and step.size is not None:
            attributes[semconv.MESSAGING_BODY_SIZE] = step.size
        if step.worker is not None:
            attributes[semconv.WORKER_NAME] = step.worker
        if step.command_id is not None:
            attributes[semconv.MESSAGING_MESSAGE_ID] = step.command_id
        if step.receivers is not None:
            attributes[semconv.RECEIVERS] = step.receivers
        if step.queue_time is not None:
            attributes[semconv.QUEUE_TIME] = step.queue_time
        span = step.span
        if span is None:
            name = semconv.step_span(self._ledger.step(step.name))
            within = workflow.within(get_current())
            starter = self._telemetry.starter
            span = starter.start(name, within, step.kind, attributes, None, step.start_ns, step.identity)
        else:
            span.set_attributes(attributes)
        self._telemetry.call_hook("step_hook", span, workflow.saga, step.name)
        finish(span, failure, None, end_ns)
        return span

    # --- a workflow's end ----------------------------------------------------------------------

    def end(self, workflow: Workflow, status: WorkflowStatus, failure: Failure | None = None) -> None:
        """A workflow ended: emit the root, count, and remember that it has ended."""
        transaction_id = workflow.transaction_id
        if workflow.stalled:
            self._stalls.recovered(workflow, status)
            return
        if status not in (WorkflowStatus.COMPLETED, WorkflowStatus.CANCELLED):
            self._failed(workflow)
        if self._active.pop(transaction_id, None) is None:
            return
        for step in list(workflow.steps):
            self.end_step(workflow, step, failure if status is not WorkflowStatus.CANCELLED else None)
        seconds, end_ns = elapsed(workflow.start_ns, workflow.start)
        failure = failure or workflow.failure
        if status in (WorkflowStatus.COMPLETED, WorkflowStatus.CANCELLED):
            failure = None
        elif failure is None:
            failure = Failure(semconv.OTHER)
        if status is not WorkflowStatus.STALLED:
            self._remember(transaction_id)
        measured = has_duration(workflow, workflow.start_ns, workflow.start)
        self.ends.settle(End(workflow, status, failure, seconds, end_ns, measured, get_current()))

    def _record(self, end: End) -> None:
        """Record an end that is this process' to record: root, counts, duration."""
        workflow, status, failure = end.workflow, end.status, end.failure
        label = self._ledger.workflow(workflow.workflow_id)
        span: Span | None = None
        if workflow.identity.recorded:
            try:
                span = self._emit_root(end)
            except Exception:
                self._telemetry.guard.caught("span")
        self._ledger.add(semconv.WORKFLOWS, (label, status.value))
        if self._telemetry.instruments.enabled and end.measured:
            context = with_span(span, EMPTY) if span is not None else workflow.within(EMPTY)
            self._telemetry.instruments.record(semconv.WORKFLOW_DURATION, end.seconds, (label, status.value), context)
        if OBSERVERS.present:
            self._telemetry.tell("workflow_ended", workflow, status, failure, end.seconds)
        if status is WorkflowStatus.STALLED:
            self._stalls.tell(workflow, failure)
        else:
            workflow.ended = True

    def _emit_root(self, end: End) -> Span:
        workflow, status, failure = end.workflow, end.status, end.failure
        attributes: dict[str, Any] = {**workflow.ids, semconv.WORKFLOW_STATUS: status.value}
        if failure is not None and workflow.failed_step is not None:
            attributes[semconv.FAILED_STEP] = workflow.failed_step
        span = workflow.span
        if span is None:
            name = semconv.workflow_span(self._ledger.workflow(workflow.workflow_id))
            parent = NonRecordingSpan(workflow.parent) if workflow.parent else trace.INVALID_SPAN
            context = with_span(parent, end.context)
            span = self._telemetry.starter.start(
                name,
                context,
                SpanKind.INTERNAL,
                attributes,
                workflow.links,
                workflow.start_ns,
                workflow.identity,
            )
        else:
            span.set_attributes(attributes)
        self._telemetry.call_hook("workflow_hook", span, workflow.saga, status.value)
        recorded = workflow.recorded_exception
        if failure is not None and recorded is not None and failure.exception is cause_of(recorded):
            failure = failure._replace(exception=None)
        finish(span, failure, None, end.end_ns)
        return span

    def _remember(self, transaction_id: str) -> None:
        self._ended[transaction_id] = None

    # --- workflows that cannot end -------------------------------------------------------------

    def _late(self, flight: Flight) -> None:
        self._stall(flight, Failure(semconv.STALLED, f"no result within {flight.timeout:g} s and the grace after it"))

    def _stall(self, flight: Flight, failure: Failure) -> None:
        workflow, step = flight.workflow, flight.step
        if workflow is None or step is None or step not in workflow.steps:
            return
        try:
            self.end_step(workflow, step, failure)
            self.end(workflow, WorkflowStatus.STALLED, failure)
        except Exception:
            self._telemetry.guard.caught("stall")

    def _undelivered(self, event: Event) -> None:
        """An event that only tools have received: a command that is answered all the same was delivered."""
        flight = None
        if event.kind == semconv.COMMAND_EVENT:
            flight = self.in_flight.remove(event.id) if event.id is not None else None
            if flight is None:
                return
        self._ledger.add(semconv.EVENTS_UNDELIVERED, (event.kind, self._ledger.worker(event.subject)))
        self._ledger.add(semconv.EVENTS, (event.kind, semconv.ERROR))
        if flight is not None:
            self._stall(flight, UNDELIVERED)

    def _duplicated(self, event: Event, subscribers: int) -> None:
        worker = self._ledger.worker(event.worker)
        self._ledger.add(semconv.COMMANDS_DUPLICATED, (worker,))
        self._telemetry.warn_once(
            f"duplicated {worker}",
            "a command for worker %r reached %d receivers: pub/sub delivers to every subscriber, so each of them "
            "runs it and its workflow may go wrong; run one WorkerManager for each worker type",
            worker,
            subscribers,
        )

    def _count(self, workflows: Mapping[str, Workflow]) -> dict[tuple[str, ...], int]:
        counts: dict[tuple[str, ...], int] = {}
        for workflow in list(workflows.values()):
            key = (self._ledger.workflow(workflow.workflow_id),)
            counts[key] = counts.get(key, 0) + 1
        return counts


_UNRECORDED: Final = Identity(trace.INVALID_SPAN_CONTEXT, Decision.DROP)
