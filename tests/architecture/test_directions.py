"""Directions of imports: no circle between modules, and one direction between packages."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from tests.architecture.modules import ROOT, between_packages, circles, imports

BASE: Final = {"semconv", "version", "local_log", "framework_interfaces"}
"""Single modules that import nothing of the package."""

DIRECTIONS: Final[dict[str, set[str]]] = {
    # what runs inside an application, from the bottom
    **{module: set() for module in BASE},
    "config": BASE,
    "environment_variables": {"config"},
    "core": BASE,
    "processing": {*BASE, "core"},
    "ending": {*BASE, "core"},
    "flushing": {*BASE, "core", "processing", "ending", "telemetry"},
    "fork_safe": {*BASE, "core"},
    "telemetry": {*BASE, "config", "core", "processing"},
    "logs": {*BASE, "core", "processing", "ending", "telemetry"},
    "configuration": {*BASE, "config", "logs"},
    "monitors": {*BASE, "core", "processing", "telemetry"},
    "monitoring": {"configuration", "monitors"},
    "lifecycle": {*BASE, "config", "core", "ending", "flushing", "fork_safe", "telemetry", "logs"},
    "pipeline": {*BASE, "config", "core", "processing", "fork_safe", "telemetry", "lifecycle"},
    "instrumentation": {
        *(*BASE, "config", "core", "processing", "ending", "telemetry", "logs"),
        *("configuration", "monitoring", "lifecycle"),
    },
    "diagnostics": {*BASE, "core", "telemetry", "lifecycle", "instrumentation"},
    "startup": {"config", "diagnostics"},
    "auto": {
        *(*BASE, "config", "core", "ending", "logs", "configuration", "monitoring", "lifecycle", "pipeline"),
        *("instrumentation", "diagnostics"),
    },
    "api": {"config", "configuration", "monitoring", "auto"},
    "distro": {"config", "pipeline", "auto"},
    "__init__": {*BASE, "config", "processing", "telemetry", "logs", "configuration", "monitors", "instrumentation"}
    | {"api", "auto"},
    # what runs in the terminal, in CI and in this repository
    "tools": {*BASE, "config", "processing", "pipeline", "diagnostics", "startup"},
}
"""The packages that each package, and each module beside them, may import."""

EDGES: Final = imports(ROOT)


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert len(EDGES) > 100
    assert circles(EDGES) == []


def test_packages_import_in_the_directions_of_the_table() -> None:
    against = [
        line
        for package, others in between_packages(EDGES).items()
        for other, lines in others.items()
        if other not in DIRECTIONS[package]
        for line in lines
    ]
    assert against == []


def test_the_table_has_every_package_one_direction_and_nothing_that_imports_the_tools() -> None:
    assert DIRECTIONS.keys() == {name.split(".")[1] for name in EDGES if "." in name} | {"__init__"}
    assert circles(DIRECTIONS) == []
    assert [package for package, others in DIRECTIONS.items() if "tools" in others] == []


@pytest.mark.parametrize(
    "statement",
    [
        "import app.b",
        "from app import b",
        "from app.b import thing",
        "if TYPE_CHECKING:\n    from app.b import Thing",
        "def function():\n    from app.b import thing",
        "import importlib\nthing = importlib.import_module('app.b').thing",
    ],
)
def test_a_circle_is_found_however_it_is_imported(tmp_path: Path, statement: str) -> None:
    root = tmp_path / "app"
    root.mkdir()
    (root / "__init__.py").touch()
    (root / "a.py").write_text(statement)
    (root / "b.py").write_text("import app.c")
    (root / "c.py").write_text("x = 1")
    assert circles(imports(root)) == []
    (root / "c.py").write_text("from app.a import x")
    assert circles(imports(root)) == [["app.a", "app.b", "app.c"]]
    assert between_packages(imports(root))["c"] == {"a": ["app.c imports app.a"]}
