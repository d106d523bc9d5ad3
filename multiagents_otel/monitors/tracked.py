"""Events by their ids: seen once and finished once, however many stages, handlers or feeds tell of them."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from multiagents_otel import semconv
from multiagents_otel.monitors.windows import Figures, Windows
from multiagents_otel.telemetry.event import Event

PENDING_LIMIT: Final = 100_000
FINISHED_LIMIT: Final = 10_000

UNKNOWN: Final = "unknown"
"""An outcome that is neither a success nor an error: of an event whose handling was cancelled."""


class Tracked:
    """What a monitor knows of one event.

    Attributes:
        kind: the contract's class name; a custom event's own name.
        name: the event type it is published under.
        published: when, ns by ``perf_counter_ns``; None if this process does not know.
        verdict: the outcome that the event itself tells (a result's flag), or that its type means.
        error: why it failed, scrubbed.
        outcome: ``success``, ``error``, ``timeout`` or ``unknown``; None while it is pending.
        latency: ms from publication until it was finished, where that is known.
        stages: the stages that were told of it.
    """

    __slots__ = (
        "correlation_id", "counted", "error", "id", "kind", "latency", "name", "outcome", "published", "stages",
        "transaction_id", "verdict", "worker",
    )  # fmt: skip

    def __init__(self, kind: str, name: str, event_id: str | None) -> None:
        self.kind = kind
        self.name = name
        self.id = event_id
        self.transaction_id: str | None = None
        self.correlation_id: str | None = None
        self.worker: str | None = None
        self.published: int | None = None
        self.verdict: str | None = None
        self.error: str | None = None
        self.outcome: str | None = None
        self.latency: float | None = None
        self.stages: tuple[str, ...] = ()
        self.counted: Figures | None = None  # where it was counted as finished


Key = str | int
"""An event's id; what has none is known by its publication (ns since the epoch)."""


class Events:
    """The events that are pending, and the last that are finished; each is counted in ``windows``.

    Those beyond the limits are forgotten, the oldest first: a pending one then stays without an outcome.
    """

    def __init__(self, windows: Windows) -> None:
        self._windows = windows
        # Ordered: the first key of a dict that its first keys are taken from takes ever longer to find.
        self._pending: OrderedDict[Key, Tracked] = OrderedDict()
        self._finished: OrderedDict[Key, Tracked] = OrderedDict()

    @property
    def pending(self) -> int:
        """How many events have no outcome yet."""
        return len(self._pending)

    def find(self, key: Key | None) -> Tracked | None:
        """An event that has been seen."""
        if key is None:
            return None
        return self._pending.get(key) or self._finished.get(key)

    def see(self, key: Key | None, event: Event) -> Tracked:
        """An event, counted when it is seen for the first time."""
        tracked = self.find(key)
        if tracked is None:
            tracked = Tracked(event.kind, event.name, event.id)
            self._windows.figures(event.kind).seen += 1
            if key is not None:
                if len(self._pending) >= PENDING_LIMIT:
                    self._pending.popitem(last=False)
                self._pending[key] = tracked
        if tracked.transaction_id is None:
            tracked.transaction_id = event.transaction_id
            tracked.correlation_id = event.correlation_id
        if tracked.worker is None:
            tracked.worker = event.worker or None
        return tracked

    def finish(self, key: Key | None, tracked: Tracked, outcome: str, latency: float | None = None) -> None:
        """An event has an outcome, and a latency (ms) if it was published at a known time.

        A command keeps the first one that it is given. Any other event, published here and then handled here too,
        has the later one: what was counted is moved.
        """
        if tracked.outcome is not None:
            if tracked.kind == semconv.COMMAND_EVENT:
                return
            counted = tracked.counted
            if counted is not None and not self._windows.take_back(tracked.kind, counted, tracked.outcome):
                return
        elif key is not None and self._pending.pop(key, None) is not None:
            if len(self._finished) >= FINISHED_LIMIT:
                self._finished.popitem(last=False)
            self._finished[key] = tracked
        tracked.outcome = outcome
        tracked.counted = None
        if outcome == UNKNOWN:
            return
        figures = tracked.counted = self._windows.figures(tracked.kind)
        if outcome == semconv.SUCCESS:
            figures.success += 1
        elif outcome == semconv.ERROR:
            figures.error += 1
        else:
            figures.timeout += 1
        if latency is not None and tracked.latency is None:
            tracked.latency = latency = max(0.0, latency)
            self._windows.measure(figures, latency)
