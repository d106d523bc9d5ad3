"""``SamplingEventMonitor``: the traces of a share of transactions, and every count."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final
from zlib import crc32

from multiagents_otel import semconv
from multiagents_otel.core.trace_context import EMPTY
from multiagents_otel.monitors.event_book import by_hand, reader_of
from multiagents_otel.monitors.event_monitor import EventMonitor
from multiagents_otel.monitors.monitor import harmless, nothing
from multiagents_otel.monitors.numbers import number
from multiagents_otel.monitors.traces import Traces
from multiagents_otel.monitors.tracked import Tracked
from multiagents_otel.processing.sampling import is_critical

if TYPE_CHECKING:
    from multiagents_otel.telemetry.delivery import Delivery
    from multiagents_otel.telemetry.failure import Failure
    from multiagents_otel.telemetry.sending import Sending

_FAILED: Final = frozenset({semconv.ERROR, semconv.TIMEOUT, semconv.UNDELIVERED})


class SampledTraces(Traces):
    """Traces of a share of transactions; of the others from their first failure on.

    The share is by the transaction's id, so that every process keeps the same transactions, each of them whole.
    """

    def __init__(self, rate: float, *args: Any) -> None:
        super().__init__(*args)
        self._below = rate * 2**32

    def keep(self, transaction: str) -> None:
        """Whatever happens in a transaction from now on."""
        self._touched(transaction, time.perf_counter_ns())

    def add(self, event: Tracked, stage: str, *args: Any, **kwargs: Any) -> None:
        """A stage of an event, if its transaction is in the share, has an entry already, or the stage is a failure."""
        transaction = event.transaction_id
        if transaction is None:
            return
        kept = transaction in self._traces or stage in _FAILED
        if kept or crc32(transaction.encode("utf-8", "replace")) < self._below:
            super().add(event, stage, *args, **kwargs)


class SamplingEventMonitor(EventMonitor):
    """An :class:`EventMonitor` that keeps the transaction traces of a share of transactions; its counts stay exact.

    Kept whatever the share: what fails, times out or reaches nobody, with all that follows in its transaction, and
    transactions in which an event has the priority ``critical`` (at its top or in its metadata).

    Args:
        sample_rate: the share, 0 to 1.
        **kwargs: as :class:`EventMonitor`.
    """

    def __init__(self, sample_rate: float = 0.1, **kwargs: Any) -> None:
        self.sample_rate = min(1.0, number(sample_rate, 0.1))
        super().__init__(**kwargs)

    def _new_traces(self, transactions: int, longest: int, retention: float, interval: float) -> Traces:
        self._sampled = SampledTraces(self.sample_rate, transactions, longest, retention, interval)
        return self._sampled

    def sent(self, sending: Sending, failure: Failure | None) -> None:
        """An event was published."""
        if sending.kept:
            self._keep(sending.event.transaction_id)
        super().sent(sending, failure)

    def received(self, delivery: Delivery) -> None:
        """An event came in."""
        if delivery.kept:
            self._keep(delivery.message.transaction_id)
        super().received(delivery)

    async def track_event_lifecycle(self, event: Any, stage: Any) -> None:
        """Track a stage of an event by hand, as :meth:`EventMonitor.track_event_lifecycle`."""
        self._keep_if_critical(event)
        await super().track_event_lifecycle(event, stage)

    @harmless(nothing)
    def _keep_if_critical(self, event: Any) -> None:
        read = reader_of(event)
        if is_critical({name: read(name) for name in (semconv.PRIORITY, "metadata")}, EMPTY):
            self._keep(by_hand(read).transaction_id)

    def _keep(self, transaction: str | None) -> None:
        if transaction is not None:
            with self._lock:
                self._sampled.keep(transaction)
