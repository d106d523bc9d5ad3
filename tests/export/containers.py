"""Runs a container's very command on this machine: what would be mounted into it is put in the place of the mounts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.support.processes import Process
from tests.support.services import fetch, find, wait_until

PROGRAMS = {
    "collector": ("otelcol", "otelcol-contrib"),
    "prometheus": ("prometheus",),
    "alertmanager": ("prometheus-alertmanager", "alertmanager"),
}


class Container(NamedTuple):
    """What a container is told, and which of its folders and files are where on this machine."""

    program: str
    args: Sequence[str]
    env: Mapping[str, str | None]
    folder: str
    mounts: Mapping[str, Path]

    def here(self, text: str) -> str:
        """A path of the container's, or an argument that ends with one, as it is on this machine."""
        for target in sorted(self.mounts, key=len, reverse=True):
            start = text.find(target)
            if start == 0 or (start > 0 and text[start - 1] == "="):
                return text.replace(target, str(self.mounts[target]))
        return text

    @contextmanager
    def running(self, ready_url: str, **env: str) -> Iterator[Process]:
        """The program, ready; variables that are given win over the container's."""
        argv = [find(*PROGRAMS[self.program]), *map(self.here, self.args)]
        variables = {name: value and self.here(value) for name, value in self.env.items()} | env
        with Process(argv, env=variables, cwd=self.here(self.folder) if self.folder else None) as process:

            def ready() -> bool:
                assert process.returncode is None, process.output
                return bool(fetch(ready_url, timeout=2.0) or True)

            wait_until(ready, f"{self.program} is ready")
            yield process
