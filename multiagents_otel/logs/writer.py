"""What takes records off the caller's hands: a bounded queue, and one thread that empties it.

The caller appends to a deque and is gone: no lock is taken, nothing is rendered. Nothing else is done where a
signal handler, a destructor or another thread calls.
"""

from __future__ import annotations

import _thread
import asyncio
import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Final, Protocol

from multiagents_otel.core.clock import monotonic
from multiagents_otel.core.exporting import EXPORTING
from multiagents_otel.core.forking import on_fork
from multiagents_otel.ending import ENDING, start_thread
from multiagents_otel.logs.record import Record
from multiagents_otel.logs.rendering import text_line
from multiagents_otel.processing.guard import ends_application

_log = logging.getLogger("multiagents_otel")

MOST_RECORDS: Final = 10_000
MOST_CHARACTERS: Final = 32 * 1024 * 1024
GATHERING_SECONDS: Final = 0.05
"""How long the thread gathers records before it writes them: it wakes 20 times a second at most."""

_END_SECONDS: Final = 2.0
_TOLD_EVERY_SECONDS: Final = 60.0
_AT_ONCE: Final = 1_000
_CHARACTERS_AT_ONCE: Final = 4 * 1024 * 1024


Render = Callable[[Record], str]


class Sink(Protocol):
    """Where lines go; called by one thread at a time."""

    def write(self, lines: list[str]) -> None:
        """Write them all, in order; each becomes a line."""

    def close(self) -> None:
        """Let go of what is held; what is written after that opens it again."""


def writer_for(key: object, name: str, make_sink: Callable[[], Sink]) -> Writer:
    """The process's one writer for a place; who asks for it has it until ``release()``.

    Args:
        key: the place: a path, a stream.
        name: of the place, for what the user is told.
        make_sink: makes its sink, if there is none yet.
    """
    on_fork(in_child=_in_child)
    with _lock:
        ENDING.add(_at_end)
        writer = _writers.get(key)
        if writer is None:
            writer = _writers[key] = Writer(key, name, make_sink())
        writer.users += 1
        return writer


class Writer:
    """The queue of one sink, and the thread that empties it; it is there while the queue has users.

    Attributes:
        dropped: records that were lost, because the queue was full or the sink failed.
    """

    def __init__(self, key: object, name: str, sink: Sink) -> None:
        self.sink = sink
        self.users = 0
        self._key = key
        self._name = name
        self._quiet_until = 0.0
        self._render: Render = text_line
        self._start_anew()

    def _start_anew(self) -> None:
        self.dropped = 0
        self._told_dropped = 0
        self._records: deque[tuple[Record, Render]] = deque()
        self._characters = 0
        self._direct = False
        self._writing = threading.Lock()
        self._wake: SimpleQueue[bool | _thread.LockType] = SimpleQueue()
        self._awake = False
        self._running = threading.Lock()  # held by the thread

    @property
    def pending(self) -> bool:
        """Whether there is anything that is not written yet."""
        return bool(self._records) or self._writing.locked()

    @property
    def queued(self) -> int:
        """How many records wait."""
        return len(self._records)

    def release(self) -> None:
        """Have one user less; after the last one the thread writes what is left, closes the sink and ends."""
        with _lock:
            self.users -= 1
            if self.users > 0:
                return
            if not self._running.locked() and self._writing.acquire(blocking=False):
                try:
                    self._let_go()
                finally:
                    self._writing.release()
                return
        if self._running.locked() or self._start():
            self._wake.put(False)

    def _let_go(self) -> None:
        """Close the sink, unless there is a user again; nobody writes meanwhile."""
        with _lock:
            if self.users <= 0:
                if _writers.get(self._key) is self:
                    del _writers[self._key]
                with contextlib.suppress(Exception):
                    self.sink.close()

    def put(self, record: Record, render: Render) -> None:
        """Take a record, and what will make a line of it; it is written within a moment. Never blocks."""
        if len(self._records) >= MOST_RECORDS or self._characters > MOST_CHARACTERS:
            self.dropped += 1
        else:
            self._characters += record.size
            self._records.append((record, render))
        if not self._awake:
            self._awake = True
            self._start()
            self._wake.put(True)
        if self._direct:
            self._direct = self.flush()  # a place that is stuck is waited for once

    def flush(self, timeout: float = _END_SECONDS) -> bool:
        """Write what is queued, in the calling thread; False if somebody else was writing all the time."""
        if not self._writing.acquire(timeout=timeout):
            return False
        try:
            self._write()
        except BaseException as error:  # whatever it is: the thread goes on; nothing waits for what can't be written
            if ends_application(error):
                raise
            self.dropped += len(self._records)
            self._records.clear()
        finally:
            self._writing.release()
        return True

    def write_now(self) -> _thread.LockType | None:
        """Have the thread write what is queued: the lock is released then. None if that is done already."""
        if not self.pending:
            return None
        if not self._running.locked() and not self._start():
            self.flush(0)
            return None
        done = _thread.allocate_lock()
        done.acquire()
        self._wake.put(done)
        return done

    async def written(self, timeout: float = _END_SECONDS) -> None:
        """Wait until what is queued is written, without holding up the event loop."""
        deadline = monotonic() + timeout
        while self.pending and monotonic() < deadline:
            if self._start():
                self._wake.put(True)
            await asyncio.sleep(GATHERING_SECONDS / 5)

    def end(self) -> None:
        """The process ends: whatever comes from now on is written at once."""
        self._direct = True

    def _start(self) -> bool:
        """Start the thread, unless it is there."""
        if not self._running.acquire(blocking=False):
            return False
        if start_thread(self._run, self._wake, self._running):
            ENDING.use()
            return True
        self._running.release()
        self._direct = True
        return False

    def _run(self, wake: SimpleQueue[bool | _thread.LockType], running: threading.Lock) -> None:
        while request := wake.get():
            if request is True:
                time.sleep(GATHERING_SECONDS)
            self._awake = False
            with EXPORTING:
                self.flush(timeout=-1)
            if request is not True:
                request.release()
        running.release()  # whoever puts a record from here on starts another thread
        self._awake = False
        self.flush(timeout=-1)
        with self._writing:
            self._let_go()

    def _write(self) -> None:
        while self._records:
            self._write_some()
        self._characters = 0
        self._write_some()  # what is left to tell of lost ones

    def _write_some(self) -> None:
        """Write records: so few that they are soon in the file, though more come all the time."""
        lines: list[str] = []
        characters = 0
        while self._records and len(lines) < _AT_ONCE and characters < _CHARACTERS_AT_ONCE:
            record, self._render = self._records.popleft()
            characters += record.size
            try:
                lines.append(self._render(record))
            except Exception:
                self.dropped += 1
        self._characters -= characters
        dropped = self.dropped - self._told_dropped
        if dropped and not self._records:  # those that were dropped came after those that wait
            self._told_dropped += dropped
            lines.append(self._render(_note(self._name, dropped)))
        if not lines:
            return
        try:
            self.sink.write(lines)
        except Exception as error:
            self.dropped += len(lines)
            self._told_dropped += len(lines)  # where nothing can be written there is no place to tell
            self._tell(len(lines), error)

    def _tell(self, lost: int, error: Exception) -> None:
        if monotonic() < self._quiet_until:
            return
        self._quiet_until = monotonic() + _TOLD_EVERY_SECONDS
        with contextlib.suppress(Exception):
            _log.warning("%d log records could not be written to %s: %s", lost, self._name, _reason(error))

    def forked(self) -> None:
        """In a forked child: what is queued is its parent's to write, and so is what is open."""
        self._start_anew()
        with contextlib.suppress(Exception):
            self.sink.close()


def _reason(error: Exception) -> str:
    cause = error.strerror if isinstance(error, OSError) else None
    return f"{type(error).__name__}: {cause}" if cause else type(error).__name__


def _note(name: str, dropped: int) -> Record:
    message = f"{dropped} log records were dropped: they came faster than {name} could take them"
    return Record(logging.WARNING, (message,), {"dropped": dropped})


_writers: Final[dict[object, Writer]] = {}
_lock = threading.RLock()  # whoever asks for a writer may be a signal handler


def flush_writers(timeout: float = _END_SECONDS) -> bool:
    """Write all that is queued, side by side; False if a place did not take it in time."""
    deadline = monotonic() + timeout
    asked = [(writer, writer.write_now()) for writer in list(_writers.values())]
    for writer, done in asked:
        # A thread that is about to end writes what is left, and answers nothing.
        while done and not done.acquire(timeout=GATHERING_SECONDS) and writer.pending:
            if monotonic() > deadline:
                return False
    return True


def _at_end(last: bool) -> None:
    """Nothing that is queued is lost where the process ends of itself, or is told to."""
    flush_writers()
    if last:
        for writer in list(_writers.values()):
            writer.end()


def _in_child() -> None:
    global _lock
    _lock = threading.RLock()
    for writer in list(_writers.values()):
        writer.forked()
