"""What events carry, as attributes: only where the user has asked for it."""

from __future__ import annotations

from typing import Any

from opentelemetry.trace import Span

from multiagents_otel.processing.redaction import in_force
from multiagents_otel.telemetry.core import Telemetry


def capture(telemetry: Telemetry, span: Span | None, attribute: str, content: Any) -> None:
    """Put a payload or a result on a span that records: JSON without secrets, at most ``max_content_length`` long."""
    if span is None:
        return
    try:
        span.set_attribute(attribute, in_force().content(content, attribute, telemetry.options.max_content_length))
    except Exception:
        telemetry.guard.caught("content")
