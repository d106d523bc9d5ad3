"""Start of telemetry in a process that ``multiagents-otel run`` or ``multiagents-otel doctor`` has started."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from multiagents_otel.config.environment import corrected_environment
from multiagents_otel.diagnostics import report

FOLDER: Final = str(Path(__file__).parent / "site")
"""The folder of our sitecustomize, the first of PYTHONPATH in such a process."""
LAUNCHER: Final = "MULTIAGENTS_OTEL_LAUNCHER"
"""Set by ``multiagents-otel run``."""


def with_folder(path: str | None, folder: str = FOLDER) -> str:
    """Put our sitecustomize first in a PYTHONPATH; all else stays as it is."""
    return os.pathsep.join([folder, *filter(None, [without_folder(path, folder)])])


def without_folder(path: str | None, folder: str = FOLDER) -> str:
    """Take our sitecustomize out of a PYTHONPATH."""
    entries = path.split(os.pathsep) if path else []
    return os.pathsep.join(entry for entry in entries if not entry or os.path.abspath(entry) != folder)  # noqa: PTH100


def start(folder: str) -> None:
    """Start what the launcher and the doctor have asked for; the program starts whatever fails here."""
    try:
        with corrected_environment(), _hidden(folder):
            report.install()
            if os.environ.get(LAUNCHER):
                from opentelemetry.instrumentation.auto_instrumentation import initialize

                initialize()
    except Exception:
        logging.getLogger("multiagents_otel").exception("the program runs without telemetry")


@contextlib.contextmanager
def _hidden(folder: str) -> Iterator[None]:
    """Keep our sitecustomize out of Pythons that the start of telemetry starts; the program's children have it."""
    given = os.environ.get("PYTHONPATH")
    hidden = without_folder(given, folder)
    if hidden:
        os.environ["PYTHONPATH"] = hidden
    else:
        os.environ.pop("PYTHONPATH", None)
    try:
        yield
    finally:
        changed = os.environ.get("PYTHONPATH", "")
        os.environ["PYTHONPATH"] = given if given and changed == hidden else with_folder(changed, folder)
