"""The page about the Collector says what its files do."""

from __future__ import annotations

import re
from typing import Any, Final

from multiagents_otel.tools.deploy.parameters.collector import ROWS
from tests.collector.test_guide_names import GUIDE
from tests.support.collectors import FOLDER

PAGE: Final = (FOLDER / "collector.md").read_text()
FILES: Final = (FOLDER / "collector.yaml", *(FOLDER / "security").iterdir())
WORDS: Final = set(re.findall(r"`([^`\s]+)`", PAGE))


def test_every_environment_variable_of_the_files_is_on_the_page_and_no_other() -> None:
    read = {name for path in FILES for name in re.findall(r"\$\{env:(\w+)", path.read_text())}
    told = {word for word in WORDS if re.fullmatch(r"(?:COLLECTOR|BACKEND)_[A-Z_]+", word)}
    assert told == read


def test_every_file_is_on_the_page() -> None:
    told = {word for word in WORDS if word.endswith(".yaml")}
    assert told == {path.relative_to(FOLDER).as_posix() for path in FILES}


def test_the_defaults_of_the_page_are_those_of_the_files() -> None:
    rows = re.findall(r"^\| `([A-Z_]+)` \| `(\S+)` \|", PAGE, re.MULTILINE)
    text = "".join(path.read_text() for path in FILES)
    assert rows
    assert [f"${{env:{name}:-{default}}}" for name, default in rows if f"${{env:{name}:-{default}}}" not in text] == []
    told: dict[str, Any] = {}
    for ports, _what, names in re.findall(r"^\| ([\d, ]+) \| (.+) \| (`\w+`(?:, `\w+`)*) \|$", PAGE, re.MULTILINE):
        told |= dict(zip(re.findall(r"`(\w+)`", names), ports.split(", "), strict=True))
    assert told == {row.name: row.default for row in ROWS if row.name.endswith("_port")}


def test_the_guides_names_and_labels_are_on_the_page() -> None:
    told: dict[str, Any] = {}
    for names, labels in re.findall(r"^\| (`multiagents_.+) \| (.*?) ?\|$", PAGE, re.MULTILINE):
        for name in re.findall(r"`(\w+)`", names):
            told[name] = set(re.findall(r"`(\w+)`", labels))
    ours = told.pop("multiagents_workflow_duration_seconds")
    assert (told, ours) == (GUIDE, GUIDE["multiagents_workflow_duration"])
