"""Ways out of the process, each with a thread that is ready before the end and flushes it."""

from __future__ import annotations

import _thread
import logging
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any, Final

from multiagents_otel.core.clock import monotonic
from multiagents_otel.core.exporting import EXPORTING
from multiagents_otel.core.forking import on_fork
from multiagents_otel.ending import start_thread
from multiagents_otel.processing.guard import ends_application
from multiagents_otel.processing.redaction import scrub
from multiagents_otel.telemetry.failure import message_of, type_name

_logger = logging.getLogger("multiagents_otel")

_STEP_SECONDS: Final = 0.05
_OWN_SECONDS: Final = 10.0
"""Limit of the time beside waiting for a backend: collecting and encoding, on a machine that is busy."""

_LONGEST: Final = 300
_MOST_CAUSES: Final = 3
_RETRYING: Final = re.compile(r", retrying in [0-9.]+s\b\.?")


class Outlet:
    """A processor or a reader of a provider, or a provider whose parts are unknown.

    Args:
        signal: what it exports: ``traces``, ``metrics``, ``logs``.
        part: has ``force_flush`` and ``shutdown``.
        exporter: a :class:`~multiagents_otel.fork_safe.ProcessExporter`, which knows when it waits for its backend.
    """

    def __init__(self, signal: str, part: Any, exporter: Any = None) -> None:
        self.signal = signal
        self._part = part
        self._exporter = exporter
        self._jobs: SimpleQueue[Job] = SimpleQueue()
        self._running = _thread.allocate_lock()  # held by the thread
        on_fork(in_child=self._forget_thread)

    @property
    def waiting(self) -> bool:
        """Whether a backend is being waited for, as far as is known."""
        return bool(getattr(self._exporter, "waiting", True))

    @property
    def idle(self) -> bool:
        """Whether the thread runs, and no flush is queued."""
        return self._running.locked() and self._jobs.empty()

    def start(self) -> None:
        """Start the thread, unless it runs."""
        if self._running.acquire(blocking=False) and not start_thread(_run, self._jobs, self._running):
            self._running.release()

    def _forget_thread(self) -> None:
        self._jobs, self._running = SimpleQueue(), _thread.allocate_lock()  # a forked child has none

    def flush(self) -> Job:
        """Export all that is queued, in the thread."""
        return self._put("force_flush")

    def close(self) -> Job:
        """Export all that is queued, and shut down."""
        return self._put("shutdown")

    def _put(self, method: str) -> Job:
        job = Job(self, method)
        self.start()
        if not self._running.locked():  # the interpreter starts no thread any more
            job.run()
        else:
            self._jobs.put(job)
        return job

    def call(self, method: str) -> bool:
        """Call a method of the part; False if something could not be exported."""
        failures = getattr(self._exporter, "failures", 0)
        result = getattr(self._part, method, lambda: None)()
        return result is not False and getattr(self._exporter, "failures", 0) == failures


class Job:
    """One flush of one outlet.

    Attributes:
        outlet: the outlet.
        succeeded: whether all has left; None until that is known.
        error: what was raised, in words.
    """

    def __init__(self, outlet: Outlet, method: str) -> None:
        self.outlet = outlet
        self.succeeded: bool | None = None
        self.error = ""
        self._method = method
        self._done = _thread.allocate_lock()
        self._done.acquire()

    def run(self) -> None:
        """Do it, and wake the thread that waits."""
        try:
            with EXPORTING:
                self.succeeded = self.outlet.call(self._method)
        except BaseException as error:  # an exporter or a metric callback may raise anything
            self.succeeded = False
            if ends_application(error):
                raise
            self.error = f"{type_name(error)}: {message_of(error)}"[:_LONGEST]
            _logger.debug("%s could not be flushed: %s", self.outlet.signal, error, exc_info=True)
        finally:
            self._done.release()

    def wait(self, seconds: float) -> bool:
        """Whether it is done, after so long at most."""
        return self.succeeded is not None or self._done.acquire(timeout=seconds)


def _run(jobs: SimpleQueue[Job], running: _thread.LockType) -> None:
    try:
        while True:
            jobs.get().run()
    finally:
        running.release()  # the next flush starts another thread, which takes what is queued


def wait(jobs: Iterable[Job], timeout: float) -> list[Job]:
    """Wait until jobs are done; returns those that are not.

    A job is given up when it has waited for its backend for ``timeout`` seconds. The time that the process needs
    for itself does not count: on a busy machine that may be seconds.
    """
    pending = list(jobs)
    waited = dict.fromkeys(pending, 0.0)
    given_up: list[Job] = []
    began = last = monotonic()
    while pending and last - began < timeout + _OWN_SECONDS:
        pending[0].wait(min(_STEP_SECONDS, max(timeout, 0.001)))
        now = monotonic()
        step, last = min(now - last, 2 * _STEP_SECONDS), now  # longer ones had no processor
        for job in pending:
            waited[job] += step if job.outlet.waiting else 0.0
        pending = [job for job in pending if job.succeeded is None]
        given_up += [job for job in pending if job.outlet.waiting and waited[job] >= timeout]
        pending = [job for job in pending if job not in given_up]
    return given_up + pending


class Causes(logging.Filter):
    """Keeps what exporters and the SDK log during an end, to report it once and without a traceback."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: dict[str, None] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Keep a warning or an error for later."""
        if record.levelno < logging.WARNING:
            return True
        if len(self.texts) < _MOST_CAUSES:
            self.texts[scrub(_cause(record))[:_LONGEST]] = None
        return False

    @contextmanager
    def collect(self) -> Iterator[Causes]:
        """Keep all that is reported inside."""
        known = list(logging.root.manager.loggerDict.items())  # getLogger() would take a lock of logging's
        loggers = [log for name, log in known if name.startswith("opentelemetry.") and isinstance(log, logging.Logger)]
        for logger in loggers:
            logger.addFilter(self)
        try:
            yield self
        finally:
            for logger in loggers:
                logger.removeFilter(self)


def _cause(record: logging.LogRecord) -> str:
    """The error of the operating system behind a record, or its message."""
    arguments = record.args if isinstance(record.args, tuple) else ()
    error: Any = record.exc_info[1] if record.exc_info else None
    for argument in arguments:
        if isinstance(argument, BaseException):
            error = argument
    innermost = error
    for _ in range(10):
        if isinstance(innermost, OSError) and innermost.errno is not None:
            return str(innermost)
        inner = getattr(innermost, "reason", None)
        inner = inner if isinstance(inner, BaseException) else innermost and innermost.__cause__
        innermost = inner or (innermost and innermost.__context__)
    text = _RETRYING.sub("", " ".join(record.getMessage().split()))
    return text if error is None or error in arguments else f"{text}: {type(error).__name__}: {error}"
