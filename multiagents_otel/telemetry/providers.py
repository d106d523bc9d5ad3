"""Providers of the application and of other libraries: whether one is set, and what can be read from it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final, TypeVar

from opentelemetry import trace
from opentelemetry._logs import NoOpLoggerProvider
from opentelemetry._logs import _internal as _logs
from opentelemetry.metrics import _internal as _metrics

T = TypeVar("T")

_logger = logging.getLogger("multiagents_otel")

# A provider of another library may be a proxy too and be called so: the API's own placeholders are known by class.
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


def attribute(thing: Any, name: str, default: Any = None) -> Any:
    """Read an attribute of an object of others, whose ``__getattr__`` or property may raise any exception."""
    try:
        return getattr(thing, name, default)
    except Exception:
        return default


def from_provider(provider: Any, signal: str, make: Callable[[], T], no_op: Callable[[], T]) -> T:
    """Make what a signal is recorded with; the no-op form, with one error, if the provider raises."""
    try:
        return make()
    except Exception as error:
        _logger.error(
            "the provider %s can't be used, %s of multiagents-framework are not recorded: %s: %s. It must have the "
            "interface of OpenTelemetry's API",
            type(provider).__qualname__,
            signal,
            type(error).__name__,
            error,
        )
        return no_op()
