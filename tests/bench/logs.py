"""What a log record costs: microseconds of the event loop's thread, and of the whole process, for each."""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from typing import Any, Final

from multiagents.monitoring import FileLogger as FrameworksFileLogger
from opentelemetry.sdk._logs import LoggerProvider

from multiagents_otel import CompositeLogger, FileLogger, OtelLogger

RECORDS: Final = 2_000
ROUNDS: Final = 7


async def measure(logger: Any, level: str) -> tuple[float, float]:
    """The best of several rounds, each of them closed: (loop, process) in microseconds a record."""
    best = (float("inf"), float("inf"))
    for _ in range(ROUNDS):
        process, thread = time.process_time(), time.thread_time()
        for _ in range(RECORDS):
            await getattr(logger, level)(
                "Worker command completed", worker_type="charge", command_id=str(thread), processing_time=0.1
            )
        on_loop = time.thread_time() - thread
        await logger.close()
        best = min(best[0], on_loop), min(best[1], time.process_time() - process)
    return best[0] / RECORDS * 1e6, best[1] / RECORDS * 1e6


async def run() -> None:
    otel = OtelLogger(logger_provider=LoggerProvider(shutdown_on_exit=False))
    rows: list[tuple[str, Any, str]] = [
        ("FileLogger", FileLogger("ours.log"), "info"),
        ("FileLogger, below its level", FileLogger("ours.log"), "debug"),
        ("OtelLogger", otel, "info"),
        ("both, as the framework is given them", CompositeLogger([FileLogger("ours.log"), otel]), "info"),
        ("the framework's own FileLogger", FrameworksFileLogger("theirs.log"), "info"),
    ]
    for name, logger, level in rows:
        loop, process = await measure(logger, level)
        print(f"{name:45} {loop:6.1f} us of the loop's thread, {process:6.1f} us of CPU a record")


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        os.chdir(directory)
        asyncio.run(run())
        os.chdir("/")


if __name__ == "__main__":
    main()
