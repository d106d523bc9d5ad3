"""The package's modules and what each of them imports, by their source: wherever an import stands, it counts."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import multiagents_otel

PACKAGE: Final = "multiagents_otel"


def sources(root: Path) -> dict[str, Path]:
    """Each module of a package by its name, with its file; a folder without ``__init__.py`` is no package."""
    found: dict[str, Path] = {}
    for path in sorted(root.rglob("*.py")):
        if all((folder / "__init__.py").is_file() for folder in [path.parent, *path.parents] if folder >= root):
            parts = path.relative_to(root.parent).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(root: Path) -> dict[str, set[str]]:
    """The modules of a package that each of its modules imports: at the top, in functions, and for types alone."""
    files = sources(root)
    return {
        name: {found for found in _imported(ast.parse(path.read_bytes()), files) if found != name}
        for name, path in files.items()
    }


def _imported(tree: ast.AST, known: Mapping[str, Path]) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                yield from {name if name in known else str(node.module)} & known.keys()
        elif isinstance(node, ast.Import):
            yield from {alias.name for alias in node.names} & known.keys()
        elif isinstance(node, ast.Call) and "import_module" in ast.unparse(node.func):
            yield from {str(each.value) for each in node.args if isinstance(each, ast.Constant)} & known.keys()


def circles(edges: Mapping[str, set[str]]) -> list[list[str]]:
    """The groups of nodes that can all be reached from each other (Tarjan)."""
    number: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        number[node] = lowest[node] = len(number)
        stack.append(node)
        for other in edges.get(node, ()):
            if other not in number:
                visit(other)
                lowest[node] = min(lowest[node], lowest[other])
            elif other in stack:
                lowest[node] = min(lowest[node], number[other])
        if lowest[node] == number[node]:
            at = stack.index(node)
            group = stack[at:]
            del stack[at:]
            if len(group) > 1:
                found.append(sorted(group))

    for node in edges:
        if node not in number:
            visit(node)
    return found


def between_packages(edges: Mapping[str, set[str]]) -> dict[str, dict[str, list[str]]]:
    """For each package, or module beside the packages, the others that it imports, and by which of its modules."""
    found: dict[str, dict[str, list[str]]] = {}
    for name, others in edges.items():
        for other in others:
            if (own := _package(name)) != (target := _package(other)):
                found.setdefault(own, {}).setdefault(target, []).append(f"{name} imports {other}")
    return found


def _package(module: str) -> str:
    return [*module.split("."), "__init__"][1]


ROOT: Final = Path(multiagents_otel.__file__).parent
