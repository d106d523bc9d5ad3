"""A backend that is asked for transactions."""

from __future__ import annotations

from collections.abc import Sequence

from tests.support.receiver import OtlpReceiver


class Backend(OtlpReceiver):
    """Tells which spans of a transaction have come."""

    def __enter__(self) -> Backend:
        super().__enter__()
        return self

    def names(self, trace_id: bytes) -> list[str]:
        """Sorted, since the order of arrival says nothing."""
        return sorted(span.name for span in self.spans if span.trace_id == trace_id.hex())

    def wait_whole(self, trace_id: bytes, names: Sequence[str]) -> None:
        """Waits for these spans, and sees that there are no others."""
        self.wait_for(lambda _: len(self.names(trace_id)) >= len(names))
        assert self.names(trace_id) == sorted(names)

    @property
    def span_ids(self) -> set[str]:
        """Trace and span id of each span."""
        return {f"{span.trace_id} {span.span_id}" for span in self.spans}

    @property
    def bodies(self) -> set[str]:
        """Those of the log records."""
        return {str(record.body) for record in self.logs}
