"""A user's own copy of the pipeline's files, with the values that the user has chosen."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from multiagents_otel.tools.deploy import compose, files, kubernetes
from multiagents_otel.tools.deploy.parameters import Values
from multiagents_otel.tools.deploy.render import render

__all__ = ["exported", "write"]


def exported(values: Values) -> dict[str, str]:
    """Every file's text with these values, by its path.

    The files for docker-compose and Kubernetes are made of the others, and so are in step with them.
    """
    texts = {path: render(text, values) for path, text in files.read().items()}
    return texts | compose.files(texts, values) | kubernetes.files(texts, values)


def write(directory: Path, texts: Mapping[str, str]) -> None:
    """Write the files into a directory, which is made if it isn't there. OSError: that can't be done.

    A link in a file's place is replaced, and what it leads to is left alone.
    """
    for path, text in texts.items():
        file = directory / path
        file.parent.mkdir(parents=True, exist_ok=True)
        if file.is_symlink():
            file.unlink()
        file.write_bytes(text.encode())
