"""What importing the package costs, against importing the OpenTelemetry SDK alone, each in a fresh process."""

from __future__ import annotations

import statistics
import subprocess
import sys
from typing import Final

ROUNDS: Final = 9
REACH: Final = 1.3
REACH_MS: Final = 100.0

SDK: Final = "import opentelemetry.sdk.trace, opentelemetry.sdk.metrics, opentelemetry.sdk._logs"
OURS: Final = "import multiagents_otel\nfor name in multiagents_otel.__all__: getattr(multiagents_otel, name)"

# The process' own CPU time around the import alone: another program on the machine does not count.
_TIMED: Final = "import time\nstarted = time.process_time()\n{}\nprint(time.process_time() - started)"


def milliseconds(statement: str) -> float:
    """CPU time of a statement in a new interpreter."""
    done = subprocess.run([sys.executable, "-c", _TIMED.format(statement)], capture_output=True, text=True, check=True)
    return float(done.stdout) * 1e3


def measure(rounds: int = ROUNDS) -> tuple[float, float]:
    """The medians of the SDK alone and of ours, taken in turn; the first round fills the caches."""
    rows = [(milliseconds(SDK), milliseconds(OURS)) for _ in range(rounds + 1)][1:]
    return statistics.median(sdk for sdk, _ in rows), statistics.median(ours for _, ours in rows)


def main() -> None:
    sdk, ours = measure()
    print(f"importing the SDK alone: {sdk:.0f} ms of CPU")
    name = "import of multiagents_otel, public names touched, x the SDK"
    print(f"{name:60} {ours / sdk:6.2f}   (reach {REACH} or +{REACH_MS:.0f} ms; it is {ours - sdk:+.0f} ms)")


if __name__ == "__main__":
    main()
