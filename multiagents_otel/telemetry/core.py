"""What every patched component is given: tracer, options, sums, instruments, propagation, guard."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any, Final

from opentelemetry import trace
from opentelemetry._logs import Logger, LoggerProvider, NoOpLogger, SeverityNumber, get_logger_provider
from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, Context
from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import NoOpTracer, Span, Tracer, TracerProvider

from multiagents_otel import semconv
from multiagents_otel.config import Options
from multiagents_otel.processing import redaction
from multiagents_otel.processing.guard import Guard
from multiagents_otel.telemetry.drops import DROPS
from multiagents_otel.telemetry.identity import can_pin
from multiagents_otel.telemetry.instruments import instruments_of
from multiagents_otel.telemetry.ledger import Key
from multiagents_otel.telemetry.observers import OBSERVERS
from multiagents_otel.telemetry.propagation import Delays, Propagation
from multiagents_otel.telemetry.providers import from_provider, is_set
from multiagents_otel.telemetry.starting import Starter
from multiagents_otel.version import __version__

_log = logging.getLogger("multiagents_otel")
_SCOPE: Final = (semconv.SCOPE_NAME, __version__, semconv.SCHEMA_URL)

_SUPPRESS_PLAIN = "suppress_instrumentation"  # set by opentelemetry.instrumentation.utils beside the API's own key


def suppressed(context: Context) -> bool:
    """Whether the application asked for no instrumentation, by either of OpenTelemetry's keys."""
    return bool(context.get(_SUPPRESS_INSTRUMENTATION_KEY) or context.get(_SUPPRESS_PLAIN))


class Telemetry:
    """One ``instrument()`` call's telemetry.

    Attributes:
        tracer: the tracer; a no-op one until there is a provider.
        starter: starts the tracer's spans.
        tracing: whether spans can be recorded; False with no provider, a no-op one or a disabled SDK.
        pins: whether a span can be sampled that the provider's sampler has dropped, or would drop.
        keeps_errors: whether that is done where something failed.
        passive: neither spans nor metrics can be recorded: patched calls only hand context on.
        executing: worker and command id of each execution under way.
        settled: the providers are there; until then :meth:`settle` looks for them at each patched call.
    """

    def __init__(
        self,
        options: Options,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        logger_provider: LoggerProvider | None = None,
    ) -> None:
        self.options = options
        self.instruments = instruments_of(meter_provider, messaging=options.messaging_metrics)
        self.ledger = ledger = self.instruments.ledger
        # Not self.ledger: observers keep the guard, and would keep all of this.
        self.guard = Guard(lambda component: ledger.add(semconv.OTEL_ERRORS, (component,)))
        redaction.use(
            redaction.Redactor(
                options.redact_keys,
                options.redact_patterns,
                options.redact_allow,
                options.redact_callback,
                enabled=options.redaction,
                guard=self.guard,
            )
        )
        self.propagation = Propagation()
        self.delays = Delays()
        self.tracer: Tracer = NoOpTracer()
        self.starter = Starter(self.tracer)
        self.tracing = False
        self.pins = False
        self.keeps_errors = False
        self.passive = True
        self.settled = False
        self._tracer_provider = tracer_provider
        self._settled_with: TracerProvider | None = None  # where self.tracer is from
        logs: Any = logger_provider if logger_provider is not None else get_logger_provider()
        self._logger: Logger = from_provider(
            logs, "log events", lambda: logs.get_logger(*_SCOPE), lambda: NoOpLogger(*_SCOPE)
        )
        self.executing: dict[object, tuple[str, str | None]] = {}
        self.instruments.gauges[semconv.WORKER_ACTIVE.name] = self._executing
        self.instruments.gauges[semconv.WORKER_HEALTH.name] = OBSERVERS.worker_health
        self.instruments.readings[semconv.OTEL_DROPPED.name] = DROPS.counts
        OBSERVERS.guard = self.guard
        self._warned: set[str] = set()
        self._span_names: dict[str, dict[str, str]] = {semconv.SEND: {}, semconv.PROCESS: {}}
        self.settle()

    def _executing(self) -> dict[Key, int]:
        counts: dict[Key, int] = {}
        for worker, _command in list(self.executing.values()):
            counts[worker,] = counts.get((worker,), 0) + 1
        return counts

    @property
    def idle(self) -> bool:
        """Whether nothing can be recorded now; looks for providers that somebody may have set since."""
        if not self.settled:
            self.settle()
        return self.passive and not OBSERVERS.present

    def settle(self) -> None:
        """Find the tracer and see what can be recorded; for good once a provider is there."""
        provider = self._tracer_provider if self._tracer_provider is not None else trace.get_tracer_provider()
        there = is_set(provider)
        if there and provider is not self._settled_with:
            self._settled_with = provider
            self.tracer = from_provider(provider, "spans", lambda: provider.get_tracer(*_SCOPE), NoOpTracer)
            self.starter = Starter(self.tracer)
            self.tracing = not isinstance(self.tracer, NoOpTracer)
            OBSERVERS.told_by(self.tracer)
            self.pins = self.tracing and can_pin(self.tracer)
            self.keeps_errors = self.pins and self.options.keep_errors
        self.settled = self.instruments.settle() and there
        self.passive = not self.tracing and not self.instruments.enabled

    def span_name(self, operation: str, event_type: str) -> str:
        """``send command.charge``; the operation alone beyond 200 distinct event types."""
        names = self._span_names[operation]
        name = names.get(event_type)
        if name is None:
            label = self.ledger.event(event_type)
            if label is semconv.OTHER:
                return operation
            name = names[event_type] = f"{operation} {label}"
        return name

    def call_hook(self, name: str, span: Span | None, *args: Any) -> None:
        """Call the user's hook of a name, if there is one; whatever it raises is swallowed, and told as the user's."""
        hook: Callable[..., Any] | None = getattr(self.options, name)
        if hook is None:
            return
        try:
            result = hook(span or trace.INVALID_SPAN, *args)
            if asyncio.iscoroutine(result):
                result.close()  # a lambda around an async function: nobody will ever await it
                raise TypeError("a hook must be a plain function: nobody would await this one")
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException:
            self.guard.caught("hook", name)

    def tell(self, what: str, *args: Any) -> None:
        """Tell every observer; call it only ``if OBSERVERS.present``."""
        OBSERVERS.tell(self.guard, what, *args)

    def warn_once(self, topic: str, message: str, *args: object) -> None:
        """Tell the user of a fault of their set-up, once for each topic."""
        if topic not in self._warned and len(self._warned) < 1_000:
            self._warned.add(topic)
            _log.warning(message, *args)

    def log(
        self, event_name: str, severity: SeverityNumber, body: str, context: Context, attributes: dict[str, Any]
    ) -> None:
        """Emit a log event through the OpenTelemetry logs pipeline."""
        self._logger.emit(
            timestamp=time.time_ns(),
            context=context,
            severity_number=severity,
            severity_text=severity.name,
            body=body,
            attributes=attributes,
            event_name=event_name,
        )
