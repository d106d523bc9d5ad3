"""A file of OTLP JSON lines, read line by line, and again at the lines that are wanted."""

from __future__ import annotations

import errno
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

STDIN = "-"

_CHUNK = 64 * 1024
_IN_MEMORY = 32 * 1024 * 1024
_LONGEST_LINE = 256 * 1024 * 1024
"""A line beyond this is no batch of spans: a binary file without line ends must not fill the memory."""

_COMPRESSED = {b"\x1f\x8b": "gzip -dc", b"\x28\xb5\x2f\xfd": "zstd -dc"}


class UnreadableFileError(Exception):
    """A file that can't be shown at all; the message is the sentence for the user."""


@dataclass(frozen=True)
class Line:
    """One line that is not blank. ``data`` is None for one that is too long to be read."""

    number: int
    offset: int
    data: bytes | None


class OtlpFile:
    """A file, a pipe or the standard input, opened. A context manager; ``name`` is for messages."""

    def __init__(self, path: str) -> None:
        """Open ``path``, ``-`` being the standard input. Raises UnreadableFileError if it has no lines to read."""
        self.name = "standard input" if path == STDIN else path
        self._stream = _open(path, self.name)
        try:
            _check(self._stream, path, self.name)
        except BaseException:
            self._stream.close()
            raise

    def __enter__(self) -> OtlpFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def lines(self) -> Iterator[Line]:
        """Return the lines that are not blank, from the start."""
        self._stream.seek(0)
        number = offset = 0
        while data := self._stream.readline(_LONGEST_LINE):
            number += 1
            at = offset
            offset += len(data)
            whole = data.endswith(b"\n") or len(data) < _LONGEST_LINE
            if not whole:
                offset += self._skip_line()
            if data.strip():
                yield Line(number, at, data if whole else None)

    def line_at(self, offset: int) -> bytes:
        """Return the line that starts at an offset that ``lines`` has told."""
        self._stream.seek(offset)
        return self._stream.readline()

    def _skip_line(self) -> int:
        skipped = 0
        while data := self._stream.readline(_CHUNK):
            skipped += len(data)
            if data.endswith(b"\n"):
                break
        return skipped


def _open(path: str, name: str) -> IO[bytes]:
    if path == STDIN:
        return _spooled(sys.stdin.buffer, name)
    try:
        stream = Path(path).open("rb")  # noqa: SIM115 - closed by OtlpFile
    except FileNotFoundError:
        raise UnreadableFileError(f"{name}: there is no such file") from None
    except IsADirectoryError:
        raise UnreadableFileError(f"{name}: is a directory, not a file") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise UnreadableFileError(f"{name}: can't be opened: {_reason(error)}") from None
    if stream.seekable():
        return stream
    with stream:
        return _spooled(stream, name)


def _spooled(stream: IO[bytes], name: str) -> IO[bytes]:
    # Lines are read twice, which a pipe does not offer.
    spool: IO[bytes] = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115 - closed by OtlpFile
    try:
        shutil.copyfileobj(stream, spool)
    except OSError as error:
        spool.close()
        raise UnreadableFileError(f"{name}: can't be read: {_reason(error)}") from None
    return spool


def _check(stream: IO[bytes], path: str, name: str) -> None:
    try:
        stream.seek(0)
        head = stream.read(_CHUNK)
    except OSError as error:
        raise UnreadableFileError(f"{name}: can't be read: {_reason(error)}") from None
    if not head.strip():
        raise UnreadableFileError(f"{name}: is empty: nothing has been exported to it yet")
    for magic, command in _COMPRESSED.items():
        if head.startswith(magic):
            raise UnreadableFileError(
                f"{name}: is compressed; show it with: {command} {path} | multiagents-otel show {STDIN}"
            )
    if b"\0" in head:
        raise UnreadableFileError(
            f"{name}: is a binary file, not lines of OTLP JSON (the Collector's file exporter needs format: json)"
        )
    first, _, rest = head.lstrip().partition(b"\n")
    if first.strip() in (b"{", b"[") and rest.strip():
        raise UnreadableFileError(
            f"{name}: is JSON spread over several lines; show it with: jq -c . {path} | multiagents-otel show {STDIN}"
        )


def _reason(error: OSError | ValueError) -> str:
    if isinstance(error, OSError) and error.errno is not None:
        return error.strerror or errno.errorcode.get(error.errno, str(error.errno))
    return str(error)
