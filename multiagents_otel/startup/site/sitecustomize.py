"""Runs first in each Python of a program that the launcher or the doctor starts, and gets out of its way.

Its folder is the first of PYTHONPATH. Other interpreters may find it too, which this package is not installed for: it
needs nothing but the standard library, of any version.
"""

import os
import site
import sys

_FOLDER = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120 - pathlib costs every program more


def _run_hidden_sitecustomize() -> None:
    """Run the sitecustomize that Python would have run without this one, as Python does."""
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry or ".") != _FOLDER]  # noqa: PTH100
    this = sys.modules.pop("sitecustomize")
    site.execsitecustomize()
    sys.modules.setdefault("sitecustomize", this)  # the import of this one is not over


def _start_telemetry() -> None:
    # A process of multiprocessing's own, in which nothing of the application runs.
    if any("multiprocessing.resource_tracker" in word for word in getattr(sys, "orig_argv", ())[1:]):
        return
    try:
        from multiagents_otel.startup import start
    except ImportError as error:
        sys.stderr.write("multiagents-otel: %s runs without telemetry: %s\n" % (sys.executable, error))  # noqa: UP031
    else:
        start(_FOLDER)


_run_hidden_sitecustomize()
_start_telemetry()
