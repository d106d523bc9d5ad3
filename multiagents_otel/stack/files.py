"""Where the pipeline's files are: beside the package in a checkout, inside it when it was installed from a wheel."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]


def folder() -> Path:
    """The folder ``collector-config``. FileNotFoundError: this installation does not hold it."""
    for candidate in (_PACKAGE / "stack" / "collector-config", _PACKAGE.parent / "collector-config"):
        if candidate.is_dir():
            return candidate
    raise FileNotFoundError("this installation of multiagents-otel does not hold collector-config")
