"""The loggers as a program calls them: the framework's way, the guide's way, and every other way."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import shutil
import threading
import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import psutil
import pytest
from multiagents.monitoring import ConsoleLogger as FrameworksConsoleLogger
from multiagents.monitoring import FileLogger as FrameworksFileLogger
from multiagents.monitoring.interfaces import ILogger, LogLevel
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.trace import TracerProvider

from multiagents_otel import CompositeLogger, ConsoleLogger, FileLogger, MultiAgentsInstrumentor, OtelLogger
from multiagents_otel.logs import create_logger
from multiagents_otel.logs.record import Record
from multiagents_otel.logs.writer import MOST_RECORDS, writer_for
from multiagents_otel.processing.redaction import REDACTED, Redactor, use
from tests.logs.exported import Exported
from tests.logs.lines import entries, messages
from tests.support.deadline import DEADLINE
from tests.support.services import wait_until

LEVELS = ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


async def call_all(logger: Any) -> None:
    for level in LEVELS:
        await getattr(logger, level.lower())(level)


# --- levels --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "level", ["warning", "WARNING", " Warning ", "warn", LogLevel.WARNING, logging.WARNING, 35], ids=repr
)
async def test_a_level_may_be_given_as_a_word_an_enum_or_a_number(tmp_path: Path, level: Any) -> None:
    logger = FileLogger(tmp_path / "a.log", min_level=level)
    await call_all(logger)
    await logger.log(level, "again")
    await logger.close()
    assert [(entry["level"], entry["message"]) for entry in entries(tmp_path / "a.log")] == [
        ("WARNING", "WARNING"),
        ("ERROR", "ERROR"),
        ("CRITICAL", "CRITICAL"),
        ("WARNING", "again"),
    ]


@pytest.mark.parametrize("level", ["loud", None, True, -1, 1.5, LogLevel], ids=repr)
def test_a_level_that_does_not_exist_is_refused_where_a_programmer_reads_it(tmp_path: Path, level: Any) -> None:
    with pytest.raises(ValueError, match="DEBUG, INFO, WARNING, ERROR, CRITICAL"):
        FileLogger(tmp_path / "a.log", min_level=level)


async def test_a_level_that_does_not_exist_counts_as_INFO_in_a_call(tmp_path: Path) -> None:
    logger = FileLogger(tmp_path / "a.log")
    await logger.log("loud", "heard")
    await logger.close()
    assert [(entry["level"], entry["message"]) for entry in entries(tmp_path / "a.log")] == [("INFO", "heard")]


# --- what a line holds ---------------------------------------------------------------------------


async def test_a_line_has_what_the_frameworks_own_has_and_the_ids(tmp_path: Path) -> None:
    theirs, ours = FrameworksFileLogger(str(tmp_path / "theirs.log")), FileLogger(tmp_path / "ours.log")
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("test")
    before = datetime.now(timezone.utc)
    with tracer.start_as_current_span("span", attributes={"workflow.transaction_id": "TX-1"}) as span:
        for logger in (theirs, ours):
            try:
                raise KeyError("order")
            except KeyError as error:
                await logger.error("Worker command failed", error=error, worker_type="charge", processing_time=0.25)
            await logger.info("Event published", event_id="e-1")
            await logger.log(LogLevel.WARNING, "by hand", {"a": 1})
            await logger.close()
    context = span.get_span_context()
    ids = {
        "trace_id": f"{context.trace_id:032x}",
        "span_id": f"{context.span_id:016x}",
        "trace_flags": f"{int(context.trace_flags):02x}",
        "workflow.transaction_id": "TX-1",
    }
    expected, found = entries(tmp_path / "theirs.log"), entries(tmp_path / "ours.log")
    assert len(expected) == len(found) == 3
    for theirs_entry, ours_entry in zip(expected, found, strict=True):
        for entry in (theirs_entry, ours_entry):
            stamp = entry.pop("timestamp")
            assert stamp.endswith("Z")
            assert before <= datetime.fromisoformat(f"{stamp[:-1]}+00:00") <= datetime.now(timezone.utc)
        assert ours_entry == {**theirs_entry, **ids}


async def test_caller_info_is_the_applications_own_line(tmp_path: Path) -> None:
    logger = CompositeLogger([FileLogger(tmp_path / "a.log", include_caller_info=True)])
    await logger.info("here")
    await logger.close()
    file, _, place = entries(tmp_path / "a.log")[0]["caller"].rpartition(":")
    assert file == __file__
    assert place.split()[1] == "test_caller_info_is_the_applications_own_line"
    assert Path(__file__).read_text().splitlines()[int(place.split()[0]) - 1].strip() == 'await logger.info("here")'


async def test_text_lines_are_one_line_each_and_name_the_ids(tmp_path: Path) -> None:
    logger = FileLogger(tmp_path / "a.log", json_format=False)
    await logger.warning("forged\nline \x1b[31m", a=1, nested={"b": [1]})
    await logger.error("failed", error="a text", transaction_id="TX-2")
    await logger.close()
    first, second = (tmp_path / "a.log").read_text().splitlines()
    assert first.partition(" - ")[2] == r'multiagents - WARNING - forged\nline \x1b[31m | a=1 | nested={"b": [1]}'
    assert second.partition(" - ")[2] == (
        "multiagents - ERROR - failed | transaction_id=TX-2 | ERROR: a text | workflow.transaction_id=TX-2"
    )


@pytest.mark.parametrize("json_format", [True, False])
async def test_metadata_may_be_left_out(tmp_path: Path, json_format: bool) -> None:
    logger = FileLogger(tmp_path / "a.log", json_format=json_format, include_metadata=False)
    await logger.info("bare", answer="hidden")
    await logger.close()
    assert "hidden" not in (tmp_path / "a.log").read_text()


def test_they_are_loggers_of_the_frameworks_kind(tmp_path: Path) -> None:
    file = FileLogger(tmp_path / "a.log")
    assert all(isinstance(each, ILogger) for each in (file, ConsoleLogger(), OtelLogger(), CompositeLogger([file])))


# --- ways to call it -----------------------------------------------------------------------------


async def test_every_way_to_give_message_metadata_and_error_is_understood(tmp_path: Path) -> None:
    logger = FileLogger(tmp_path / "a.log")
    error = ValueError("boom")
    await logger.log("info", "m", {"a": 1}, error)
    await logger.log("info", "m", metadata={"a": 1}, error=error)
    await logger.log("info", "m", a=1, error=error)
    await logger.log("info", message="m", a=1, error=error)
    await logger.log("info", "m", None, error, a=1)
    await logger.close()
    found = entries(tmp_path / "a.log")
    for entry in found:
        del entry["timestamp"]
    assert found == [
        {
            "level": "INFO",
            "message": "m",
            "component": "multiagents",
            "metadata": {"a": 1},
            "error": {"type": "ValueError", "message": "boom", "traceback": "ValueError: boom\n"},
        }
    ] * len(found)
    assert len(found) == 5


@pytest.mark.parametrize("access_level", ["standard", "restricted"])
async def test_the_guides_own_SecureLogger_works_on_ours(tmp_path: Path, access_level: str) -> None:
    class SecureLogger:  # as the guide has it
        def __init__(self, base_logger: Any, access_level: str = "standard") -> None:
            self.base_logger = base_logger
            self.access_level = access_level

        async def log(self, level: Any, message: str, **kwargs: Any) -> None:
            if self.access_level == "restricted":
                kwargs = {"message": message, "timestamp": "2026-01-01T00:00:00"}
            await self.base_logger.log(level, message, **kwargs)

    logger = FileLogger(tmp_path / "a.log")
    await SecureLogger(logger, access_level).log("info", "paid", customer="c-1")
    await logger.close()
    (entry,) = entries(tmp_path / "a.log")
    assert entry["message"] == "paid"
    restricted = {"timestamp": "2026-01-01T00:00:00"}
    assert entry["metadata"] == (restricted if access_level == "restricted" else {"customer": "c-1"})


class Unprintable:
    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


class BrokenDict(dict[Any, Any]):
    def items(self) -> Any:
        raise RuntimeError("no items")


def cycle() -> list[Any]:
    circle: list[Any] = [1]
    circle.append(circle)
    return circle


AWKWARD: dict[str, Any] = {
    "unprintable": Unprintable(),
    "broken": BrokenDict(a=1),
    "cycle": cycle(),
    "deep": json.loads("[" * 500 + "]" * 500),
    "wide": {str(number): [number] * 50 for number in range(5_000)},
    "long": "x" * 5_000_000,
    "surrogate": "a\ud800b",
    "nul": "a\x00b",
    "bytes": b"\xff",
    "nan": float("nan"),
    "huge int": 10**6_000,
    "keys": {1: "a", None: "b", Unprintable(): "c"},
    "set": {1},
    "generator": (number for number in range(3)),
    "class": Unprintable,
    "exception": ValueError(Unprintable()),
}


@pytest.mark.parametrize("json_format", [True, False])
@pytest.mark.parametrize("name", AWKWARD)
async def test_no_value_raises_or_makes_a_line_that_is_none(tmp_path: Path, name: str, json_format: bool) -> None:
    value = AWKWARD[name]
    exported = Exported()
    logger = CompositeLogger(
        [
            FileLogger(tmp_path / "a.log", json_format=json_format),
            ConsoleLogger(json_format, output_stream=io.StringIO(), error_stream=io.StringIO()),
            OtelLogger(logger_provider=exported.provider),
        ]
    )
    await logger.info("field", value=value)
    await logger.info(value)
    await logger.log(value, "level")
    await logger.error("error", value)
    await logger.error("error", error=value)
    await logger.log("info", "metadata", value, value)
    await logger.close()
    assert logger.dropped == 0
    lines = (tmp_path / "a.log").read_text("utf-8").splitlines()
    assert len(lines) == len(exported.logs) == 6
    assert max(map(len, lines)) < 300_000
    if json_format:
        assert [json.loads(line)["level"] for line in lines].count("ERROR") == 2


async def test_what_is_logged_is_what_it_was_at_the_call(tmp_path: Path) -> None:
    logger = FileLogger(tmp_path / "a.log")
    order = {"items": [1]}
    await logger.info("order", order=order)
    order["items"].append(2)
    await logger.close()
    assert entries(tmp_path / "a.log")[0]["metadata"] == {"order": {"items": [1]}}


# --- secrets -------------------------------------------------------------------------------------


async def test_secrets_are_scrubbed_wherever_a_record_holds_them(tmp_path: Path) -> None:
    console, exported = io.StringIO(), Exported()
    logger = CompositeLogger(
        [
            FileLogger(tmp_path / "a.log"),
            ConsoleLogger(output_stream=console, error_stream=console),
            OtelLogger(logger_provider=exported.provider),
        ]
    )
    secret = "hunter2-canary"
    await logger.error(
        f"password={secret}",
        error=ValueError(f"api_key={secret}"),
        password=secret,
        nested={"token": [secret], "url": f"redis://u:{secret}@h"},
        text=f"Authorization: Bearer {secret}1A",
    )
    await logger.error("text", error=f"secret={secret}")
    await logger.close()
    told = (tmp_path / "a.log").read_text() + console.getvalue() + repr([vars(log) for log in exported.logs])
    assert secret not in told
    assert told.count(REDACTED) > 10


# --- console -------------------------------------------------------------------------------------


@pytest.mark.parametrize("no_color", [False, True])
async def test_colours_are_for_terminals_only(no_color: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if no_color:
        monkeypatch.setenv("NO_COLOR", "1")
    else:
        monkeypatch.delenv("NO_COLOR", raising=False)
    for stream, colours in ((Terminal(), not no_color), (io.StringIO(), False)):
        logger = ConsoleLogger(min_level="DEBUG", output_stream=stream, error_stream=stream)
        await call_all(logger)
        await logger.close()
        assert len(stream.getvalue().splitlines()) == 5
        assert stream.getvalue().count("\x1b[") == (10 if colours else 0)


async def test_console_lines_read_as_the_frameworks_own() -> None:
    theirs, ours = io.StringIO(), io.StringIO()
    for logger in (
        FrameworksConsoleLogger(output_stream=theirs, error_stream=theirs),
        ConsoleLogger(output_stream=ours, error_stream=ours),
    ):
        await logger.info("Event published", event_type="command.a", size=3)
        await logger.error("failed", error=ValueError("boom"), worker="w")
        await logger.close()

    def without_time(stream: io.StringIO) -> list[str]:
        return [line.partition("] ")[2] for line in stream.getvalue().splitlines()]

    assert without_time(ours) == without_time(theirs)


async def test_errors_go_to_standard_error_and_the_rest_to_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    logger = ConsoleLogger(json_format=True, min_level="DEBUG")
    await call_all(logger)
    await logger.close()
    captured = capsys.readouterr()
    assert [json.loads(line)["level"] for line in captured.out.splitlines()] == LEVELS[:3]
    assert [json.loads(line)["level"] for line in captured.err.splitlines()] == LEVELS[3:]


# --- what can't be written -----------------------------------------------------------------------


class Stuck(io.StringIO):
    """A stream that takes nothing until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.taken, self.go = threading.Event(), threading.Event()

    def write(self, text: str) -> int:
        self.taken.set()
        self.go.wait()
        return super().write(text)


async def test_a_stream_that_is_stuck_holds_up_nobody_and_what_is_dropped_is_counted_and_told() -> None:
    stream = Stuck()
    logger = ConsoleLogger(json_format=True, output_stream=stream)
    await logger.info("first")
    assert await asyncio.to_thread(stream.taken.wait, 10)
    before = logger.dropped  # of others as well, that write to this process's stderr
    for number in range(MOST_RECORDS + 25):
        await logger.info(str(number))
    assert logger.dropped - before == 25
    stream.go.set()
    await logger.close()  # it waits for two seconds at most: 10,000 lines may take longer on a busy machine
    await asyncio.to_thread(wait_until, lambda: "were dropped" in stream.getvalue(), "the last line is written")
    found = [json.loads(line)["message"] for line in stream.getvalue().splitlines()]
    assert found[:-1] == ["first", *map(str, range(MOST_RECORDS))]
    assert found[-1].startswith("25 log records were dropped")


@pytest.mark.parametrize("full", [True, False], ids=["disk full", "a directory is there"])
async def test_a_file_that_can_not_be_written_is_told_once_and_counted(
    full: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    logger = FileLogger("/dev/full" if full else tmp_path)
    for _ in range(2):
        await logger.info("lost")
        await logger.close()
    assert logger.dropped == 2
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("multiagents_otel", "WARNING")
    assert "1 log records could not be written" in record.getMessage()


async def test_a_log_that_never_stops_growing_is_written_all_the_same() -> None:
    written: list[int] = []

    class Sink:
        def write(self, lines: list[str]) -> None:
            written.append(len(lines))

        def close(self) -> None:
            pass

    more = iter(range(5_000))

    def render(record: Record) -> str:
        if next(more, None) is not None:
            writer.put(record, render)  # whoever logs is as quick as whoever writes
        return "line"

    writer = writer_for("never stops", "never stops", Sink)
    writer.put(Record(logging.INFO, ("on",), {}), render)
    await writer.written()
    writer.release()
    assert sum(written) == 5_001
    assert max(written) <= 1_000


async def test_a_file_that_can_not_be_rotated_loses_no_line_and_no_older_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "a.log.2" / "full").mkdir(parents=True)  # nothing can be put in its place
    (tmp_path / "a.log.1").write_text("older")
    logger = FileLogger(tmp_path / "a.log", max_bytes=500, backup_count=2)
    for number in range(30):
        await logger.info(str(number))
        await logger.close()
    lines = (tmp_path / "a.log").read_text().splitlines()
    assert [json.loads(line)["message"] for line in lines] == [*map(str, range(30))]
    assert (tmp_path / "a.log.1").read_text() == "older"
    assert logger.dropped == 0
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("multiagents_otel", "WARNING")
    assert "can't be rotated" in record.getMessage()


async def test_after_a_rotation_that_was_broken_off_no_older_file_is_lost(tmp_path: Path) -> None:
    for number in (1, 3):  # killed after 2 became 3
        (tmp_path / f"a.log.{number}").write_text(str(number))
    (tmp_path / "a.log").write_text("x" * 500 + "\n")
    logger = FileLogger(tmp_path / "a.log", max_bytes=500, backup_count=3)
    await logger.info("new")
    await logger.close()
    told = {file.name: file.read_text()[:1] for file in sorted(tmp_path.iterdir())}
    assert told == {"a.log": "{", "a.log.1": "x", "a.log.2": "1", "a.log.3": "3"}


async def test_loggers_that_come_and_go_leave_no_file_open(tmp_path: Path) -> None:
    def still_open() -> list[str]:
        return [file.path for file in psutil.Process().open_files() if file.path.startswith(str(tmp_path))]

    async def until(done: Callable[[], bool]) -> None:
        deadline = time.monotonic() + DEADLINE
        while not done() and time.monotonic() < deadline:
            await asyncio.sleep(0.01)

    threads = psutil.Process().num_threads()
    kept = []
    for number in range(10):
        logger = FileLogger(tmp_path / f"{number}.log")
        await logger.info("on")
        del logger
        kept.append(FileLogger(tmp_path / f"{number}.log"))  # comes while the first one's thread is ending
    await until(lambda: psutil.Process().num_threads() <= threads)
    kept.clear()
    await until(lambda: not still_open())
    assert not still_open()
    assert messages(tmp_path / "0.log") == messages(tmp_path / "9.log") == ["on"]


async def test_a_log_that_is_taken_away_is_made_anew(tmp_path: Path) -> None:
    logger = FileLogger(tmp_path / "deep" / "a.log")
    for _ in range(2):
        await logger.info("on")
        await logger.close()
        assert messages(tmp_path / "deep" / "a.log") == ["on"]
        shutil.rmtree(tmp_path / "deep")


async def test_only_a_file_is_rotated(tmp_path: Path) -> None:
    (tmp_path / "real.log").write_text("")
    (tmp_path / "link.log").symlink_to(tmp_path / "real.log")
    logger = FileLogger(tmp_path / "link.log", max_bytes=200)
    for _ in range(5):
        await logger.info("on")
    await logger.close()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["link.log", "real.log"]
    assert messages(tmp_path / "real.log") == ["on"] * 5


# --- composite -----------------------------------------------------------------------------------


async def test_a_composite_keeps_each_loggers_level_and_serves_the_frameworks_own_too(tmp_path: Path) -> None:
    theirs = FrameworksFileLogger(str(tmp_path / "theirs.log"), min_level=LogLevel.ERROR)
    logger = CompositeLogger(
        [FileLogger(tmp_path / "a.log"), FileLogger(tmp_path / "b.log", min_level="ERROR"), theirs]
    )
    await call_all(logger)
    await logger.error("text", error="as a text")
    await logger.close()
    assert messages(tmp_path / "a.log") == [*LEVELS[1:], "text"]
    assert messages(tmp_path / "b.log") == messages(tmp_path / "theirs.log") == ["ERROR", "CRITICAL", "text"]


async def test_another_loggers_fault_stays_its_own(tmp_path: Path) -> None:
    class Broken:
        def __getattr__(self, _name: str) -> Any:
            raise RuntimeError("broken")

    logger = CompositeLogger([Broken(), FileLogger(tmp_path / "a.log")])
    await logger.info("on")
    await logger.close()
    assert messages(tmp_path / "a.log") == ["on"]


def test_a_composite_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        CompositeLogger([])


# --- OpenTelemetry -------------------------------------------------------------------------------


async def test_an_otel_record_is_whole_and_belongs_to_its_span() -> None:
    exported = Exported()
    logger = OtelLogger("info", logger_provider=exported.provider, include_caller_info=True)
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("test")
    with tracer.start_as_current_span("span", attributes={"workflow.transaction_id": "TX-1"}) as span:
        await logger.debug("too low")
        try:
            raise KeyError("order")
        except KeyError as error:
            await logger.warning(
                "odd", error=error, tags={"a": [1, 2]}, names=["x", "y"], mixed=[1, "a"], count=3, no=None
            )
    (log,) = exported.logs
    context = span.get_span_context()
    assert (log.trace_id, log.span_id, log.trace_flags) == (context.trace_id, context.span_id, context.trace_flags)
    assert (log.body, log.severity_text, log.severity_number.name) == ("odd", "WARN", "WARN")
    attributes = dict(log.attributes)
    assert attributes.pop("exception.stacktrace").startswith("Traceback")
    assert attributes.pop("code.line.number") > 0
    assert attributes == {
        "tags": '{"a": [1, 2]}',
        "names": ("x", "y"),
        "mixed": '[1, "a"]',
        "count": 3,
        "exception.type": "KeyError",
        "exception.message": "'order'",
        "code.file.path": __file__,
        "code.function.name": "test_an_otel_record_is_whole_and_belongs_to_its_span",
        "workflow.transaction_id": "TX-1",
    }


async def test_a_log_processor_that_logs_through_the_same_logger_does_not_go_round_for_ever() -> None:
    class Looping(SimpleLogRecordProcessor):
        def on_emit(self, log_record: Any) -> None:
            coroutine = logger.info("again")
            with pytest.raises(StopIteration):
                coroutine.send(None)
            super().on_emit(log_record)

    exported = Exported(Looping)
    logger = OtelLogger(logger_provider=exported.provider)
    await logger.info("once")
    assert [log.body for log in exported.logs] == ["once"]


async def test_without_a_provider_nothing_happens() -> None:
    logger = OtelLogger(logger_provider=LoggerProvider(shutdown_on_exit=False))
    await logger.info("to nobody")
    assert logger.dropped == 0


# --- configuration -------------------------------------------------------------------------------


class Section:
    def __init__(self, **values: Any) -> None:
        self.__dict__ = values


async def test_a_section_decides_what_is_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made: dict[str, list[str]] = {}
    for kind in ("composite", "file", "console", "otel"):
        path = tmp_path / f"{kind}.log"
        logger = create_logger(Section(default_logger=kind, level="debug", file_path=str(path), json_format=True))
        await call_all(logger)
        await logger.close()
        captured = capsys.readouterr()
        lines = len((captured.out + captured.err).splitlines())
        made[kind] = [f"{len(messages(path))} in the file" if path.exists() else "no file", f"{lines} on the console"]
    assert made == {
        "composite": ["5 in the file", "3 on the console"],
        "file": ["5 in the file", "0 on the console"],
        "console": ["no file", "5 on the console"],
        "otel": ["no file", "0 on the console"],
    }


def test_a_section_may_be_the_frameworks_own(tmp_path: Path) -> None:
    from multiagents.monitoring.config import LoggingConfig

    path = tmp_path / "a.log"
    logger = create_logger(LoggingConfig(default_logger="file", file_path=str(path), max_size_mb=3, backup_count=7))
    assert isinstance(logger, CompositeLogger)
    file = logger.get_loggers()[0]
    assert isinstance(file, FileLogger)
    assert (file.log_file_path, file.max_bytes, file.backup_count, file.level) == (path, 3 * 1024 * 1024, 7, "INFO")


def test_an_unknown_kind_of_logger_is_refused() -> None:
    with pytest.raises(ValueError, match="composite, file, console, otel, not 'syslog'"):
        create_logger(Section(default_logger="syslog"))


async def test_a_line_is_redacted_by_what_is_configured_by_then(tmp_path: Path) -> None:
    async def line(path: Path) -> str:
        logger = FileLogger(path)
        await logger.info("paid", iban="DE00")
        await logger.close()
        return path.read_text()

    assert "DE00" in await line(tmp_path / "before.log")
    MultiAgentsInstrumentor().instrument(redact_keys="iban")
    after = await line(tmp_path / "after.log")
    use(Redactor())
    assert "DE00" not in after


def test_a_path_that_no_file_can_have_has_statistics() -> None:
    assert FileLogger("x\0").get_log_stats()["file_size_bytes"] == 0
