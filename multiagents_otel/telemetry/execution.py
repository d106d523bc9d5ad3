"""A worker at work on a command: the ``process`` span of the command and the ``worker`` span inside it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextvars import Token
from typing import Any

from opentelemetry.trace import SpanKind

from multiagents_otel import semconv
from multiagents_otel.config import matches
from multiagents_otel.semconv import Outcome
from multiagents_otel.telemetry.core import Telemetry
from multiagents_otel.telemetry.delivery import Delivery
from multiagents_otel.telemetry.failure import Failure, failure_of
from multiagents_otel.telemetry.operation import Operation
from multiagents_otel.telemetry.sending import EXECUTION


class Execution:
    """One call of ``WorkerManager._execute_worker_with_timeout``."""

    __slots__ = (
        "_active", "_cancelled_ns", "_elapsed", "_excluded", "_failure", "_label", "_operation", "_outcome",
        "_queue_time", "_telemetry", "_timeout", "_token", "_worker", "delivery",
    )  # fmt: skip

    def __init__(self, telemetry: Telemetry, worker: str, timeout: object, delivery: Delivery) -> None:
        self._telemetry = telemetry
        self._worker = worker
        self._label = telemetry.ledger.worker(worker)
        self._timeout = float(timeout) if type(timeout) in (int, float) else None  # type: ignore[arg-type]
        self._excluded = bool(telemetry.options.excluded_workers) and matches(telemetry.options.excluded_workers, worker)
        self._operation: Operation | None = None
        self._outcome: Outcome | None = None
        self._failure: Failure | None = None
        self._cancelled_ns: int | None = None
        self._elapsed = 0.0
        self._active = False
        self._token: Token[Execution | None] | None = None
        self.delivery = delivery
        delivery.claimed = True
        delivery.start()
        published = delivery.carrier.published_ns
        self._queue_time = telemetry.delays.since(published) if published is not None else None
        if self._queue_time is not None and not delivery.message.excluded:
            telemetry.instruments.record(
                semconv.EVENT_QUEUE_TIME, self._queue_time, (self._label,), delivery.context
            )
        delivery.attach()
        self._token = EXECUTION.set(self)

    # --- the worker ----------------------------------------------------------------------------

    def start_worker(self) -> None:
        """``worker.process`` is about to be called: its span becomes the current one."""
        telemetry, delivery = self._telemetry, self.delivery
        attributes: dict[str, Any] | None = None
        kind = SpanKind.INTERNAL
        if delivery.spans and not self._excluded:
            if telemetry.options.detailed_timing:
                attributes = {}
                if delivery.event.transaction_id is not None:
                    attributes[semconv.TRANSACTION_ID] = delivery.event.transaction_id
                if delivery.workflow_id is not None:
                    attributes[semconv.WORKFLOW_ID] = delivery.workflow_id
            else:
                attributes = delivery.attributes()
                kind = SpanKind.CONSUMER
            attributes[semconv.WORKER_NAME] = self._worker
            if delivery.step is not None:
                attributes[semconv.STEP_NAME] = delivery.step
            if self._timeout is not None:
                attributes[semconv.WORKER_TIMEOUT] = self._timeout
        self._operation = telemetry.operation(
            semconv.worker_span(self._label if self._label is semconv.OTHER else self._worker),
            kind,
            delivery.context,
            attributes,
            (),
            time.time_ns(),
            time.perf_counter_ns(),
        )
        self._operation.attach()
        if not self._excluded:
            self._active = True
            telemetry.ledger.add(semconv.WORKER_ACTIVE, (self._label,))

    def worker_ended(self, exception: BaseException | None) -> None:
        """``worker.process`` returned or raised."""
        operation = self._operation
        if operation is None:
            return
        if isinstance(exception, GeneratorExit):
            operation.forget()
        else:
            operation.detach()
        self._elapsed = operation.elapsed
        if exception is None:
            self._settle(Outcome.SUCCESS, None)
        elif isinstance(exception, (asyncio.CancelledError, GeneratorExit)):
            # The framework's timeout, or a shutdown: what follows will tell.
            self._cancelled_ns = operation.end_ns
        else:
            self._settle(Outcome.ERROR, failure_of(exception))

    def _settle(self, outcome: Outcome, failure: Failure | None) -> None:
        operation = self._operation
        if operation is None or self._outcome is not None:
            return
        self._outcome = outcome
        self._failure = failure._replace(exception=None) if failure is not None else None
        operation.end(failure, {semconv.WORKER_OUTCOME: outcome.value}, self._cancelled_ns)
        telemetry, label = self._telemetry, self._label
        if self._active:
            self._active = False
            ledger = telemetry.ledger
            ledger.add(semconv.WORKER_ACTIVE, (label,), -1)
            status = semconv.ERROR if outcome is Outcome.TIMEOUT else outcome.value
            ledger.add(semconv.WORKER_EXECUTIONS, (label, status))
            if failure is not None:
                ledger.add(semconv.WORKER_ERRORS, (label, ledger.error(failure.error_type)))
            telemetry.instruments.record(semconv.WORKER_DURATION, self._elapsed, (label,), operation.context)

    # --- the result ----------------------------------------------------------------------------

    def tell(self, carrier: dict[str, Any], result: Mapping[str, Any]) -> None:
        """Put into a result's carrier what the event itself does not tell."""
        if self._cancelled_ns is not None:
            self._timed_out(str(result.get("error_message") or ""))
        if self._failure is not None:
            carrier[semconv.CARRIER_ERROR_TYPE] = self._failure.error_type
        if self._queue_time is not None:
            carrier[semconv.CARRIER_QUEUE_TIME] = round(self._queue_time, 9)

    def _timed_out(self, message: str = "") -> None:
        timeout = f"{self._timeout:g}" if self._timeout is not None else "?"
        self._settle(Outcome.TIMEOUT, Failure(semconv.TIMEOUT, message or f"Worker timeout after {timeout}s"))

    def end(self, exception: BaseException | None) -> None:
        """The execution is over, its result published or lost."""
        delivery = self.delivery
        token, self._token = self._token, None
        if isinstance(exception, GeneratorExit):
            delivery.forget()
        else:
            if token is not None:
                EXECUTION.reset(token)
            delivery.detach()
        if isinstance(exception, (asyncio.CancelledError, GeneratorExit)):
            self._settle(Outcome.CANCELLED, None)
        elif self._cancelled_ns is not None:
            self._timed_out()
        outcome = self._outcome
        message = delivery.message
        if outcome is None or outcome is Outcome.CANCELLED:
            message.outcome = None  # neither a success nor an error
        elif outcome is not Outcome.SUCCESS:
            message.outcome = semconv.ERROR
        failure = self._failure
        if exception is not None and failure is None and isinstance(exception, Exception):
            failure = failure_of(exception)  # the framework's own code or a monitor raised
            message.outcome = semconv.ERROR
        delivery.finish(failure)


class WorkerProxy:
    """Stands for a worker in one execution: all that the framework calls on it is ``process``."""

    __slots__ = ("_execution", "_guard", "_worker")

    def __init__(self, worker: Any, execution: Execution, telemetry: Telemetry) -> None:
        self._worker = worker
        self._execution = execution
        self._guard = telemetry.guard

    def __getattr__(self, name: str) -> Any:
        return getattr(self._worker, name)

    async def process(self, *args: Any, **kwargs: Any) -> Any:
        """The worker's own ``process`` inside the ``worker`` span; result and exception are the worker's."""
        execution = self._execution
        try:
            execution.start_worker()
        except Exception:
            self._guard.caught("worker")
        try:
            result = await self._worker.process(*args, **kwargs)
        except BaseException as exception:
            self._ended(exception)
            raise
        self._ended(None)
        return result

    def _ended(self, exception: BaseException | None) -> None:
        try:
            self._execution.worker_ended(exception)
        except Exception:
            self._guard.caught("worker")
