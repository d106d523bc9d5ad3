"""Parameters of tail sampling and of the gateways."""

from __future__ import annotations

from typing import Final

from multiagents_otel.stack.parameter import Parameter

ROWS: Final[tuple[Parameter, ...]] = ()
