"""Text for a terminal: safe to print, as wide as it looks, and coloured where that is wanted.

``Screen.paint`` is the one way by which text from telemetry reaches the terminal: it takes the control characters out.
A span's name must not be able to move the cursor, or to set the window's title.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

_CODES = {
    "bold": "1",
    "dim": "2",
    "red": "31",
    "green": "32",
    "yellow": "33",
    "blue": "34",
    "magenta": "35",
    "cyan": "36",
    "bright-blue": "94",
    "bright-magenta": "95",
    "bright-cyan": "96",
}

_PLAIN = re.compile(r"[ -~]*")
_ESCAPES = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
_UNSAFE_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})
# Joiners, variation selectors and skin tones: terminals disagree on how wide what they make up is, so it is shown in
# its parts, whose widths are certain.
_DROPPED = frozenset({"\u200d", *map(chr, range(0xFE00, 0xFE10)), *map(chr, range(0x1F3FB, 0x1F400))})
_HANGUL_MEDIAL = range(0x1160, 0x1200)  # drawn into the syllable before them


@dataclass(frozen=True)
class Glyphs:
    """The characters that are not letters."""

    branch: str
    last: str
    stem: str
    full: str
    left: str
    right: str
    open_end: str
    ellipsis: str
    error: str
    ok: str
    warning: str
    pending: str
    dot: str
    link: str
    event: str
    rule: str


UNICODE = Glyphs("├─", "└─", "│ ", "━", "╸", "╺", "╍", "…", "✗", "✓", "▲", "◌", "·", "↗", "◇", "─")
ASCII = Glyphs("|-", "`-", "| ", "=", "-", "-", "~", "~", "x", "+", "!", "?", "-", "^", "*", "-")


@dataclass(frozen=True)
class Screen:
    """How wide the output is, and what it may be made of."""

    width: int
    color: bool = False
    glyphs: Glyphs = UNICODE

    def safe(self, text: str) -> str:
        """Return ``text`` made safe, in ASCII if the screen has no more; idempotent."""
        clean = safe(text)
        if self.glyphs is ASCII and not clean.isascii():
            return clean.replace("µ", "u").encode("ascii", "backslashreplace").decode("ascii")
        return clean

    def paint(self, text: str, style: str = "") -> str:
        """Return ``text`` made safe, in a style such as ``bold red``."""
        clean = self.safe(text)
        if not self.color or not style or not clean:
            return clean
        codes = ";".join(_CODES[name] for name in style.split())
        return f"\x1b[{codes}m{clean}\x1b[0m"

    def cell(self, text: str, width: int, style: str = "", *, right: bool = False) -> str:
        """Return ``text`` painted, cut or filled up to exactly ``width`` columns."""
        clean = self.clip(text, width)
        fill = " " * (width - columns(clean))
        painted = self.paint(clean, style)
        return fill + painted if right else painted + fill

    def clip(self, text: str, width: int) -> str:
        """Return ``text`` made safe, and cut in the middle if it is wider than ``width``.

        Names differ at their ends (``process command.validate_order``), so the end is kept as well as the start.
        """
        clean = self.safe(text)
        if columns(clean) <= width:
            return clean
        room = width - columns(self.glyphs.ellipsis)
        if room < 1:
            return _head(clean, width)
        tail = _tail(clean, room // 2)
        return _head(clean, room - columns(tail)) + self.glyphs.ellipsis + tail

    def wrap(self, text: str, width: int, most: int = 0) -> list[str]:
        """Return ``text`` made safe, white space collapsed, in lines of up to ``width``, ``most`` of them if given."""
        lines = list(_wrapped(self.safe(" ".join(text.split())), max(1, width)))
        if most and len(lines) > most:
            cut = _head(lines[most - 1], width - columns(self.glyphs.ellipsis))
            lines = [*lines[: most - 1], cut.rstrip() + self.glyphs.ellipsis]
        return lines

    def pack(self, parts: Iterable[str], width: int, separator: str) -> list[str]:
        """Return short texts, made safe, in lines of up to ``width``, broken between the texts where that can be."""
        lines: list[str] = []
        for part in parts:
            joined = f"{lines[-1]}{separator}{self.safe(part)}" if lines else ""
            if joined and columns(joined) <= width:
                lines[-1] = joined
            else:
                lines.extend(self.wrap(part, width))
        return lines


def safe(text: str) -> str:
    """Return ``text`` with what could steer a terminal written as escapes, backslash x1b; idempotent."""
    if _PLAIN.fullmatch(text):
        return text
    return "".join(map(_safe_character, text))


def columns(text: str) -> int:
    """Return the number of columns that safe text takes."""
    if text.isascii():
        return len(text)
    return sum(map(_width, text))


def _safe_character(character: str) -> str:
    if character in _DROPPED:
        return ""
    if unicodedata.category(character) not in _UNSAFE_CATEGORIES:
        return character
    code = ord(character)
    return _ESCAPES.get(character) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")


def _width(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me") or ord(character) in _HANGUL_MEDIAL:
        return 0
    return 2 if unicodedata.east_asian_width(character) in ("W", "F") else 1


def _head(text: str, width: int) -> str:
    used = 0
    for index, character in enumerate(text):
        used += _width(character)
        if used > width:
            return text[:index]
    return text


def _tail(text: str, width: int) -> str:
    used = 0
    start = len(text)
    for index in range(len(text) - 1, -1, -1):
        used += _width(text[index])
        if used > width:
            break
        if _width(text[index]):  # never start with a mark that belongs to the character before it
            start = index
    return text[start:]


def _wrapped(text: str, width: int) -> Iterator[str]:
    line = ""
    for word in text.split(" "):
        if line and columns(line) + 1 + columns(word) <= width:
            line = f"{line} {word}"
            continue
        if line:
            yield line
        line = word
        while columns(line) > width:
            part = _head(line, width) or line[:1]
            yield part
            line = line[len(part) :]
    if line:
        yield line
