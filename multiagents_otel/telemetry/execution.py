"""A worker at work on a command: the ``worker`` span, inside the command's ``process`` span."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from time import perf_counter_ns, time_ns
from typing import Any

from opentelemetry.context import Context
from opentelemetry.trace import SpanKind

from multiagents_otel import semconv
from multiagents_otel.config import matches
from multiagents_otel.core.scope import FRAME, Entry
from multiagents_otel.processing.redaction import scrub
from multiagents_otel.semconv import Outcome
from multiagents_otel.telemetry.content import capture
from multiagents_otel.telemetry.core import Telemetry
from multiagents_otel.telemetry.delivery import Delivery
from multiagents_otel.telemetry.event import seconds, text
from multiagents_otel.telemetry.failure import Failure, failure_of
from multiagents_otel.telemetry.observers import OBSERVERS
from multiagents_otel.telemetry.operation import Operation, finish


class Execution(Operation):
    """One call of ``WorkerManager._execute_worker_with_timeout``.

    Attributes:
        delivery: the command, whose ``process`` span begins and ends with the execution.
        label: the worker's name as metrics have it, bounded.
    """

    __slots__ = (
        "_called",
        "_cancelled_ns",
        "_elapsed",
        "_entry",
        "_excluded",
        "_failure",
        "_outcome",
        "_queue_time",
        "_running",
        "_timeout",
        "_worker",
        "delivery",
        "label",
    )  # fmt: skip

    def __init__(self, telemetry: Telemetry, worker: str, timeout: Any, delivery: Delivery) -> None:
        delivery.claimed = True
        delivery.begin()
        super().__init__(telemetry, delivery.context)
        self._worker = worker
        self.label = telemetry.ledger.worker(worker)
        self._timeout = seconds(timeout)
        globs = telemetry.options.excluded_workers
        self._excluded = bool(globs) and matches(globs, worker)
        self._outcome: Outcome | None = None
        self._failure: Failure | None = None
        self._called = False
        self._cancelled_ns: int | None = None
        self._elapsed = 0.0
        self._running = False
        self.delivery = delivery
        self._queue_time = delivery.message.delay
        if self._queue_time is not None and not delivery.message.excluded:
            telemetry.instruments.record(semconv.EVENT_QUEUE_TIME, self._queue_time, (self.label,), delivery.context)
        frame = FRAME.get().in_handler(delivery, self)
        self._entry: Entry | None = Entry(frame, delivery.context)

    @property
    def worker(self) -> str:
        """The worker's name."""
        return self._worker

    @property
    def timeout(self) -> float | None:
        """Seconds after which the framework cancels the worker; None if it says nothing that could be that."""
        return self._timeout

    @property
    def excluded(self) -> bool:
        """Whether ``excluded_workers`` leaves it out of spans and worker metrics."""
        return self._excluded

    # --- the worker ----------------------------------------------------------------------------

    def start_worker(self, payload: Any = None) -> bool:
        """``worker.process`` is about to be called with a payload: its span becomes the current one.

        A manager of the user's may call it again: each attempt is an execution of its own, the last one's outcome
        is the command's. False for one beside another that is still under way: it is not recorded.
        """
        if self._running:
            return False
        self._running = True
        if self._cancelled_ns is not None:
            self._timed_out()
        if self._outcome is not None:
            self._outcome = self._failure = self._cancelled_ns = self.span = self._dropped = None
            self.ended, self.context = False, self.delivery.context
        self.start_ns, self.start = time_ns(), perf_counter_ns()
        self._called = True
        delivery = self.delivery
        if delivery.recorded and not self._excluded:
            self._open()
            if self._telemetry.options.capture_content:
                capture(self._telemetry, self.span, semconv.EVENT_PAYLOAD, payload)
        if self.context is not delivery.context:  # without a span of its own it is current already
            self.attach()
        if not self._excluded:
            self._telemetry.executing[self] = (self.label, self.delivery.message.id)
        if OBSERVERS.present:
            self._telemetry.tell("execution_started", self)
        return True

    def _open(self) -> None:
        delivery, kind = self.delivery, SpanKind.INTERNAL
        if self._telemetry.options.detailed_timing:
            attributes: dict[str, Any] = {}
            message = delivery.message
            if message.transaction_id is not None:
                attributes[semconv.TRANSACTION_ID] = message.transaction_id
            if message.workflow_id is not None:
                attributes[semconv.WORKFLOW_ID] = message.workflow_id
        else:
            attributes = delivery.attributes()
            kind = SpanKind.CONSUMER
        attributes[semconv.WORKER_NAME] = self._worker
        if (step := delivery.step) is not None:
            attributes[semconv.STEP_NAME] = step
        if self._timeout is not None:
            attributes[semconv.WORKER_TIMEOUT] = self._timeout
        self.open(semconv.worker_span(self.label), kind, attributes, kept=delivery.kept)

    @property
    def kept(self) -> bool:
        """Whether all that follows of the transaction is sampled."""
        return self.delivery.kept

    @property
    def within(self) -> Context:
        """The context inside it as it is now; what is attached is the one that it began with."""
        at_work = self._called and self._outcome is None and self._cancelled_ns is None
        return self.context if at_work else self.delivery.context

    def keep(self) -> None:
        """All that follows of the transaction is sampled; ``process`` and ``worker`` are started after all."""
        delivery, was_recorded = self.delivery, self.delivery.recorded
        delivery.keep()
        if was_recorded or not delivery.recorded:
            if self.span is None:
                self.context = delivery.context
            super().keep()
            return
        self.context = delivery.context
        if self._called and not self._excluded:
            self._open()
            if self.span is not None and self.ended and self._outcome is not None:
                end_ns = self.start_ns + int(self._elapsed * 1e9)
                finish(self.span, None, {semconv.WORKER_OUTCOME: self._outcome.value}, end_ns)

    def worker_ended(self, exception: BaseException | None, result: Any = None) -> None:
        """``worker.process`` returned a result or raised."""
        self._running = False
        if isinstance(exception, GeneratorExit):
            self.forget()
        else:
            self.detach()
        self._elapsed = self.elapsed
        if exception is None:
            if self._telemetry.options.capture_content and self._outcome is None:
                capture(self._telemetry, self.span, semconv.EVENT_RESULT, result)
            self._settle(Outcome.SUCCESS, None)
        elif isinstance(exception, (asyncio.CancelledError, GeneratorExit)):
            # The framework's timeout, or a shutdown: what follows will tell.
            self._cancelled_ns = self.end_ns
        else:
            self._settle(Outcome.ERROR, failure_of(exception))

    def _settle(self, outcome: Outcome, failure: Failure | None) -> None:
        if self._outcome is not None:
            return
        self._outcome = outcome
        self._failure = failure._replace(exception=None) if failure is not None else None
        if failure is not None and self._telemetry.keeps_errors:
            self.keep()
        telemetry, label = self._telemetry, self.label
        telemetry.executing.pop(self, None)
        told = outcome.value
        self.close(failure, {semconv.WORKER_OUTCOME: told}, self._cancelled_ns)
        if not self._excluded:
            ledger = telemetry.ledger
            status = semconv.ERROR if outcome is Outcome.TIMEOUT else told
            ledger.add(semconv.WORKER_EXECUTIONS, (label, status))
            if failure is not None:
                ledger.add(semconv.WORKER_ERRORS, (label, ledger.error(failure.error_type)))
            telemetry.instruments.record(semconv.WORKER_DURATION, self._elapsed, (label,), self.context)
        if OBSERVERS.present:
            telemetry.tell("execution_ended", self, outcome, failure, self._elapsed)

    # --- the result ----------------------------------------------------------------------------

    def answered(self, result: Mapping[str, Any]) -> None:
        """The result is about to be published: now it is known whether the worker was cancelled for its timeout."""
        if self._outcome is None and (self._cancelled_ns is not None or _tells_timeout(result)):
            self._timed_out(str(result.get("error_message") or ""))

    def tell(self, carrier: dict[str, Any]) -> None:
        """Put into a result's carrier what the event itself does not tell."""
        if self._failure is not None and (error_type := text(self._failure.error_type)) is not None:
            carrier[semconv.CARRIER_ERROR_TYPE] = error_type
        if self._queue_time is not None:
            carrier[semconv.CARRIER_QUEUE_TIME] = self._queue_time

    def _timed_out(self, message: str = "") -> None:
        timeout = f"{self._timeout:g}" if self._timeout is not None else "?"
        self._settle(Outcome.TIMEOUT, Failure(semconv.TIMEOUT, scrub(message) or f"Worker timeout after {timeout}s"))

    def end(self, exception: BaseException | None) -> None:
        """The execution is over, its result published or lost."""
        delivery = self.delivery
        message = delivery.message
        cancelled = isinstance(exception, (asyncio.CancelledError, GeneratorExit))
        entry, self._entry = self._entry, None
        if entry is not None and not isinstance(exception, GeneratorExit):
            entry.leave()
        if cancelled:
            self._settle(Outcome.CANCELLED, None)
        elif self._cancelled_ns is not None:
            self._timed_out()
        outcome, failure = self._outcome, self._failure
        if outcome is Outcome.ERROR or outcome is Outcome.TIMEOUT:
            message.outcome = semconv.ERROR
        elif outcome is not Outcome.SUCCESS:
            message.outcome = None  # neither a success nor an error
        if failure is None and exception is not None and not cancelled:
            failure = failure_of(exception)  # the framework's own code or a monitor raised
            message.outcome = semconv.ERROR
        delivery.finish(failure)


def _tells_timeout(result: Mapping[str, Any]) -> bool:
    # A timeout of 0 cancels a worker before it is called.
    details = result.get("error_details")
    return type(details) is dict and details.get("error_type") == semconv.TIMEOUT


class WorkerProxy:
    """Stands for a worker in one execution: all that the framework calls on it is ``process``."""

    __slots__ = ("_execution", "_guard", "_worker")

    def __init__(self, worker: Any, execution: Execution, telemetry: Telemetry) -> None:
        self._worker = worker
        self._execution = execution
        self._guard = telemetry.guard

    def __getattr__(self, name: str) -> Any:
        if name == "_worker":  # while it is copied or unpickled
            raise AttributeError(name)
        return getattr(self._worker, name)

    async def process(self, *args: Any, **kwargs: Any) -> Any:
        """The worker's own ``process`` inside the ``worker`` span; result and exception are the worker's."""
        execution, guard = self._execution, self._guard
        started = True
        try:
            started = execution.start_worker(args[0] if args else kwargs.get("context"))
        except Exception:
            guard.caught("worker")
        if not started:
            return await self._worker.process(*args, **kwargs)
        try:
            result = await self._worker.process(*args, **kwargs)
        except BaseException as exception:
            try:
                execution.worker_ended(exception)
            except Exception:
                guard.caught("worker")
            raise
        try:
            execution.worker_ended(None, result)
        except Exception:
            guard.caught("worker")
        return result
