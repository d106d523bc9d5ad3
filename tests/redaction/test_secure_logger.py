"""SecureLogger as in the guide, in front of the framework's loggers and of others."""

from __future__ import annotations

import io
import json
import pickle
import traceback
from contextlib import redirect_stdout
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from multiagents.monitoring.interfaces import LogLevel
from multiagents.monitoring.loggers.console_logger import ConsoleLogger
from multiagents.monitoring.loggers.file_logger import FileLogger

from multiagents_otel import SecureLogger
from multiagents_otel.processing.redaction import REDACTED


class Kept:
    """A logger that keeps its calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.closed = 0

    async def log(self, level: Any, message: str, **kwargs: Any) -> None:
        self.calls.append(("log", level, message, kwargs))

    async def info(self, message: str, **kwargs: Any) -> None:
        self.calls.append(("info", message, kwargs))

    async def error(self, message: str, error: Any = None, **kwargs: Any) -> None:
        self.calls.append(("error", message, error, kwargs))

    def warning(self, message: str) -> None:
        self.calls.append(("warning", message))

    async def close(self) -> None:
        self.closed += 1


CONTEXT = {"user": "ann", "api_key": "canary", "nested": {"password": "canary", "n": 1}, "note": "token=canary"}
CLEAN = {"user": "ann", "api_key": REDACTED, "nested": {"password": REDACTED, "n": 1}, "note": f"token={REDACTED}"}


async def test_standard_access_hands_on_the_context_without_its_secrets() -> None:
    base = Kept()
    await SecureLogger(base).log("INFO", "paid with token=canary", **CONTEXT)
    await SecureLogger(base, access_level="standard").info("paid", **CONTEXT)
    assert base.calls == [("log", "INFO", f"paid with token={REDACTED}", CLEAN), ("info", "paid", CLEAN)]


async def test_a_misspelt_access_level_is_standard_as_in_the_guide_and_told(caplog: pytest.LogCaptureFixture) -> None:
    base = Kept()
    SecureLogger(base), SecureLogger(base, "Restricted")
    assert caplog.messages == []
    await SecureLogger(base, "restrictd").info("paid", **CONTEXT)
    assert base.calls == [("info", "paid", CLEAN)]
    assert caplog.messages == [
        "SecureLogger: access_level is 'standard' or 'restricted', not 'restrictd': the context is handed on"
    ]


async def test_restricted_access_hands_on_no_context_at_all() -> None:
    base = Kept()
    logger = SecureLogger(base, "restricted")
    await logger.log("INFO", "paid with token=canary", **CONTEXT)
    await logger.error("failed", ValueError("canary"), **CONTEXT)
    await logger.error("failed", error=ValueError("canary"))
    assert base.calls == [
        ("log", "INFO", f"paid with token={REDACTED}", {}),
        ("error", "failed", None, {}),
        ("error", "failed", None, {}),
    ]


async def test_a_subclass_as_the_guide_writes_it_works_with_a_message_given_twice() -> None:
    class Guide(SecureLogger):
        async def log(self, level: Any, message: Any = "", *args: Any, **kwargs: Any) -> None:
            stamped = {"timestamp": datetime(2024, 5, 1).isoformat(), **kwargs}
            await super().log(level, message, **stamped)

    base = Kept()
    await Guide(SecureLogger(base)).log("INFO", "paid", token="canary")
    logger = SecureLogger(base)
    kwargs = {"message": "paid", "timestamp": "2024-05-01"}
    await logger.log("INFO", **kwargs)
    assert base.calls == [
        ("log", "INFO", "paid", {"timestamp": "2024-05-01T00:00:00", "token": REDACTED}),
        ("log", "INFO", "paid", {"timestamp": "2024-05-01"}),
    ]


async def test_methods_that_are_not_async_and_the_logger_s_own_ones_work_too() -> None:
    base = Kept()
    logger = SecureLogger(base)
    await logger.warning("token=canary")
    await logger.close()
    assert base.calls == [("warning", f"token={REDACTED}")]
    assert (base.closed, logger.calls) == (1, base.calls)
    assert pickle.loads(pickle.dumps(logger)).access_level == "standard"


def _raised() -> Exception:
    try:
        try:
            raise LookupError("password=canary")
        except LookupError as cause:
            raise ValueError("declined") from cause
    except ValueError as error:
        return error


async def test_an_exception_keeps_its_looks_and_loses_its_secrets_its_cause_s_too() -> None:
    base = Kept()
    given = _raised()
    await SecureLogger(base).error("failed", error=given)
    await SecureLogger(base).error("failed", harmless := ValueError("declined"))
    (_, _, told, _), (_, _, same, _) = base.calls
    assert same is harmless
    assert (type(told).__name__, str(told), str(given.__cause__)) == ("ValueError", "declined", "password=canary")
    lines = traceback.format_exception(told)
    assert "".join(lines).count("canary") == "".join(traceback.format_exception(given)).count("canary") - 1
    assert f"LookupError: password={REDACTED}\n" in lines


@pytest.mark.parametrize("level", ["info", "INFO", LogLevel.INFO])
async def test_the_framework_s_own_loggers_take_what_they_would_fail_on(level: Any, tmp_path: Path) -> None:
    path = tmp_path / "app.log"
    base = FileLogger(str(path))
    logger = SecureLogger(base)
    await logger.log(level, "paid", **CONTEXT)
    await logger.log(level, "paid", {"password": "canary"}, ValueError("token=canary"))
    await logger.error("failed", error="token=canary", order=7)
    await logger.critical("failed", _raised(), order=8)
    await logger.close()
    text = path.read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    assert [(line["level"], line["message"]) for line in lines] == [
        ("INFO", "paid"), ("INFO", "paid"), ("ERROR", "failed"), ("CRITICAL", "failed"),
    ]  # fmt: skip
    assert text.count(REDACTED) >= 6
    assert "canary" not in text.replace('raise LookupError(\\"password=canary\\")', "")


async def test_it_stands_in_for_the_logger_of_the_framework_s_parts() -> None:
    output = io.StringIO()
    with redirect_stdout(output):
        await SecureLogger(ConsoleLogger(use_colors=False), "restricted").info("paid", password="canary")
    assert "paid" in output.getvalue()
    assert "canary" not in output.getvalue()


@pytest.mark.faults
async def test_whatever_the_logger_behind_it_does_nothing_is_raised() -> None:
    class Fails:
        def __getattr__(self, name: str) -> Any:
            raise RuntimeError(name)

    logger = SecureLogger(Fails())
    for call in (logger.debug, logger.info, logger.warning, logger.error, logger.critical):
        await call("text", key="value")
    await logger.log("INFO", "text")
    await logger.log("no level", object())
    await logger.close()
