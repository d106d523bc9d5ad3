"""Which of OpenTelemetry's providers somebody has set."""

from __future__ import annotations

from typing import Any, Final

from opentelemetry import trace
from opentelemetry._logs import NoOpLoggerProvider
from opentelemetry._logs import _internal as _logs
from opentelemetry.metrics import _internal as _metrics

# A provider of another library may be a proxy too and be called so: the API's own placeholders are told by their class.
_PLACEHOLDERS: Final[tuple[type, ...]] = (
    trace.ProxyTracerProvider,
    *(
        cls
        for module, name in ((_metrics, "_ProxyMeterProvider"), (_logs, "ProxyLoggerProvider"))
        if isinstance(cls := getattr(module, name, None), type)
    ),
)


def is_set(provider: Any) -> bool:
    """Whether a global provider is one that somebody has set, and not the API's placeholder for it."""
    return not issubclass(type(provider), (*_PLACEHOLDERS, NoOpLoggerProvider))
