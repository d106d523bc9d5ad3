"""What importing the package and its first call cost, against the OpenTelemetry SDK alone, in fresh processes."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from typing import Final, NamedTuple

ROUNDS: Final = 15


class Arm(NamedTuple):
    """What a fresh interpreter runs."""

    name: str
    code: str
    reach_ms: float | None = None
    """The most CPU time above the interpreter alone."""


INTERPRETER: Final = Arm("the interpreter", "pass")
ARMS: Final = (
    INTERPRETER,
    Arm("the SDK alone", "import opentelemetry.sdk.trace, opentelemetry.sdk.metrics, opentelemetry.sdk._logs"),
    Arm("import multiagents_otel", "import multiagents_otel"),
    Arm("from multiagents_otel import auto_instrument", "from multiagents_otel import auto_instrument", 60),
    Arm("every public name", "from multiagents_otel import *", 200),
    Arm("auto_instrument() called", "from multiagents_otel import auto_instrument; auto_instrument()"),
)


def milliseconds(arm: Arm, environment: dict[str, str]) -> float:
    """CPU time of a new interpreter that leaves without a flush; another program on the machine does not count."""
    command = [sys.executable, "-c", f"{arm.code}\nimport os; os._exit(0)"]
    child = subprocess.Popen(command, env=environment)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise subprocess.CalledProcessError(child.returncode, command)
    return (usage.ru_utime + usage.ru_stime) * 1e3


def measure(rounds: int = ROUNDS) -> dict[Arm, float]:
    """The median of each arm, taken in turn; the first round fills the caches."""
    with tempfile.TemporaryDirectory() as folder:
        # An installed package has its bytecode; a developer's shell may keep the interpreter from writing it.
        environment = os.environ | {"PYTHONPYCACHEPREFIX": folder}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        rows = [[milliseconds(arm, environment) for arm in ARMS] for _ in range(rounds + 1)][1:]
    return dict(zip(ARMS, map(statistics.median, zip(*rows, strict=True)), strict=True))


def main() -> None:
    found = measure()
    print("imports, CPU time above the interpreter alone (ms)")
    for arm, median in found.items():
        reach = f"   (reach {arm.reach_ms:.0f})" if arm.reach_ms else ""
        print(f"{arm.name:60} {median - found[INTERPRETER]:6.1f}{reach}")


if __name__ == "__main__":
    main()
