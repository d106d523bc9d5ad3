"""Instructions that a workflow needs with and without telemetry, counted under valgrind's callgrind.

The count does not depend on what else the machine does: runs differ by some 2 %. Time also depends on the memory that
is touched, so this measure guards, and ``cpu`` measures. ``--check`` fails where an arm needs 10 % more than recorded.

Needs valgrind and a C compiler: ``apt-get install valgrind gcc``.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import gc
import logging
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

WORKFLOWS: Final = 20
WARM_UP: Final = 100
RECORDED: Final = {"spans": 2.53, "metrics": 2.65, "spans, 1 % sampled": 2.01, "disabled": 1.15}
"""Instructions a workflow, as ratios to the bare framework's in the same run (CPython 3.11)."""
TOLERANCE: Final = 1.10

_SWITCH: Final = """
#include <valgrind/callgrind.h>
void start(void) { CALLGRIND_START_INSTRUMENTATION; CALLGRIND_ZERO_STATS; }
void stop(void) { CALLGRIND_DUMP_STATS; CALLGRIND_STOP_INSTRUMENTATION; }
"""


def count(arms: list[str]) -> dict[str, float]:
    """Instructions a workflow of each arm of the bench ``cpu``.

    Raises:
        RuntimeError: valgrind or a C compiler is missing, or failed.
    """
    compiler = shutil.which("gcc") or shutil.which("cc")
    if shutil.which("valgrind") is None or compiler is None:
        raise RuntimeError("valgrind and a C compiler are needed: apt-get install valgrind gcc")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "switch.c").write_text(_SWITCH)
        library = folder / "switch.so"
        subprocess.run([compiler, "-shared", "-fPIC", "-O2", "-o", library, folder / "switch.c"], check=True)
        valgrind = ["valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={folder / 'out'}"]
        environment = {**os.environ, "PYTHONHASHSEED": "0"}
        program = [sys.executable, "-m", "tests.bench.instructions", "--run", str(library)]
        ran = subprocess.run([*valgrind, *program, *arms], env=environment, capture_output=True, text=True, check=False)
        if ran.returncode != 0:
            raise RuntimeError(ran.stderr)
        dumps = [(folder / f"out.{number}").read_text() for number in range(1, len(arms) + 1)]
    totals = [re.search(r"^(?:totals|summary): (\d+)", dump, re.MULTILINE) for dump in dumps]
    return {arm: int(total[1]) / WORKFLOWS for arm, total in zip(arms, totals, strict=True) if total}


def run(library: str, arms: list[str]) -> None:
    """Run each arm, and let callgrind count some workflows of it."""
    import structlog

    from tests.bench.cpu import ARMS

    logging.disable(logging.CRITICAL)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    switch = ctypes.CDLL(library)

    async def workflows(system: Any, number: int) -> None:
        active = system.orchestrator.active_workflows
        for _ in range(number):
            transaction = await system.orchestrator.execute_workflow("order_processing", {"order": 1})
            while transaction in active:
                await asyncio.sleep(0)

    async def counted(system: Any) -> None:
        await system.manager.start()
        await system.orchestrator.start()
        await workflows(system, WARM_UP)
        switch.start()
        await workflows(system, WORKFLOWS)
        switch.stop()
        await system.manager.stop()
        await system.bus.stop()

    for arm in arms:
        with ARMS[arm]() as system:
            gc.collect()
            gc.freeze()
            asyncio.run(counted(system))
            gc.unfreeze()


def main() -> int:
    """Print the table; with ``--check`` return 1 where an arm needs more than is allowed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail where an arm needs 10 %% more than recorded")
    parser.add_argument("--run", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run:
        run(arguments.run[0], arguments.run[1:])
        return 0
    counts = count(["bare", "floor", *RECORDED])
    bare, floor = counts.pop("bare"), counts["floor"]
    print(f"bare three-step workflow: {bare / 1000:.0f} k instructions")
    failed = []
    for arm, instructions in counts.items():
        ratio, added = instructions / bare, (instructions - bare) / (floor - bare)
        recorded = RECORDED.get(arm)
        known = f"(recorded {recorded:.2f})" if recorded else ""
        print(f"{arm:25} {instructions / 1000:8.0f} k   x bare {ratio:5.2f} {known:16}  added / floor {added:5.2f}")
        if recorded and ratio > recorded * TOLERANCE:
            failed.append(arm)
    if arguments.check and failed:
        print(f"more than {TOLERANCE:.0%} of what is recorded: {', '.join(failed)}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
