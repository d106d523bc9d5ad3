"""Log records as an exporter is given them."""

from __future__ import annotations

from typing import Any, Final

from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs import export as sdk
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor

_NAMES: Final = ("InMemoryLogRecordExporter", "InMemoryLogExporter")
"""Since 1.39, and before."""


class Exported:
    """A provider, and what came out of it."""

    def __init__(self, processor: type[SimpleLogRecordProcessor] = SimpleLogRecordProcessor) -> None:
        names = vars(sdk)
        self._exporter: Any = names[next(name for name in _NAMES if name in names)]()
        self.provider = LoggerProvider(shutdown_on_exit=False)
        self.provider.add_log_record_processor(processor(self._exporter))

    @property
    def logs(self) -> list[Any]:
        """The log records, in order."""
        return [record.log_record for record in self._exporter.get_finished_logs()]

    def named(self, scope: str) -> list[Any]:
        """Those of one instrumentation scope."""
        return [
            record.log_record
            for record in self._exporter.get_finished_logs()
            if record.instrumentation_scope is not None and record.instrumentation_scope.name == scope
        ]
