"""Output to a terminal, a pipe or a file whose encoding is not UTF-8: nothing raises, what can be shown is shown."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from multiagents_otel.tools import main
from tests.cli.otlp_lines import HAPPY, Call, metrics, point, spans, total, workflow, write
from tests.support.processes import Process

ODD = "Büro 📦 中文 \u202e\udcff"
Printed = Callable[..., str]


@pytest.fixture(params=["ascii", "cp1252", "cp932"])
def printed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Printed:
    monkeypatch.setenv("COLUMNS", "100")

    def run(*argv: str) -> str:
        stream = io.TextIOWrapper(io.BytesIO(), encoding=request.param, errors="strict")
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", stream)
            assert main(argv) == 0
            stream.flush()
        assert isinstance(stream.buffer, io.BytesIO)
        return stream.buffer.getvalue().decode(request.param)

    return run


def test_show(printed: Printed, tmp_path: Path) -> None:
    path = tmp_path / "otlp.jsonl"
    named = total("a.µs", point({"asInt": "5"}, {"place": ODD}))
    write(path, [*HAPPY, spans(replace(workflow(9), name=ODD), Call(10, 9, ODD, 1, 2)), metrics(named)])
    text = printed("show", str(path))
    assert "workflow.order" in text
    assert "B\\xfcro" in text


def test_config(printed: Printed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "Büro 📦")
    printed("config", "check")
    assert "\\U0001f4e6" in printed("config", "export", str(tmp_path / "Büro 📦"))


def test_help(printed: Printed) -> None:
    for command in ([], ["show"], ["report"], ["doctor"], ["run"], ["config"], ["config", "export"]):
        assert "usage: multiagents-otel" in printed(*command, "--help")


def test_a_locale_that_is_not_utf_8_changes_nothing_that_is_read_or_written(tmp_path: Path) -> None:
    code = f"""
    import asyncio, locale, sys
    assert "utf" not in locale.getpreferredencoding().lower(), locale.getpreferredencoding()
    from multiagents_otel import ConsoleLogger, FileLogger, MonitoringConfig
    from multiagents_otel.tools import main
    text = "B\\u00fcro \\U0001f4e6 \\u2500"
    async def log():
        for logger in (FileLogger({str(tmp_path / "app.log")!r}, json_format=False), ConsoleLogger()):
            await logger.info(text)
            await getattr(logger, "close", asyncio.sleep)(*() if hasattr(logger, "close") else (0,))
    asyncio.run(log())
    print("exported", main(["config", "export", {str(tmp_path / "generated")!r}, "--service-name", "shop"]))
    print("doctor", main(["doctor"]))
    """
    environment = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "cp1252"}
    with Process.python(code, env=environment) as process:
        process.wait_ok(60)
    assert "exported 0" in process.output
    assert "Traceback" not in process.output
    assert "Logging error" not in process.output
    assert "Büro 📦 ─" in (tmp_path / "app.log").read_text("utf-8")
    for file in (tmp_path / "generated").rglob("*"):
        if file.is_file():
            file.read_text("utf-8")
