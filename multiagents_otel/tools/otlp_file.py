"""A file of OTLP JSON: its documents, and again those that are needed, whatever the file is packed in."""

from __future__ import annotations

import codecs
import errno
import gzip
import os
import shlex
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from multiagents_otel.tools import json_documents
from multiagents_otel.tools.json_documents import Document
from multiagents_otel.tools.json_fields import Json

STDIN = "-"

_CHUNK = 64 * 1024
_IN_MEMORY = 32 * 1024 * 1024

_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)  # what "program > file" writes in Windows PowerShell


class UnreadableFileError(Exception):
    """A file that can't be shown at all; the message is the sentence for the user."""


class OtlpFile:
    """A file, a pipe or the standard input, opened. A context manager.

    Attributes:
        name: for messages.
        damage: what keeps the file from being read to its end, for the user; empty if nothing does.
    """

    def __init__(self, path: str) -> None:
        """Open ``path``, ``-`` being the standard input. Raises UnreadableFileError if there is nothing to read."""
        self.name = "standard input" if path == STDIN else path
        self.damage = ""
        self._stream = _open(path, self.name)
        try:
            self._unpack()
            self._check(path)
        except BaseException:
            self._stream.close()
            raise

    def __enter__(self) -> OtlpFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def documents(self) -> Iterator[Document]:
        """Return the documents, from the start."""
        return json_documents.documents(self._stream)

    def document_at(self, offset: int, size: int) -> Json:
        """Return a document at a place that ``documents`` has returned. Raises ValueError if it is not there."""
        return json_documents.document_at(self._stream, offset, size)

    def _unpack(self) -> None:
        head = self._head()
        if head.startswith(_GZIP):
            # In small parts: what comes before the end of a file that is cut off is not lost.
            read = gzip.GzipFile(fileobj=self._stream).read1
        elif head.startswith(_UTF16):
            read = codecs.EncodedFile(self._stream, "utf-8", "utf-16", errors="replace").read
        else:
            return
        with self._stream:
            unpacked, self.damage = _spooled(read, self.name)
        self._stream = unpacked

    def _check(self, path: str) -> None:
        head = self._head()
        if not head.strip():
            raise UnreadableFileError(self.damage or f"{self.name}: is empty: nothing has been exported to it yet")
        if head.startswith(_ZSTD):
            source = "" if path == STDIN else f" {_quoted(path)}"
            raise UnreadableFileError(
                f"{self.name}: is compressed; show it with: zstd -dc{source} | multiagents-otel show {STDIN}"
            )
        if b"\0" in head:
            raise UnreadableFileError(
                f"{self.name}: is a binary file, not OTLP JSON "
                "(the Collector's file exporter needs format: json and no compression)"
            )

    def _head(self) -> bytes:
        try:
            self._stream.seek(0)
            head = self._stream.read(_CHUNK)
            self._stream.seek(0)
        except OSError as error:
            raise UnreadableFileError(f"{self.name}: can't be read: {_reason(error)}") from None
        return head


def _open(path: str, name: str) -> IO[bytes]:
    if path == STDIN:
        if sys.stdin is None:
            raise UnreadableFileError(f"{name}: is closed")
        return _copy(sys.stdin.buffer, name)
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
        return _copy(stream, name)


def _copy(stream: IO[bytes], name: str) -> IO[bytes]:
    copy, damage = _spooled(stream.read, name)
    if damage:
        copy.close()
        raise UnreadableFileError(damage)
    return copy


def _spooled(read: Callable[[int], bytes], name: str) -> tuple[IO[bytes], str]:
    """Return what there is to read, and what keeps it from being read to its end."""
    # Documents are read twice, which a pipe does not offer.
    spool: IO[bytes] = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115 - closed by OtlpFile
    try:
        while data := read(_CHUNK):
            spool.write(data)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        # A program that was killed has not written the end; what comes before it is whole.
        cause = "ends before its end is written" if isinstance(error, EOFError) else "is damaged"
        return spool, f"{name}: the gzip data {cause}; only what comes before that is read"
    except OSError as error:
        spool.close()
        raise UnreadableFileError(f"{name}: can't be read: {_reason(error)}") from None
    return spool, ""


def _quoted(path: str) -> str:
    """Return a path as the user's shell takes it for one word that is no option."""
    safe = f"./{path}" if path.startswith("-") else path
    return subprocess.list2cmdline([safe]) if os.name == "nt" else shlex.quote(safe)


def _reason(error: OSError | ValueError) -> str:
    if isinstance(error, OSError) and error.errno is not None:
        return error.strerror or errno.errorcode.get(error.errno, str(error.errno))
    return str(error)
