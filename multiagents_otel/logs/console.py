"""Log lines on a terminal, or wherever standard output goes."""

from __future__ import annotations

import logging
import os
import sys
import weakref
from functools import partial
from typing import Any, Final

from multiagents_otel.logs.logger import Logger
from multiagents_otel.logs.record import NAMES, Record
from multiagents_otel.logs.rendering import json_line, parts, timestamp_of
from multiagents_otel.logs.writer import Render, Writer, writer_for

_COLOURS: Final = {
    logging.DEBUG: "\033[36m",  # cyan
    logging.INFO: "\033[32m",  # green
    logging.WARNING: "\033[33m",  # yellow
    logging.ERROR: "\033[31m",  # red
    logging.CRITICAL: "\033[35m",  # magenta
}
_RESET: Final = "\033[0m"


class StreamSink:
    """Writes lines to a stream: a given one, or what ``sys`` has under a name when it is written."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, lines: list[str]) -> None:
        """Write lines and flush; no stream (pythonw, a daemon) takes nothing."""
        stream = getattr(sys, self._stream) if isinstance(self._stream, str) else self._stream
        if stream is None:
            return
        text = "".join(f"{line}\n" for line in lines)
        encoding = getattr(stream, "encoding", None) or "utf-8"
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        stream.flush()

    def close(self) -> None:
        """The stream is not ours to close."""


class ConsoleLogger(Logger):
    """Writes to standard output, errors to standard error, in colour on a terminal.

    ``NO_COLOR`` turns colours off. A terminal or pipe that does not read holds up nobody: lines are queued, and
    dropped and counted when the queue is full.
    """

    def __init__(
        self,
        json_format: bool = False,
        include_metadata: bool = True,
        min_level: object = "INFO",
        use_colors: bool = True,
        error_stream: Any = None,
        output_stream: Any = None,
        *,
        level: object = None,
        include_caller_info: bool = False,
    ) -> None:
        """Make a logger.

        Args:
            json_format: JSON, or lines for people.
            include_metadata: write the calls' context too.
            min_level: the least level that is written.
            use_colors: colours, where the stream is a terminal and ``NO_COLOR`` is not set.
            error_stream: takes ERROR and CRITICAL instead of standard error.
            output_stream: takes the others instead of standard output.
            level: the guide's word for ``min_level``.
            include_caller_info: write file, line and function of the call.

        Raises:
            ValueError: there is no such level.
        """
        super().__init__(min_level if level is None else level, include_caller_info=include_caller_info)
        self._json = json_format
        self._metadata = include_metadata
        self._colours = use_colors and not os.environ.get("NO_COLOR")
        self._output = self._writer("stdout" if output_stream is None else output_stream)
        self._errors = self._writer("stderr" if error_stream is None else error_stream)

    def _writer(self, stream: Any) -> tuple[Writer, Render]:
        key = stream if isinstance(stream, str) else id(stream)
        name = f"sys.{stream}" if isinstance(stream, str) else type(stream).__name__
        writer = writer_for(("stream", key), name, lambda: StreamSink(stream))
        weakref.finalize(self, writer.release).atexit = False
        if self._json:
            return writer, partial(json_line, metadata=self._metadata)
        held = getattr(sys, stream, None) if isinstance(stream, str) else stream
        return writer, partial(console_line, metadata=self._metadata, colours=self._colours and _is_terminal(held))

    @property
    def dropped(self) -> int:
        """Records that were lost, of all loggers of these streams."""
        return self._output[0].dropped + self._errors[0].dropped + self._faults

    def emit(self, record: Record) -> None:
        """Queue a record."""
        writer, render = self._output if record.level < logging.ERROR else self._errors
        writer.put(record, render)

    async def close(self) -> None:
        """Wait until everything is written, for 2 s at most to each stream."""
        await self._output[0].written()
        await self._errors[0].written()


def console_line(record: Record, *, metadata: bool, colours: bool) -> str:
    """``[time] LEVEL message | key=value | ...``, as the framework's own logger has it, and the ids."""
    level = NAMES[record.level]
    if colours:
        level = f"{_COLOURS[record.level]}{level}{_RESET}"
    return f"[{timestamp_of(record)}] {level} {' | '.join(parts(record, metadata))}"


def _is_terminal(stream: Any) -> bool:
    try:
        return bool(stream.isatty())
    except Exception:  # closed, or no more than something to write to
        return False
