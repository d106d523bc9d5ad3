"""An application under load that remembers what the Collector has accepted: spans and records with ids of their own."""

from __future__ import annotations

import http.client
import threading
from itertools import count, islice
from types import TracebackType
from typing import Final

from tests.sampling.backend import Backend
from tests.sampling.running import client
from tests.support.collectors import Running
from tests.support.deadline import DEADLINE
from tests.support.expected import COMPLETED
from tests.support.traffic import Shape, log_record, logs, trace_ids, traces

_SHAPE: Final = Shape(COMPLETED)
_TRANSACTIONS: Final = 2
_RECORDS: Final = 20
_PACE: Final = 0.01


class Load:
    """Sends transactions and log records in turn, from a thread of its own, until its context is left.

    A request without an answer, or with a refusal, is not sent again: what it held is not counted as accepted.
    """

    def __init__(self, entry: Running, seed: int) -> None:
        self._entry = entry
        self._ids = trace_ids(seed)
        self._numbers = count()
        self._seed = seed
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)
        self.spans: list[str] = []
        """Trace and span id of each span that was accepted."""
        self.records: list[str] = []
        """The body of each log record that was accepted."""

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ending.set()
        self._thread.join()

    def _run(self) -> None:
        sender = client(self._entry, timeout=5.0)
        while not self._ending.wait(_PACE):
            try:
                transactions = list(islice(self._ids, _TRANSACTIONS))
                if sender.send("traces", traces(s for each in transactions for s in _SHAPE.stamped(each))) == 200:
                    self.spans += [
                        f"{trace_id.hex()} {number:016x}"
                        for trace_id in transactions
                        for number in range(1, len(_SHAPE) + 1)
                    ]
                bodies = [f"{self._seed} {number}" for number in islice(self._numbers, _RECORDS)]
                if sender.send("logs", logs(log_record(b"", body) for body in bodies)) == 200:
                    self.records += bodies
            except (OSError, http.client.HTTPException):  # the Collector is being killed
                continue
        sender.close()

    def check_arrived(self, backend: Backend, timeout: float = DEADLINE) -> None:
        """Waits until all that was accepted has come, however often; tells what is missing."""
        spans, records = set(self.spans), set(self.records)
        assert spans
        assert records
        try:
            backend.wait_for(lambda _: spans <= backend.span_ids and records <= backend.bodies, timeout)
        except AssertionError as error:
            missing = len(spans - backend.span_ids), len(records - backend.bodies)
            raise AssertionError(f"of {len(spans)} spans and {len(records)} records {missing} are missing") from error
