"""How a program that the doctor has started tells it what was found: a file for each process."""

from __future__ import annotations

import atexit
import json
import os
import threading
from pathlib import Path
from typing import Final

from multiagents_otel.core.forking import on_fork
from multiagents_otel.diagnostics.finding import Finding, from_json

FOLDER: Final = "MULTIAGENTS_OTEL_DOCTOR_FOLDER"
SECONDS: Final = "MULTIAGENTS_OTEL_DOCTOR_SECONDS"
"""Set by ``multiagents-otel doctor`` for the program that it starts."""

_installed = False


def install() -> None:
    """Examine this process when it ends, and after some seconds if the doctor has set them; only for it, and once."""
    global _installed
    if _installed or not os.environ.get(FOLDER):
        return
    _installed = True
    from multiagents_otel.diagnostics import process

    process.listen()
    atexit.register(_write)
    on_fork(in_child=_start_timer)
    _start_timer()


def _start_timer() -> None:
    try:
        timer = threading.Timer(float(os.environ.get(SECONDS, "")), _write)
    except ValueError:
        return  # the doctor sets a number, or none
    timer.daemon = True
    timer.start()


def _write() -> None:
    from multiagents_otel.diagnostics import process

    if not process.concerned():
        return
    folder = Path(os.environ[FOLDER])
    written = folder / f"{os.getpid()}.json"
    try:
        findings = list(process.examine())
        part = written.with_suffix(".part")
        part.write_text(json.dumps(findings), "utf-8")
        part.replace(written)
    except OSError:
        pass  # the doctor has gone


def read(folder: Path) -> list[list[Finding]]:
    """What the processes have told, one list for each, in no order."""
    return [[from_json(row) for row in json.loads(path.read_text("utf-8"))] for path in folder.glob("*.json")]
