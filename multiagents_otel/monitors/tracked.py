"""Events by their ids: seen once and finished once, however many stages, handlers or feeds tell of them."""

from __future__ import annotations

from typing import Final, TypeAlias

from multiagents_otel import semconv
from multiagents_otel.core.bounded import BoundedMap
from multiagents_otel.monitors.figures import Figures
from multiagents_otel.monitors.windows import Windows
from multiagents_otel.telemetry.event import Event

PENDING_LIMIT: Final = 100_000
FINISHED_LIMIT: Final = 10_000

UNKNOWN: Final = "unknown"
"""An outcome that is neither a success nor an error: of an event whose handling was cancelled."""


Names: TypeAlias = "tuple[str, str, str | None, str | None, str | None]"
"""An event's class (a custom event's own name), event type, id, worker and correlation id. Traces keep it, in tuples of
plain values: such a tuple is of no concern to the garbage collector, which would otherwise visit each of them."""


class Tracked:
    """What a monitor knows of one event.

    Attributes:
        names: what it is called.
        published: when, ns by ``perf_counter_ns``; None if this process does not know.
        verdict: the outcome that the event itself tells (a result's flag), or that its class means.
        error: why it failed, scrubbed.
        outcome: ``success``, ``error``, ``timeout`` or ``unknown``; None while it is pending.
        latency: ms from publication until it was finished, where that is known.
        stages: the stages that were told of it.
        counted: where it was counted as finished.
    """

    __slots__ = (
        "counted", "error", "latency", "names", "outcome", "published", "stages", "transaction_id", "verdict",
    )  # fmt: skip

    def __init__(self, names: Names, transaction_id: str | None) -> None:
        self.names = names
        self.transaction_id = transaction_id
        self.published: int | None = None
        self.verdict: str | None = None
        self.error: str | None = None
        self.outcome: str | None = None
        self.latency: float | None = None
        self.stages: tuple[str, ...] = ()
        self.counted: Figures | None = None

    @property
    def kind(self) -> str:
        """Its class."""
        return self.names[0]


def tracked_of(event: Event) -> Tracked:
    """An event that is not in any count."""
    worker = event.worker if "." in event.name else ""  # an event by hand may not name it
    names = (event.kind, event.name, event.id, worker or None, event.correlation_id)
    return Tracked(names, event.transaction_id)


Key = str | int
"""An event's id; what has none is known by its publication (ns since the epoch)."""


class Events:
    """The events that are pending, and the last that are finished; each is counted in ``windows``.

    Those beyond the limits are forgotten, the oldest first: a pending one then stays without an outcome.
    """

    def __init__(self, windows: Windows) -> None:
        self._windows = windows
        self._pending: BoundedMap[Key, Tracked] = BoundedMap(PENDING_LIMIT)
        self._finished: BoundedMap[Key, Tracked] = BoundedMap(FINISHED_LIMIT)

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
            tracked = tracked_of(event)
            self._windows.figures(event.kind).seen += 1
            if key is not None:
                self._pending[key] = tracked
        elif tracked.transaction_id is None and event.transaction_id is not None:  # a callback had not told it
            tracked.transaction_id = event.transaction_id
            kind, name, event_id, worker, correlation_id = tracked.names
            tracked.names = (kind, name, event_id, worker, event.correlation_id or correlation_id)
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
