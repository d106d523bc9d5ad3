"""One call into an orchestrator, as the patches inside it know it."""

from __future__ import annotations

from time import perf_counter_ns, time_ns
from typing import Any

from opentelemetry.context import Context

from multiagents_otel.core.trace_context import get_current
from multiagents_otel.telemetry.failure import Failure
from multiagents_otel.telemetry.json_values import name_of
from multiagents_otel.telemetry.workflow import Workflow


class Call:
    """One call into an orchestrator, from outside or with a result.

    Attributes:
        saga: the saga that it is about, once that is known.
        workflow: the workflow of the saga, if it has not ended.
        failure: of the step that failed in it.
        ended: the saga had already ended when it was loaded.
        result: the event that it is a call with.
        loading: the saga is being loaded.
        orchestrator: the one that is called.
        transaction_id: the saga's, once the call is over.
    """

    __slots__ = (
        "caller",
        "command_id",
        "ended",
        "failure",
        "loading",
        "orchestrator",
        "result",
        "saga",
        "start",
        "start_ns",
        "starting",
        "swallowed",
        "transaction_id",
        "workflow",
    )

    def __init__(self, orchestrator: Any, result: Any = None, *, starting: bool = False) -> None:
        self.orchestrator = orchestrator
        self.result = result
        self.starting = starting
        self.start_ns = time_ns()
        self.start = perf_counter_ns()
        self.caller: Context = get_current()
        self.command_id: str | None = None
        self.saga: Any = None
        self.workflow: Workflow | None = None
        self.failure: Failure | None = None
        self.swallowed: BaseException | None = None
        self.ended = False
        self.loading = False
        self.transaction_id: object = None

    def release(self) -> None:
        """Drop what is the application's: a connection that was opened inside keeps the context, and this with it."""
        workflow = self.workflow
        if workflow is not None and workflow.ended:
            workflow.saga = workflow.recorded_exception = None
        self.transaction_id = getattr(self.saga, "transaction_id", None)
        self.saga = self.result = self.failure = self.swallowed = self.orchestrator = None


def definition_of(orchestrator: Any) -> str:
    """The id of an orchestrator's workflow definition: ``workflow.id``."""
    return name_of(orchestrator.workflow.get_id())
