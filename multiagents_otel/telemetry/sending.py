"""An event on its way out: the ``send`` span, its carrier, and whom it reached."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind

from multiagents_otel import semconv
from multiagents_otel.config import matches
from multiagents_otel.core.scope import FRAME, Entry
from multiagents_otel.core.trace_context import flags_of, get_current, is_valid, span_of, with_span
from multiagents_otel.processing.sampling import is_critical
from multiagents_otel.telemetry.bus import BusInfo
from multiagents_otel.telemetry.content import capture
from multiagents_otel.telemetry.core import Telemetry, suppressed
from multiagents_otel.telemetry.delivery import Delivery
from multiagents_otel.telemetry.event import Event, body_size, seconds
from multiagents_otel.telemetry.execution import Execution
from multiagents_otel.telemetry.failure import UNDELIVERED, Failure, failure_of, type_name
from multiagents_otel.telemetry.observers import OBSERVERS
from multiagents_otel.telemetry.operation import Operation
from multiagents_otel.telemetry.workflow import Step, Workflow
from multiagents_otel.telemetry.workflows import Workflows

_TOLD_BY_WORKER: Final = frozenset({semconv.COMMAND_EVENT, semconv.RESULT_EVENT})
"""Captured content of these is on the ``worker`` span."""
DEFAULT_TIMEOUT: Final = 300.0
"""Seconds, for a command without a timeout of its own."""
_MISSING: Final = object()


class Stage:
    """What the orchestrator is doing: starting a step, requesting compensations, telling a workflow's status."""

    __slots__ = ("recorded", "step", "swallowed", "workflow")

    def __init__(self, workflow: Workflow, step: Step | None = None) -> None:
        self.workflow = workflow
        self.step = step
        self.swallowed: BaseException | None = None
        self.recorded: BaseException | None = None

    def release(self) -> None:
        """Drop what a context that is kept must not keep."""
        self.swallowed = self.recorded = None

    def awaits(self, transaction_id: str, step: object) -> bool:
        """Whether it is the start of such a step, whose command has not been published yet."""
        own = self.step
        return (
            own is not None
            and own.name == step
            and own.command_id is None
            and not own.ended
            and self.workflow.transaction_id == transaction_id
        )

    def takes(self, event: Event) -> bool:
        """Whether an event of the workflow is what the stage is for: its step's command, or a compensation."""
        step = self.step
        if step is None:
            return event.kind == semconv.COMPENSATION_EVENT
        if event.kind != semconv.COMMAND_EVENT or step.command_id is not None:
            return False
        step.command_id = event.id
        return True


class Sending(Operation):
    """One call of ``publish``; its span is ``send``.

    Attributes:
        data: what is published in the place of the caller's event: a copy with the carrier.
    """

    __slots__ = (
        "_before", "_channel", "_compensate", "_entry", "_event", "_excluded", "_flight", "_given", "_info", "_inside",
        "_late", "_stage", "_unsampled", "_workflow", "_workflow_id", "_workflows", "bus", "carrier",
        "cluster", "data", "kept", "receivers", "size",
    )  # fmt: skip

    def __init__(
        self, telemetry: Telemetry, workflows: Workflows, bus: object, info: BusInfo, name: str, data: Mapping[str, Any]
    ) -> None:
        ambient = get_current()
        super().__init__(telemetry, ambient)
        self._workflows = workflows
        self._info = info
        self.bus: object = bus
        self.receivers: int | None = None
        self.cluster = False
        self._channel: object = None
        self.size: int | None = None
        self._compensate: Operation | None = None
        self._flight: str | None = None
        self._given: dict[str, Any] | None = None
        self._before: dict[str, Any] | None = None
        options = telemetry.options
        event = self._event = Event(name, data)
        kind, transaction_id = event.kind, event.transaction_id
        self._excluded = bool(options.excluded_events) and matches(options.excluded_events, name)
        frame = FRAME.get()
        stage: Stage | None = frame.stage
        execution: Execution | None = frame.execution
        workflow_id: str | None = None
        self._workflow: Workflow | None = None
        if stage is not None and stage.workflow.transaction_id == transaction_id:
            self._workflow = stage.workflow
            workflow_id = stage.workflow.workflow_id
            self._stage = stage if stage.takes(event) else None
            stage = self._stage
        else:
            stage = self._stage = None
        if workflow_id is None and execution is not None:
            workflow_id = execution.delivery.message.workflow_id
        self._workflow_id = workflow_id
        if kind == semconv.RESULT_EVENT and execution is not None:
            execution.answered(data)
        # Its transaction is kept by the workflow that the orchestrator publishes for, else by what its caller is in.
        self._inside: Execution | Delivery | None = execution or frame.delivery if self._workflow is None else None
        self.kept = self._unsampled = self._late = False
        current = span_of(ambient)
        parent = current.get_span_context()
        if self._is_kept(data) and not flags_of(parent) & 1 and telemetry.pins:
            self.context = self._kept_context()
            parent = span_of(self.context).get_span_context()
        compensates = stage is not None and kind == semconv.COMPENSATION_EVENT
        spans = telemetry.tracing and (kind != semconv.STATUS_EVENT or options.status_events)
        if spans:
            if suppressed(self.context):
                spans = False
            elif workflow_id is not None:
                # The workflow's sampling decision was made once: what is not sampled costs no span.
                if stage is not None and compensates:  # whoever cancels a workflow is outside its trace
                    spans = stage.workflow.identity.recorded
                else:
                    spans = bool(flags_of(parent) & 1) or not is_valid(parent) or current.is_recording()
                self._unsampled = not spans
                if self._unsampled and not options.detailed_timing and stage is not None and stage.step is not None:
                    stage.step.late_attributes = partial(info.attributes, semconv.SEND, event, workflow_id)
        if stage is not None and compensates:
            parent = self._start_compensate(stage.workflow, spans)
        if spans and not self._excluded:
            self._start_span()
            if self.span is not None:
                parent = self.span.get_span_context()
        if options.capture_content and kind not in _TOLD_BY_WORKER:
            capture(telemetry, self.span, semconv.EVENT_PAYLOAD, data.get("payload", data))
        if options.publish_hook is not None:
            telemetry.call_hook("publish_hook", self.span, name, data)
        carrier: dict[str, Any] = {}
        try:
            telemetry.propagation.inject(carrier, self.context, parent)
        except Exception:
            telemetry.guard.caught("publish")
        carrier[semconv.CARRIER_PUBLISHED] = self.start_ns
        telemetry.delays.note(self.start_ns, self.start)
        if transaction_id is not None:
            carrier[semconv.CARRIER_TRANSACTION] = transaction_id
            if workflow_id is not None:
                carrier[semconv.CARRIER_WORKFLOW] = workflow_id
            if kind != semconv.COMPENSATION_EVENT and (step := event.step) is not None:
                carrier[semconv.CARRIER_STEP] = step
        if self.kept:
            carrier[semconv.CARRIER_KEEP] = True
        if kind == semconv.RESULT_EVENT:
            if execution is not None:
                execution.tell(carrier)
        elif kind == semconv.COMMAND_EVENT and event.id is not None:
            self._start_flight(event.id, data)
        self.carrier = carrier
        if type(data) is dict and semconv.CARRIER_KEY not in data:
            self.data: Any = {**data, semconv.CARRIER_KEY: carrier}
            self._given, self._before = data, self.data.copy()
        else:
            self.data = _with_carrier(data, carrier)
        self._entry: Entry | None
        self._enter(self.context if self.context is not ambient else None)  # else it is current already

    @property
    def event(self) -> Event:
        """What the event says of itself."""
        return self._event

    def _start_span(self) -> None:
        stage = self._stage
        if self._telemetry.options.detailed_timing:
            self._open()
        elif stage is not None and stage.step is not None:  # the step stands for it
            stage.step.attributes = self._info.attributes(semconv.SEND, self._event, self._workflow_id)
        else:
            self._late = True

    def _open(self) -> None:
        name = self._telemetry.span_name(semconv.SEND, self._event.name)
        attributes = self._info.attributes(semconv.SEND, self._event, self._workflow_id)
        self.open(name, SpanKind.PRODUCER, attributes, kept=self.kept)

    # --- a transaction that is kept whatever the sampler said ------------------------------------

    def _is_kept(self, data: Mapping[str, Any]) -> bool:
        workflow, outer = self._workflow, self._inside
        if (workflow is not None and workflow.kept) or (outer is not None and outer.kept):
            self.kept = True
        elif is_critical(data, self.context):
            self._keep_transaction()
        return self.kept

    def _keep_transaction(self) -> None:
        if self._workflow is not None:
            self._workflows.keep(self._workflow)
            self.kept = self._workflow.kept
            return
        if self._inside is not None:
            self._inside.keep()
        self.kept = True

    def _kept_context(self) -> Context:
        """Where a publication hangs whose caller's span is not sampled: below what its transaction was kept with."""
        workflow, outer = self._workflow, self._inside
        if workflow is not None:
            step = self._stage.step if self._stage is not None else None
            identity = step.identity if step is not None and step.identity.kept else workflow.identity
            return with_span(NonRecordingSpan(identity.span_context), self.context)
        if outer is not None:
            return with_span(span_of(outer.within), self.context)
        return self.context

    def keep(self) -> None:
        """It failed: its transaction is kept, and its own spans are started after all, as of their start."""
        self._keep_transaction()
        if not self._unsampled:
            super().keep()
            if self._compensate is not None:
                self._compensate.keep()
        elif self.kept and self._telemetry.pins:
            self._unsampled = False
            self.context = self._kept_context()
            if self._compensate is not None and self._workflow is not None:
                self._start_compensate(self._workflow, spans=True)
            if not self._excluded:
                self._start_span()

    def attach(self) -> None:
        """Make this the publication that is under way, again after a :meth:`detach`."""
        self._enter(self.context)

    def _enter(self, context: Context | None) -> None:
        self._entry = Entry(FRAME.get().with_sending(self), context)

    def _start_compensate(self, workflow: Workflow, spans: bool) -> SpanContext:
        telemetry, event = self._telemetry, self._event
        compensate = self._compensate = Operation(telemetry, workflow.within(self.context))
        compensate.start_ns, compensate.start = self.start_ns, self.start  # a child does not start before its parent
        if spans and workflow.identity.recorded:
            kind = SpanKind.INTERNAL
            attributes = {semconv.TRANSACTION_ID: workflow.transaction_id, semconv.WORKFLOW_ID: workflow.workflow_id}
            if not telemetry.options.detailed_timing:
                attributes = self._info.attributes(semconv.SEND, event, workflow.workflow_id)
                kind = SpanKind.PRODUCER
            attributes[semconv.COMPENSATION_NAME] = event.subject
            if step := (event.step or "").removeprefix("comp."):
                attributes[semconv.STEP_NAME] = step
            known = telemetry.ledger.event(event.name) is not semconv.OTHER
            name = semconv.compensate_span(event.subject if known else semconv.OTHER)
            compensate.open(name, kind, attributes, kept=self.kept)
        self.context = compensate.context
        return span_of(self.context).get_span_context()

    def _start_flight(self, command_id: str, data: Mapping[str, Any]) -> None:
        timeout = seconds(data.get("timeout_seconds"))
        if timeout is None:
            timeout = DEFAULT_TIMEOUT
        self._flight = command_id
        stage = self._stage
        worker = self._telemetry.ledger.worker(self._event.subject)
        if stage is None:
            self._workflows.in_flight.add(command_id, worker, timeout, None, None)
        else:
            self._workflows.in_flight.add(command_id, worker, timeout, stage.workflow, stage.step)

    def continues(self, data: Mapping[str, Any]) -> bool:
        """Whether a publish inside this one is the same one: a subclass that calls ``super().publish``."""
        carrier = data.get(semconv.CARRIER_KEY)
        return carrier is self.carrier or (carrier is not None and carrier == self.carrier)

    def give_back(self) -> None:
        """What the bus changed in the event, an id that it filled in perhaps, its caller finds in their own."""
        given, before, after = self._given, self._before, self.data
        if given is None or before is None or after == before:
            return
        for key in before.keys() - after.keys() - {semconv.CARRIER_KEY}:  # handlers may have taken the carrier out
            given.pop(key, None)
        for key, value in after.items():
            if key != semconv.CARRIER_KEY and (key not in before or before[key] is not value):
                given[key] = value

    def reached(self, receivers: object, channel: object, message: object, *, cluster: bool) -> None:
        """Take note of what the Redis client was given, and what it answered."""
        if type(receivers) is int:
            self.receivers = receivers
            self.cluster = cluster
            self._channel = channel
        if self._telemetry.options.track_payload_size:
            self.size = body_size(message)

    def detach(self) -> None:
        """Give the context back; the first thing after the call, whatever it did."""
        entry, self._entry = self._entry, None
        if entry is not None:
            entry.leave()

    def forget(self) -> None:
        """The coroutine is being closed, in a context that may not be its own."""
        self._entry = None
        self.end(None)
        self.release()

    def release(self) -> None:
        """Drop what is the application's: a connection that was opened inside keeps the context, and this with it."""
        self.bus = self.data = self._given = self._before = None
        self._stage = self._workflow = self._inside = None

    def succeeded(self) -> None:
        """``publish`` returned."""
        event = self._event
        failure: Failure | None = None
        receivers = self.receivers
        if receivers is not None and event.kind in semconv.ADDRESSED_EVENTS and not self.cluster:
            if receivers == 0:
                failure = UNDELIVERED
            if self._excluded:
                pass
            elif receivers == 0:
                self._count_undelivered()
            else:
                self._workflows.receivers.received(self.bus, self._channel, event, receivers)
        if failure is not None and self._flight is not None:
            self._workflows.in_flight.remove(self._flight)
        if self._compensate is not None and self._stage is not None:
            self._stage.workflow.compensations += 1
            self._count_compensation(semconv.UNDELIVERED if failure is not None else semconv.DELIVERED)
        self.end(failure)

    def failed(self, exception: BaseException) -> None:
        """``publish`` raised."""
        if self._flight is not None:
            self._workflows.in_flight.remove(self._flight)
        if isinstance(exception, asyncio.CancelledError):  # a shutdown, a timeout of the caller's: no fault of the bus
            if self._compensate is not None:
                self._count_compensation(semconv.UNDELIVERED)
            self.end(None)
            return
        failure = failure_of(exception)
        if self._stage is not None:
            self._stage.recorded = exception
        ledger = self._telemetry.ledger
        if not self._excluded:
            error = ledger.error(type_name(failure.exception or exception))
            ledger.add(semconv.EVENTS_PUBLISH_ERRORS, (self._event.kind, error))
            ledger.add(semconv.EVENTS, (self._event.kind, semconv.ERROR))
        if self._compensate is not None and self._stage is not None:
            self._count_compensation(semconv.UNDELIVERED)
            self._stage.workflow.failure = failure._replace(exception=None)
        self.end(failure)

    def end(self, failure: Failure | None) -> None:
        """End the spans, tell the step, measure."""
        telemetry, event, stage = self._telemetry, self._event, self._stage
        if failure is not None and telemetry.keeps_errors:
            self.keep()
        late: dict[str, Any] | None = None
        if self.receivers is not None:
            late = {semconv.RECEIVERS: self.receivers}
        if self.size is not None:
            late = late or {}
            late[semconv.MESSAGING_BODY_SIZE] = self.size
        if failure is not None and self._late and self._compensate is None:
            self._open()  # without detailed timing a failed publish that no step can tell of gets its span after all
        self.close(failure, late)
        if failure is not None and self.span is not None:
            # The exception is told once: on `send`, or on what stands for it without detailed timing.
            failure = failure._replace(exception=None)
        if stage is not None:
            if failure is not None and stage.recorded is not None:
                stage.workflow.recorded_exception = stage.recorded
            if stage.step is not None:
                stage.step.receivers = self.receivers
                stage.step.failure = failure
                stage.step.size = self.size
            if self._compensate is not None:
                if late is not None and telemetry.options.detailed_timing:
                    late.pop(semconv.MESSAGING_BODY_SIZE, None)
                self._compensate.close(failure, late)
        if not self._excluded:
            if OBSERVERS.present:
                telemetry.tell("sent", self, failure)
            if self.size is not None:
                telemetry.instruments.record(semconv.EVENT_SIZE, self.size, (event.kind,), self.context)
            if telemetry.options.messaging_metrics:
                self.measure_message(semconv.SEND, self._info, event.name, failure)

    def _count_undelivered(self) -> None:
        ledger, event = self._telemetry.ledger, self._event
        ledger.add(semconv.EVENTS_UNDELIVERED, (event.kind, ledger.worker(event.subject)))
        ledger.add(semconv.EVENTS, (event.kind, semconv.ERROR))

    def _count_compensation(self, status: str) -> None:
        stage = self._stage
        if stage is not None:
            workflow = self._telemetry.ledger.workflow(stage.workflow.workflow_id)
            self._telemetry.ledger.add(semconv.COMPENSATIONS, (workflow, status))


def _with_carrier(data: Mapping[str, Any], carrier: dict[str, Any]) -> Any:
    """A copy of the event with the carrier, the last key: the caller's own is never changed."""
    if type(data) is dict:  # an event that is published again: the old carrier must not stay
        return {
            **{key: value for key, value in data.items() if key != semconv.CARRIER_KEY},
            semconv.CARRIER_KEY: carrier,
        }
    told = data.get(semconv.CARRIER_KEY, _MISSING)
    try:
        changed: Any = copy.copy(data)
        changed[semconv.CARRIER_KEY] = carrier
    except Exception:
        return data  # it can't be copied or changed: it goes without a carrier
    if data.get(semconv.CARRIER_KEY) is carrier:  # the copy shares the caller's storage
        if told is _MISSING:
            del changed[semconv.CARRIER_KEY]
        else:
            changed[semconv.CARRIER_KEY] = told
        return data
    return changed
