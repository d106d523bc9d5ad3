"""Where the pipeline's files are: beside the package in a checkout, inside it when it was installed from a wheel."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

_HERE = Path(__file__).resolve().parent

_NOT_SHIPPED: Final = ("__pycache__", "secrets", "certs", "collector-storage", "prometheus-data", "alertmanager-data")
"""What running the pipeline needs and leaves beside the files. What begins with a dot isn't shipped either."""


QUEUE_CHECK: Final = "check-queue"
"""Script that puts a Collector's damaged queue files aside; it runs where the package is not installed."""


def folder() -> Path:
    """The folder ``collector-config``. FileNotFoundError: this installation does not hold it."""
    for candidate in (_HERE / "collector-config", _HERE.parents[2] / "collector-config"):
        if candidate.is_dir():
            return candidate
    raise FileNotFoundError("this installation of multiagents-otel does not hold collector-config")


def read() -> dict[str, str]:
    """The text of each file of ``folder()``, by its path in it (``prometheus/prometheus.yaml``), sorted."""
    top = folder()
    return {path.relative_to(top).as_posix(): path.read_bytes().decode() for path in sorted(_shipped(top))}


def _shipped(top: Path) -> Iterator[Path]:
    for path in top.iterdir():
        if path.name.startswith(".") or path.name in _NOT_SHIPPED:
            continue
        if path.is_dir():
            yield from _shipped(path)
        else:
            yield path
