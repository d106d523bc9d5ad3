"""Workflows that were found unable to go on: told once, and told again if they end after all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from opentelemetry._logs import SeverityNumber

from multiagents_otel import semconv
from multiagents_otel.core.bounded import BoundedMap
from multiagents_otel.core.trace_context import EMPTY
from multiagents_otel.semconv import WorkflowStatus
from multiagents_otel.telemetry.core import Telemetry
from multiagents_otel.telemetry.failure import Failure
from multiagents_otel.telemetry.observers import OBSERVERS
from multiagents_otel.telemetry.workflow import Workflow, elapsed

_CAPACITY: Final = 10_000


class Stalls:
    """The stalled workflows of this process, by transaction; bounded.

    Args:
        telemetry: what is recorded with.
        let_go: called with the transaction of one that is kept no longer: it has ended for good.
    """

    def __init__(self, telemetry: Telemetry, let_go: Callable[[str], None]) -> None:
        self._telemetry = telemetry
        self._let_go = let_go
        self.stalled: BoundedMap[str, Workflow] = BoundedMap(_CAPACITY, lambda oldest, _workflow: let_go(oldest))

    def tell(self, workflow: Workflow, failure: Failure | None) -> None:
        """A workflow, whose root has been emitted, can't go on."""
        workflow.stalled = True
        # The application's data is not ours to keep; a late result brings it again.
        workflow.saga = workflow.recorded_exception = None
        self.stalled[workflow.transaction_id] = workflow
        ledger = self._telemetry.ledger
        ledger.add(semconv.WORKFLOW_STALLS, (ledger.workflow(workflow.workflow_id),))
        reason = failure.error_type if failure is not None else semconv.STALLED
        attributes: dict[str, Any] = {semconv.ERROR_TYPE: reason}
        if workflow.failed_step:
            attributes[semconv.FAILED_STEP] = workflow.failed_step
        body = f"workflow {workflow.workflow_id} cannot go on at step {workflow.failed_step}: {reason}"
        self._log(semconv.LOG_WORKFLOW_STALLED, SeverityNumber.WARN, body, workflow, attributes)

    def recovered(self, workflow: Workflow, status: WorkflowStatus) -> None:
        """One of them ended after all: counted, timed and told; its root has been emitted."""
        if self.stalled.pop(workflow.transaction_id, None) is None:
            return
        self._let_go(workflow.transaction_id)
        telemetry = self._telemetry
        key = (telemetry.ledger.workflow(workflow.workflow_id), status.value)
        seconds, _ = elapsed(workflow.start_ns, workflow.start)
        telemetry.ledger.add(semconv.WORKFLOWS, key)
        telemetry.instruments.record(semconv.WORKFLOW_DURATION, seconds, key, workflow.within(EMPTY))
        if OBSERVERS.present:
            telemetry.tell("workflow_ended", workflow, status, workflow.failure, seconds)
        body = f"workflow {workflow.workflow_id}, reported as stalled, ended after all: {status.value}"
        attributes = {semconv.WORKFLOW_STATUS: status.value}
        self._log(semconv.LOG_WORKFLOW_RECOVERED, SeverityNumber.INFO, body, workflow, attributes)

    def _log(
        self, event: str, severity: SeverityNumber, body: str, workflow: Workflow, attributes: dict[str, Any]
    ) -> None:
        try:
            self._telemetry.log(event, severity, body, workflow.within(EMPTY), {**workflow.ids, **attributes})
        except Exception:
            self._telemetry.guard.caught("log")
