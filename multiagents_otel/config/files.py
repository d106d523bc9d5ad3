"""A configuration file, YAML or JSON: what it says for which name, and in which line.

A file is somebody's text: binary, a list at the top, a name twice, aliases that would unfold to gigabytes. Whatever it
is, reading it takes a moment and ends in values or in one error.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from multiagents_otel.config.option import OptionError
from multiagents_otel.config.sources import Given, short

_MOST_BYTES: Final = 1_000_000
_MOST_NODES: Final = 10_000
"""Counted as often as aliases refer to them."""

SUFFIXES: Final = (".yaml", ".yml", ".json")

_PLAIN_TAGS: Final = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")

Entry = tuple[Any, int, Any]
"""Key, line (0: unknown) and value."""


class Entries(list[Entry]):
    """What a mapping holds, a key that is there twice included; no other list is taken for it."""


def read(path: str | Path) -> list[Given]:
    """What a configuration file says.

    Raises:
        OSError: there is no such file, or it can't be read.
        OptionError: it is no mapping of sections in YAML (``.yaml``, ``.yml``) or JSON (``.json``).
    """
    path = Path(path)
    check_suffix(path)
    if path.is_fifo():
        raise OptionError(f"{path}: a pipe is no configuration: who opens it may wait for ever")
    with path.open("rb") as file:
        content = file.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise OptionError(f"{path}: a configuration has at most {_MOST_BYTES} bytes")
    try:
        text = content.decode("utf-8-sig")
        entries = _json(text) if path.suffix.lower() == ".json" else _yaml(text)
    except RecursionError:
        raise OptionError(f"{path}: it is nested too deeply") from None
    except Exception as exception:  # PyYAML's constructors raise what they like
        line, why = _complaint(exception)
        raise OptionError(f"{path}{line}: it can't be read as {path.suffix[1:].upper()}: {why}") from None
    if not isinstance(entries, Entries):
        raise OptionError(f"{path}: it must be a mapping of sections, not {short(entries)}")
    return of_entries(entries, str(path))


def _complaint(exception: Exception) -> tuple[str, str]:
    """The line, and what is wrong there; PyYAML's own text is several lines, and names no file."""
    mark = getattr(exception, "problem_mark", None)
    if mark is None:
        return "", str(exception)
    said = (getattr(exception, "context", None), getattr(exception, "problem", None))
    return f", line {mark.line + 1}", ", ".join(filter(None, said))


def check_suffix(path: Path) -> None:
    """Raise OptionError for a file that is neither YAML nor JSON by its name."""
    if path.suffix.lower() not in SUFFIXES:
        raise OptionError(f"{path}: a configuration is a {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]} file")


def of_entries(entries: Iterable[Entry], name: str = "") -> list[Given]:
    """The values in a mapping of sections, each of them entries or empty."""
    found = []
    for section, section_line, content in entries:
        inner = content if isinstance(content, Entries) else [("", section_line, content)]
        for key, line, value in inner or [("", section_line, None)]:
            place = f"{name}, line {line}" if line else name
            found.append(Given(str(section), str(key), value, f"{section}.{key}", place))
    return found


def text_of(config: Mapping[str, Any], suffix: str) -> str:
    """A configuration as the text of a file."""
    if suffix.lower() == ".json":
        return json.dumps(config, indent=2) + "\n"
    import yaml

    return str(yaml.safe_dump(config, sort_keys=False))


# --- YAML -----------------------------------------------------------------------------------


def _yaml(text: str) -> Any:
    import yaml  # what needs no file must not pay for it

    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        return Entries() if node is None else _Tree(loader).sections(node)
    finally:
        loader.dispose()


class _Tree:
    """Makes values of YAML's nodes; not by the loader's own recursion, which unfolds aliases without end."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader
        self._left = _MOST_NODES

    def sections(self, node: Any) -> Any:
        if node.id != "mapping":
            return Entries() if (value := self._value(node)) is None else value
        return Entries((key, line, self._section(inner)) for key, line, inner in self._entries(node))

    def _section(self, node: Any) -> Any:
        if node.id != "mapping":
            return self._value(node)
        return Entries((key, line, self._value(inner)) for key, line, inner in self._entries(node))

    def _entries(self, node: Any) -> list[Entry]:
        """Keys, lines and nodes of a mapping; ``<<`` is resolved, a key that is there twice is there twice."""
        own: list[Entry] = []
        merged: dict[Any, Entry] = {}
        for key_node, inner in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                for source in inner.value if inner.id == "sequence" else [inner]:
                    self._count()
                    for entry in self._entries(source) if source.id == "mapping" else []:
                        merged.setdefault(entry[0], entry)
            else:
                key = self._value(key_node)
                own.append((key if isinstance(key, str) else short(key), key_node.start_mark.line + 1, inner))
        there = {key for key, _line, _inner in own}
        return [*own, *(entry for key, entry in merged.items() if key not in there)]

    def _value(self, node: Any) -> Any:
        self._count()
        if node.id != "scalar" and node.tag not in _PLAIN_TAGS:
            raise ValueError(f"line {node.start_mark.line + 1} has a tag, {node.tag}")
        if node.id == "mapping":
            return {key: self._value(inner) for key, _line, inner in self._entries(node)}
        if node.id == "sequence":
            return [self._value(inner) for inner in node.value]
        return self._loader.construct_object(node)

    def _count(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise ValueError("its aliases unfold to too much")


# --- JSON -----------------------------------------------------------------------------------


class _Object(list[tuple[str, Any]]):
    """A JSON object, names that are there twice included."""


def _json(text: str) -> Any:
    if not text.strip():
        return Entries()
    content = json.loads(text, object_pairs_hook=_Object)
    if not isinstance(content, _Object):
        return _plain(content)
    lines = _lines(text)

    def inside(section: str, value: Any) -> Any:
        if not isinstance(value, _Object):
            return _plain(value)
        return Entries((key, lines.get((section, key), 0), _plain(inner)) for key, inner in value)

    return Entries((section, lines.get((section, ""), 0), inside(section, value)) for section, value in content)


def _plain(value: Any) -> Any:
    if isinstance(value, _Object):
        return {key: _plain(inner) for key, inner in value}
    return [_plain(inner) for inner in value] if isinstance(value, list) else value


def _lines(text: str) -> dict[tuple[str, str], int]:
    """Where sections and keys are. JSON is mostly YAML, whose reader knows of lines; without tabs it is."""
    try:
        entries = _yaml(text.replace("\t", " "))
    except Exception:
        return {}
    lines = {}
    for section, line, content in entries:
        lines[section, ""] = line
        lines.update({(section, key): inner for key, inner, _value in content} if isinstance(content, Entries) else {})
    return lines
