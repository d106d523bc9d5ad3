"""Parameters of Prometheus and its rules."""

from __future__ import annotations

from typing import Final

from multiagents_otel.stack.parameter import Parameter

ROWS: Final[tuple[Parameter, ...]] = ()
