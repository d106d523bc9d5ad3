"""Who hears of the core's operations: monitors, told when an operation starts or ends, recorded as a span or not.

Monitors are made by users, before ``instrument()`` or after it, and several may watch one process. So the
observers belong to the process, not to one ``instrument()`` call, and are held weakly: a monitor that nobody
keeps hears no more.
"""

from __future__ import annotations

import sys
import threading
import weakref
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from multiagents_otel.core.forking import on_fork
from multiagents_otel.processing.guard import Guard, ends_application

if TYPE_CHECKING:
    from multiagents_otel.semconv import Outcome, WorkflowStatus
    from multiagents_otel.telemetry.failure import Failure
    from multiagents_otel.telemetry.ledger import Key
    from multiagents_otel.telemetry.workflow import Step, Workflow

_SCOPES: Final = 16

_Refs: TypeAlias = "tuple[weakref.ref[Observer], ...]"


class Observer:
    """Hears of every operation and does nothing with it; monitors override what they need.

    The methods are called in the middle of the application's own work: they are quick, keep nothing of what
    they are given but plain values, and are called inside a guard. Of what ``excluded_events`` leaves out they
    hear nothing.
    """

    def sent(self, sending: Any, failure: Failure | None) -> None:
        """An event was published; ``failure`` if the publish raised, or reached nobody and had to."""

    def received(self, delivery: Any) -> None:
        """An event came in and is about to be given to its first handler here."""

    def handled(self, message: Any, seconds: float | None) -> None:
        """The last handler here is done with an event; ``seconds`` since its publication, where that is known."""

    def stale(self, message: Any) -> None:
        """A result came that no step waits for."""

    def execution_started(self, execution: Any) -> None:
        """A worker is about to be called."""

    def execution_ended(self, execution: Any, outcome: Outcome, failure: Failure | None, seconds: float) -> None:
        """A worker's execution ended after ``seconds``; one that was cancelled at once has not been started."""

    def command_started(self, worker: str, command_id: str) -> None:
        """The framework told a monitor that a worker takes up a command; no operation is there to tell it."""

    def command_ended(self, worker: str, command_id: str, outcome: Outcome, error: str | None) -> None:
        """The framework told a monitor how a command ended; no operation is there to tell it."""

    def workflow_started(self, workflow: Workflow) -> None:
        """A workflow started here."""

    def step_ended(self, workflow: Workflow, step: Step, failure: Failure | None, seconds: float) -> None:
        """A step of a workflow ended."""

    def workflow_ended(
        self, workflow: Workflow, status: WorkflowStatus, failure: Failure | None, seconds: float
    ) -> None:
        """A workflow ended, or was found to be stalled; one that was stalled may end once more after all."""

    def worker_health(self) -> Mapping[Key, int]:
        """By worker: 0 healthy, 1 degraded, 2 failed (``multiagents.worker.health``)."""
        return {}


class Observers:
    """The observers of this process.

    Attributes:
        guard: counts and logs what goes wrong inside an observer; the instrumentation's, once there is one.
        present: an observer is registered.
    """

    def __init__(self) -> None:
        self.guard = Guard(lambda _component: None)
        self._lock = threading.RLock()
        self._hooked = False
        self.present = False
        self._refs: _Refs = ()
        self._hearing: dict[str, _Refs] = {}
        self._scopes: deque[object] = deque(maxlen=_SCOPES)

    def add(self, observer: Observer) -> None:
        """From now on tell it too."""
        if not self._hooked:
            self._hooked = True
            on_fork(in_child=self._forked)
        added = weakref.ref(observer, self._forget)
        self._change(lambda refs: (*refs, added))

    def remove(self, observer: Observer) -> None:
        """Tell it no more; one that is not told is no error."""
        self._change(lambda refs: tuple(ref for ref in refs if ref() not in (None, observer)))

    def clear(self) -> None:
        """Tell nobody any more."""
        self._change(lambda _refs: ())

    def _forget(self, gone: weakref.ref[Observer], finalizing: Callable[[], bool] = sys.is_finalizing) -> None:
        # At the interpreter's end this module's globals may be None before the last observer is gone.
        if not finalizing():
            self._change(lambda refs: tuple(ref for ref in refs if ref is not gone))

    def _change(self, change: Callable[[_Refs], _Refs]) -> None:
        with self._lock:
            while True:
                before = self._refs
                refs = change(before)
                # What an observer does not override costs no call.
                hearing = {
                    what: tuple(ref for ref in refs if getattr(type(ref()), what, nothing) is not nothing)
                    for what, nothing in vars(Observer).items()
                    if not what.startswith("_")
                }
                if self._refs is before:  # else a monitor was collected, or a signal came, in the midst of this
                    self._refs, self._hearing, self.present = refs, hearing, bool(refs)
                    return

    def _forked(self) -> None:
        self._lock = threading.RLock()  # a thread of the parent's may have held it

    def tell(self, guard: Guard, what: str, *args: Any) -> None:
        """Call a method of every observer; one that raises costs the others nothing."""
        for ref in self._hearing.get(what, ()):
            observer = ref()
            if observer is not None:
                try:
                    getattr(observer, what)(*args)
                except (KeyboardInterrupt, SystemExit):
                    raise
                except BaseException:
                    guard.caught("monitor")

    def told_by(self, tracer: object) -> None:
        """The operations whose spans this tracer makes tell of themselves."""
        scope = getattr(tracer, "_instrumentation_scope", None)
        if scope is not None and not self.has_told(scope):
            self._scopes.append(scope)

    def has_told(self, scope: object) -> bool:
        """Whether a span of this very scope object is an operation's that has told of itself."""
        # By identity: another tracer's scope may equal it.
        return any(known is scope for known in self._scopes)

    def worker_health(self) -> dict[Key, int]:
        """The worst that any observer says of each worker."""
        worst: dict[Key, int] = {}
        for ref in self._hearing.get("worker_health", ()):
            observer = ref()
            if observer is not None:
                try:  # a user's own may tell anything
                    told = {(str(name),): int(health) for (name,), health in observer.worker_health().items()}
                except BaseException as error:  # the SDK's thread that collects would die of it
                    if ends_application(error):
                        raise
                    self.guard.caught("monitor")
                    continue
                for key, value in told.items():
                    worst[key] = max(value, worst.get(key, 0))
        return worst


OBSERVERS: Final = Observers()
"""The one registry of a process."""
