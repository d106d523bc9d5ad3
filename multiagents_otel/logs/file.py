"""A log file, with rotation that several processes may do on one path."""

from __future__ import annotations

import contextlib
import logging
import os
import stat
import time
import weakref
from functools import partial
from pathlib import Path
from typing import Any, Final

from multiagents_otel.core.clock import monotonic
from multiagents_otel.logs.logger import Logger
from multiagents_otel.logs.record import Record
from multiagents_otel.logs.rendering import json_line, text_line
from multiagents_otel.logs.writer import Render, writer_for

fcntl: Any
msvcrt: Any
try:
    import fcntl
except ImportError:  # Windows
    fcntl = None
try:
    import msvcrt
except ImportError:
    msvcrt = None

_logger = logging.getLogger("multiagents_otel")

DEFAULT_PATH: Final = "./logs/multiagents.log"
MEGABYTE: Final = 1024 * 1024

_CLOSED: Final = -1
_LOCK_SECONDS: Final = 1.0
_LOCK_RETRY_SECONDS: Final = 0.005


class LogFile:
    """Appends lines to a file and rotates it; any number of processes may do so on the same path.

    Whoever writes holds an advisory lock on the file, and sees under it whether the file is still the one at the
    path: if another process has rotated it meanwhile, the new one is opened. A lock that can't be had within a
    second (a stopped process, a file system without locks) is done without: what is appended is still whole, only
    rotation waits for another time.

    Where there is no fcntl, an open file can't be renamed: it is open only while lines are written, and the lock is on
    a file beside it, ``.lock``.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._max_bytes = self._backup_count = 0
        self._file = self._guard = _CLOSED
        self._told = False

    def rotate_at(self, max_bytes: int, backup_count: int) -> None:
        """Rotate before the file grows over so many bytes, and keep so many old ones; 0 of either: never."""
        self._max_bytes = max_bytes if backup_count > 0 else 0
        self._backup_count = backup_count

    def write(self, lines: list[str]) -> None:
        """Append lines."""
        self._append([line.encode("utf-8", "replace") + b"\n" for line in lines])

    def _append(self, lines: list[bytes]) -> None:
        try:
            locked = self._open_locked()
            done = 0
            while done < len(lines):
                count = self._fitting(lines, done) if locked else len(lines)
                if count:
                    self._write(lines[done : done + count])
                    done += count
                elif self._rotate():
                    locked = self._open_locked()
                else:
                    locked = False  # better a file that is too long than lines that are lost
        finally:
            self._unlock()
            if fcntl is None:
                self._close_file()

    def _fitting(self, lines: list[bytes], first: int) -> int:
        """How many lines, from the first on, the file has room for."""
        if self._max_bytes <= 0 or not self._is_regular():
            return len(lines)
        size = os.fstat(self._file).st_size
        count = 0
        for line in lines[first:]:
            size += len(line)
            if size > self._max_bytes and size > len(line):  # one that is too long for any file has one to itself
                break
            count += 1
        return count

    def _is_regular(self) -> bool:
        try:
            return stat.S_ISREG(self._path.lstat().st_mode)  # /dev/stdout, say, stays what it is
        except FileNotFoundError:  # taken away this very moment
            return False

    def close(self) -> None:
        """Close the file; it is opened again when it is needed."""
        self._close_file()
        guard, self._guard = self._guard, _CLOSED
        if guard != _CLOSED:
            os.close(guard)

    def _close_file(self) -> None:
        file, self._file = self._file, _CLOSED
        if file != _CLOSED:
            os.close(file)

    def _open_locked(self) -> bool:
        """Have the file at the path open, and locked; False if it could not be locked."""
        deadline = monotonic() + _LOCK_SECONDS
        if fcntl is None:
            locked = self._lock_beside(deadline)
            self._open()
            return locked
        while True:
            if self._file == _CLOSED:
                self._open()
            locked = self._lock(deadline)
            if self._is_current():
                return locked
            self._close_file()

    def _open(self) -> None:
        # On Windows a file that is not binary gets other line ends than those that are written.
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
        try:
            self._file = os.open(self._path, flags, 0o666)
        except FileNotFoundError:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self._path, flags, 0o666)

    def _lock(self, deadline: float) -> bool:
        while True:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            except BlockingIOError:
                if monotonic() >= deadline:
                    return False
                time.sleep(_LOCK_RETRY_SECONDS)
            except OSError:
                return False

    def _lock_beside(self, deadline: float) -> bool:
        if msvcrt is None:
            return True
        while True:
            try:
                if self._guard == _CLOSED:
                    self._path.parent.mkdir(parents=True, exist_ok=True)
                    self._guard = os.open(f"{self._path}.lock", os.O_RDWR | os.O_CREAT, 0o666)
                msvcrt.locking(self._guard, msvcrt.LK_NBLCK, 1)
                return True
            except OSError:
                if self._guard == _CLOSED or monotonic() >= deadline:
                    return False
                time.sleep(_LOCK_RETRY_SECONDS)

    def _unlock(self) -> None:
        with contextlib.suppress(OSError):
            if fcntl is None:
                if msvcrt is not None and self._guard != _CLOSED:
                    msvcrt.locking(self._guard, msvcrt.LK_UNLCK, 1)
            elif self._file != _CLOSED:
                fcntl.flock(self._file, fcntl.LOCK_UN)

    def _is_current(self) -> bool:
        try:
            return os.path.samestat(self._path.stat(), os.fstat(self._file))
        except FileNotFoundError:
            return False

    def _write(self, lines: list[bytes]) -> None:
        if not lines:
            return
        data = memoryview((b"\n" if self._is_torn() else b"") + b"".join(lines))
        while data:
            data = data[os.write(self._file, data) :]

    def _is_torn(self) -> bool:
        """Whether the last line has no end: a process was killed in the midst of it, or the disk was full.

        It is asked under the lock, since without it another process may be about to write the end.
        """
        size = os.fstat(self._file).st_size
        if size == 0:
            return False
        os.lseek(self._file, size - 1, os.SEEK_SET)
        return os.read(self._file, 1) != b"\n"

    def _rotate(self) -> bool:
        """``log`` becomes ``log.1``, ``log.1`` becomes ``log.2``; the oldest goes. False if that can't be done."""
        try:
            if fcntl is None:
                self._close_file()
            # Where a number is free, a rotation was broken off: what is older stays where it is.
            numbers = range(1, self._backup_count)
            free = next((number for number in numbers if not self._backup(number).exists()), self._backup_count)
            for number in range(free - 1, 0, -1):
                self._backup(number).replace(self._backup(number + 1))
            with contextlib.suppress(FileNotFoundError):
                self._path.replace(self._backup(1))
        except OSError as error:
            if not self._told:
                self._told = True
                _logger.warning("%s can't be rotated, it goes on to grow: %s", self._path, type(error).__name__)
            if self._file == _CLOSED:
                self._open()
            return False
        self._told = False
        self._unlock()
        self._close_file()
        return True

    def _backup(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")


class FileLogger(Logger):
    """Writes lines of JSON, or of text, to a file; what is logged is in the file within a moment.

    Each line holds trace id, span id and the workflow's transaction id beside what the framework's own logger
    writes. Loggers of one path share a queue and a thread. A process that ends, by itself or by SIGTERM, writes
    what is queued; one that is killed loses what came within its last 50 ms.
    """

    def __init__(
        self,
        log_file_path: str | os.PathLike[str] | None = None,
        max_bytes: int = 100 * MEGABYTE,
        backup_count: int = 5,
        json_format: bool = True,
        include_metadata: bool = True,
        min_level: object = "INFO",
        *,
        file_path: str | os.PathLike[str] | None = None,
        max_file_size_mb: float | None = None,
        level: object = None,
        include_caller_info: bool = False,
    ) -> None:
        """Make a logger; the file and its directory are made when the first line is written.

        Args:
            log_file_path: default ``./logs/multiagents.log``.
            max_bytes: the file is rotated before it grows over this; 0: never.
            backup_count: how many old files are kept, as ``.1`` (the newest), ``.2``, ...; 0: never rotated.
            json_format: JSON, or text for people.
            include_metadata: write the calls' context too.
            min_level: the least level that is written.
            file_path: the guide's word for ``log_file_path``.
            max_file_size_mb: the guide's word for ``max_bytes``, in MiB.
            level: the guide's word for ``min_level``.
            include_caller_info: write file, line and function of the call.

        Raises:
            ValueError: there is no such level.
        """
        super().__init__(min_level if level is None else level, include_caller_info=include_caller_info)
        path = Path(log_file_path or file_path or DEFAULT_PATH).expanduser()
        self.log_file_path: Final = Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow symlinks
        self.max_bytes: Final = int(max_bytes if max_file_size_mb is None else max_file_size_mb * MEGABYTE)
        self.backup_count: Final = backup_count
        self._render: Render = partial(json_line if json_format else text_line, metadata=include_metadata)
        self._writer = writer_for(self.log_file_path, str(path), lambda: LogFile(self.log_file_path))
        if isinstance(self._writer.sink, LogFile):
            self._writer.sink.rotate_at(self.max_bytes, backup_count)
        weakref.finalize(self, self._writer.release).atexit = False

    @property
    def dropped(self) -> int:
        """Records that were lost, of all loggers of this path: the queue was full, or the file can't be written."""
        return self._writer.dropped + self._faults

    def emit(self, record: Record) -> None:
        """Queue a record."""
        self._writer.put(record, self._render)

    async def close(self) -> None:
        """Wait until everything is in the file, for 2 s at most."""
        await self._writer.written()

    def get_log_stats(self) -> dict[str, Any]:
        """The file's size and what is queued; the framework's logger has the same method."""
        try:
            size = self.log_file_path.stat().st_size
        except (OSError, ValueError):  # a null character in the path
            size = 0
        return {
            "log_file": str(self.log_file_path),
            "file_size_bytes": size,
            "file_size_mb": round(size / MEGABYTE, 2),
            "max_size_mb": round(self.max_bytes / MEGABYTE, 2),
            "backup_count": self.backup_count,
            "min_level": self.level,
            "queue_size": self._writer.queued,
            "dropped": self.dropped,
        }
