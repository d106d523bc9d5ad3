"""Runs first in a program that the doctor starts, and has it examined; then the environment's own sitecustomize."""

import contextlib
import importlib
import os
import sys

_here = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120 - pathlib costs every program more
sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry or ".") != _here]  # noqa: PTH100
_this = sys.modules.pop("sitecustomize")
with contextlib.suppress(ImportError):
    importlib.import_module("sitecustomize")
sys.modules.setdefault("sitecustomize", _this)  # the import of this one is not over

from multiagents_otel.cli.doctor import report  # noqa: E402

report.install()
