"""An environment without options, and what is logged about them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from multiagents_otel.config import sources

Told = Callable[[], list[str]]
Write = Callable[..., Path]


@pytest.fixture(autouse=True)
def no_options(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in list(os.environ):
        if variable.startswith(("MULTIAGENT", "OTEL_PYTHON_MULTIAGENTS_")):
            monkeypatch.delenv(variable)
    monkeypatch.setattr(sources, "_told", set())


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> Iterator[Told]:
    """The errors that have been logged since it was last asked."""

    def take() -> list[str]:
        messages = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
        caplog.clear()
        return messages

    yield take
    assert take() == [], "an error was logged that nobody asked for"


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a configuration file; its path."""

    def written(text: str | bytes, name: str = "monitoring.yaml") -> Path:
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return written
