"""The architecture page names what is there, and every package."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

from tests.support.processes import REPOSITORY

PAGE: Final = REPOSITORY / "ARCHITECTURE.md"
DECISIONS: Final = sorted((REPOSITORY / "docs" / "decisions").glob("*.md"))
_PATH: Final = re.compile(r"[`(]((?:multiagents_otel|collector-config|tests|docs)/[^`)\s]+)[`)]")
_PLACE: Final = re.compile(r"`([A-Z]\w+)(?:\.(\w+)\(\))?` in `(multiagents_otel/\S+\.py)`")


@pytest.mark.parametrize("page", [PAGE, *DECISIONS], ids=lambda page: page.name)
def test_every_path_exists(page: Path) -> None:
    paths = _PATH.findall(page.read_text())
    assert paths
    assert [path for path in paths if not (REPOSITORY / path).exists()] == []


def test_the_packages_are_those_of_the_tree() -> None:
    table = PAGE.read_text().partition("## Packages")[2].partition("## Directions")[0]
    rows = re.findall(r"^\| `multiagents_otel/([^`]+)` \|", table, re.MULTILINE)
    package = REPOSITORY / "multiagents_otel"
    there = {
        f"{path.name}/" if path.is_dir() else path.name
        for path in package.iterdir()
        if path.suffix == ".py" or (path / "__init__.py").is_file()
    }
    assert len(rows) == len(set(rows))
    assert set(rows) - {"tools/deploy/"} == there


def test_names_that_a_place_is_given_for_stand_there() -> None:
    places = _PLACE.findall(PAGE.read_text())
    assert places
    for name, method, path in places:
        source = (REPOSITORY / path).read_text()
        assert re.search(rf"^(?:class )?{name}\b", source, re.MULTILINE), (name, path)
        assert not method or f"def {method}(" in source, (method, path)


def test_every_decision_is_linked() -> None:
    linked = re.findall(r"\(docs/decisions/([^)]+)\)", PAGE.read_text())
    assert sorted(linked) == [path.name for path in DECISIONS]
