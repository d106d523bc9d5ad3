"""Runs the user's program under the doctor's eyes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from multiagents_otel import startup
from multiagents_otel.diagnostics import report
from multiagents_otel.diagnostics.finding import FAULT, Finding

_GRACE_SECONDS: Final = 15.0


def examine(program: list[str], seconds: float | None) -> Iterator[Finding]:
    """Run a program until it ends, or for some seconds, and give what was found in its processes.

    What it prints goes to stderr, so that stdout is the doctor's own.
    """
    with tempfile.TemporaryDirectory(prefix="multiagents-otel-doctor-") as folder:
        environment = dict(os.environ)
        environment[report.FOLDER] = folder
        if seconds is not None:
            environment[report.SECONDS] = str(seconds)
        environment["PYTHONPATH"] = startup.with_folder(environment.get("PYTHONPATH"))
        status = _run(program, environment, seconds)
        told = report.read(Path(folder))
    if not told:
        yield Finding(
            FAULT,
            "program",
            f"{' '.join(program)} never used multiagents-framework, and ended with {status}",
            "give the command that starts your orchestrator or your workers; it must use this environment's Python",
        )
    seen: set[Finding] = set()
    for findings in told:
        for finding in findings:
            if finding not in seen:
                seen.add(finding)
                yield finding


def _run(program: list[str], environment: dict[str, str], seconds: float | None) -> int:
    process = subprocess.Popen(program, env=environment, stdout=sys.stderr)  # noqa: S603 - the user's own command
    try:
        return process.wait(None if seconds is None else seconds + 1)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        pass
    for end in (signal.SIGINT, signal.SIGTERM):
        process.send_signal(end)
        try:
            return process.wait(_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            continue
    process.kill()
    return process.wait()
