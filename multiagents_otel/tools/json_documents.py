"""JSON documents in a stream: one a line, spread over lines, several on one line, or in a list.

OTLP JSON is written as one document a line. A person or another tool may have reformatted it, joined it or put it into
a list. Each form is read, and a document that is cut off costs itself alone.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from multiagents_otel.tools.json_fields import Json

LONGEST: int = 256 * 1024 * 1024
"""The longest document that is read: a file without an end of a document must not fill the memory."""

_CHUNK = 64 * 1024
_TOO_LONG = "too long"
_UNREADABLE = "not JSON that can be read"
_DECODER = json.JSONDecoder()
_BLANK = re.compile(r"[ \t\r\n\ufeff]*")
_BRACKET = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|["{}\[\]]')
_REQUEST = re.compile(rb'[ \t\r]*\{[ \t]*"resource_?[A-Za-z]+"[ \t]*:.*\}[ \t\r]*,?[ \t\r]*\n?', re.DOTALL)


@dataclass(frozen=True)
class Document:
    """One document, or what should have been one: then ``error`` says what is wrong, and ``value`` is None.

    ``line`` is the number of the line that it starts in, or that the error is in; ``offset`` and ``size`` are the bytes
    that it takes in the stream, ``lines`` how many lines that is.
    """

    line: int
    offset: int
    size: int
    lines: int
    value: Json = None
    error: str = ""


def documents(stream: IO[bytes]) -> Iterator[Document]:
    """Return the documents of a stream, from its start."""
    reader = _Reader()
    for line in _lines(stream):
        yield from reader.read(line)
    yield from reader.end()


def document_at(stream: IO[bytes], offset: int, size: int) -> Json:
    """Return a document at a place that :func:`documents` has returned. Raises ValueError."""
    stream.seek(offset)
    value: Json = json.loads(stream.read(size))
    return value


@dataclass(frozen=True)
class _Line:
    number: int
    offset: int
    data: bytes
    complete: bool  # not longer than what is read


def _lines(stream: IO[bytes]) -> Iterator[_Line]:
    stream.seek(0)
    number = offset = 0
    while data := stream.readline(LONGEST):
        number += 1
        complete = data.endswith(b"\n") or len(data) < LONGEST
        yield _Line(number, offset, data, complete)
        offset += len(data)
        while not data.endswith(b"\n") and not complete and (data := stream.readline(_CHUNK)):
            offset += len(data)


class _Partial:
    """A document that goes on after the end of a line."""

    def __init__(self, line: _Line, skipped: int, error: str) -> None:
        self.line = line.number
        self.lines = 0
        self.size = 0
        self._offset = line.offset + skipped
        self._parts: list[bytes] = []
        self._depth = 0
        self._first_error = error
        self.add(line.data[skipped:])

    def add(self, data: bytes) -> int:
        """Take a line, and return how many bytes of it belong to the document. Raises ValueError for an open string."""
        self.lines += 1
        end = len(data)
        for match in _BRACKET.finditer(data):
            token = match[0]
            if token in b"{[":
                self._depth += 1
            elif token in b"}]":
                self._depth -= 1
                if self._depth == 0:
                    end = match.end()
                    break
            elif token == b'"':
                self._take(data)
                raise ValueError
        self._take(data[:end])
        return end

    def _take(self, data: bytes) -> None:
        self._parts.append(data)
        self.size += len(data)

    @property
    def complete(self) -> bool:
        return self._depth == 0

    def document(self) -> Document:
        data = b"".join(self._parts)
        try:
            text = data.decode()
            value, end = _DECODER.raw_decode(text)
            rest = text[end:].strip()
            if rest:
                return self.failure("not JSON: brackets that do not match")
        except UnicodeDecodeError as error:
            return self.failure("not UTF-8", data.count(b"\n", 0, error.start))
        except json.JSONDecodeError as error:
            return self.failure(f"not JSON: {error.msg} at column {error.colno}", error.lineno - 1)
        except (ValueError, RecursionError):
            return self.failure(_UNREADABLE)
        return Document(self.line, self._offset, self.size, self.lines, value)

    def failure(self, error: str = "", lines_below: int = 0) -> Document:
        """Return the document as one that can't be read: by default because its first line is cut off."""
        return Document(self.line + lines_below, self._offset, self.size, self.lines, error=error or self._first_error)


class _Reader:
    def __init__(self) -> None:
        self._partial: _Partial | None = None
        self._in_list = False

    def read(self, line: _Line) -> Iterator[Document]:
        """Return the documents that end in a line."""
        partial, skipped = self._partial, 0
        if partial is not None:
            if not line.complete or partial.size + len(line.data) > LONGEST:
                self._partial = None
                yield partial.failure(_TOO_LONG)
            elif _is_request(line.data):
                # The document before it was cut off, by the end of a process or by a full disk.
                self._partial = None
                yield partial.failure()
            else:
                try:
                    skipped = partial.add(line.data)
                except ValueError:
                    self._partial = None
                    yield partial.document()
                    return
                if not partial.complete:
                    return
                self._partial = None
                yield partial.document()
        if not line.complete:
            yield Document(line.number, line.offset, len(line.data), 1, error=_TOO_LONG)
        else:
            yield from self._read_whole(line, skipped)

    def end(self) -> Iterator[Document]:
        """Return the document that the end of the stream cuts off."""
        if self._partial is not None:
            yield self._partial.document()

    def _read_whole(self, line: _Line, skipped: int) -> Iterator[Document]:
        try:
            text = line.data[skipped:].decode()
        except UnicodeDecodeError:
            yield Document(line.number, line.offset, len(line.data), 1, error="not UTF-8")
            return
        in_list = self._in_list
        at, offset = 0, skipped  # the same place, in characters and in bytes

        def move(target: int) -> None:
            nonlocal at, offset
            offset += target - at if text.isascii() else len(text[at:target].encode())
            at = target

        def failure(error: str) -> Document:
            self._in_list = in_list
            return Document(line.number, line.offset, len(line.data), 1, error=error)

        while True:
            move(self._skip_separators(text, at))
            if at == len(text):
                return
            start = offset
            try:
                value, end = _DECODER.raw_decode(text, at)
            except json.JSONDecodeError as error:
                message = f"not JSON: {error.msg} at column {skipped + error.pos + 1}"
                if text[at] in "{[" and error.pos >= len(text.rstrip()):
                    with contextlib.suppress(ValueError):
                        self._partial = _Partial(line, offset, message)
                if self._partial is None:
                    yield failure(message)
                return
            except (ValueError, RecursionError):  # an integer of thousands of digits; thousands of brackets
                yield failure(_UNREADABLE)
                return
            move(end)
            yield Document(line.number, line.offset + start, offset - start, 1, value)

    def _skip_separators(self, text: str, at: int) -> int:
        """Return where the next document starts: the brackets and commas of a list of documents are no part of one."""
        while True:
            match = _BLANK.match(text, at)
            at = match.end() if match else at
            if text.startswith("[", at) and not self._in_list:
                self._in_list = True
            elif text.startswith("]", at) and self._in_list:
                self._in_list = False
            elif not (text.startswith(",", at) and self._in_list):
                return at
            at += 1


def _is_request(data: bytes) -> bool:
    """Whether a line is a whole request, so that it can't be a part of another document."""
    if not _REQUEST.fullmatch(data):
        return False
    try:
        json.loads(data.strip().rstrip(b","))
    except (ValueError, RecursionError):
        return False
    return True
