"""Distro and configurator for ``opentelemetry-instrument``: no code at all."""

from __future__ import annotations

import logging
import os
from typing import Any

from multiagents_otel.config.environment import corrected_environment

with corrected_environment():  # their import itself raises for some values
    from opentelemetry.instrumentation.distro import BaseDistro
    from opentelemetry.sdk._configuration import _OTelSDKConfigurator

_logger = logging.getLogger("multiagents_otel")


class MultiAgentsDistro(BaseDistro):  # type: ignore[misc]
    """Sees to it that our configurator is the one that is taken."""

    def _configure(self, **kwargs: Any) -> None:
        os.environ.setdefault("OTEL_PYTHON_CONFIGURATOR", "multiagents")

    def load_instrumentor(self, entry_point: Any, **kwargs: Any) -> None:
        """Load an instrumentor; one that fails is logged, and does not keep those after it from loading."""
        try:
            with corrected_environment():
                instrumentor = entry_point.load()()
                # OTEL_CONFIG_FILE may have activated it, with the options that it holds.
                if not getattr(instrumentor, "is_instrumented_by_opentelemetry", False):
                    instrumentor.instrument(**kwargs)
        except (ImportError, KeyboardInterrupt):
            raise
        except Exception:
            _logger.exception("the instrumentation %r could not be loaded", entry_point.name)


class MultiAgentsConfigurator(_OTelSDKConfigurator):
    """Builds the providers as :func:`multiagents_otel.auto_instrument` does."""

    def _configure(self, **kwargs: Any) -> None:
        from multiagents_otel import auto, pipeline

        version = kwargs.get("auto_instrumentation_version")
        with corrected_environment():
            used = pipeline.ensure({}, {"telemetry.auto.version": version} if version else None)
            auto._watch(used, auto._flush_timeout())


__all__ = ["MultiAgentsConfigurator", "MultiAgentsDistro"]
