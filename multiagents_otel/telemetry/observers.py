"""Who hears of the core's operations: monitors, told when an operation starts or ends, recorded as a span or not.

Monitors are made by users, before ``instrument()`` or after it, and several may watch one process. So the
observers belong to the process, not to one ``instrument()`` call, and are held weakly: a monitor that nobody
keeps hears no more.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from multiagents_otel.semconv import Outcome, WorkflowStatus
    from multiagents_otel.telemetry.delivery import Delivery, Message
    from multiagents_otel.telemetry.execution import Execution
    from multiagents_otel.telemetry.failure import Failure
    from multiagents_otel.telemetry.sending import Sending
    from multiagents_otel.telemetry.workflow import Step, Workflow


class Observer:
    """Hears of every operation and does nothing with it; monitors override what they need.

    The methods are called in the middle of the application's own work: they are quick, keep nothing of what
    they are given but plain values, and are called inside a guard.
    """

    def sent(self, sending: Sending, failure: Failure | None) -> None:
        """An event was published; ``failure`` if the publish raised, or reached nobody and had to."""

    def received(self, delivery: Delivery) -> None:
        """An event came in and is about to be given to its first handler here."""

    def handled(self, message: Message, seconds: float | None) -> None:
        """The last handler here is done with an event; ``seconds`` since its publication, where that is known."""

    def stale(self, message: Message) -> None:
        """A result came that no step waits for."""

    def execution_started(self, execution: Execution) -> None:
        """A worker is about to be called."""

    def execution_ended(self, execution: Execution, outcome: Outcome, failure: Failure | None, seconds: float) -> None:
        """A worker's execution ended after ``seconds``."""

    def workflow_started(self, workflow: Workflow) -> None:
        """A workflow started here."""

    def step_ended(self, workflow: Workflow, step: Step, failure: Failure | None, seconds: float) -> None:
        """A step of a workflow ended."""

    def workflow_ended(
        self, workflow: Workflow, status: WorkflowStatus, failure: Failure | None, seconds: float
    ) -> None:
        """A workflow ended, or was found to be stalled."""


class Observers:
    """The observers of this process."""

    def __init__(self) -> None:
        self._refs: tuple[weakref.ref[Observer], ...] = ()

    def add(self, observer: Observer) -> None:
        """From now on tell it too."""
        self._refs = (*(ref for ref in self._refs if ref() is not None), weakref.ref(observer))

    def remove(self, observer: Observer) -> None:
        """Tell it no more; one that is not told is no error."""
        self._refs = tuple(ref for ref in self._refs if ref() not in (None, observer))

    def __bool__(self) -> bool:
        return bool(self._refs)

    def __iter__(self) -> Iterator[Observer]:
        return iter([observer for ref in self._refs if (observer := ref()) is not None])


OBSERVERS: Final = Observers()
"""The one registry of a process."""
