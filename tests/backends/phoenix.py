"""A backend that is not ours: Arize Phoenix, from an environment of its own, and what its API says of what it got."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar, Final, NamedTuple
from urllib.error import HTTPError
from urllib.parse import quote, urlencode

from tests.support.ports import free_port
from tests.support.processes import REPOSITORY
from tests.support.services import Service, fetch, find

PROJECT: Final = "openinference.project.name"
"""Resource attribute by which Phoenix sorts traces into projects."""

_PROGRAM: Final = Path(os.environ.get("PHOENIX", REPOSITORY / ".tools" / "venv-phoenix" / "bin" / "phoenix"))
_WINDOW: Final = "1300,900"


class Span(NamedTuple):
    """What Phoenix has of a span."""

    trace: str
    id: str
    parent: str | None
    name: str
    attributes: dict[str, Any]


class Phoenix(Service):
    """On free ports of loopback, with an empty database, and telling nobody of itself."""

    programs: ClassVar[tuple[str, ...]] = (str(_PROGRAM),)

    def __init__(self, folder: Path) -> None:
        port, grpc = free_port(), free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.endpoints = {"http/protobuf": self.url, "grpc": f"http://127.0.0.1:{grpc}"}
        environment = {
            "PHOENIX_HOST": "127.0.0.1",
            "PHOENIX_PORT": str(port),
            "PHOENIX_GRPC_PORT": str(grpc),
            "PHOENIX_WORKING_DIR": str(folder),
            "PHOENIX_TELEMETRY_ENABLED": "false",
            "PHOENIX_ALLOW_EXTERNAL_RESOURCES": "false",
        }
        super().__init__(["serve"], f"{self.url}/healthz", environment)

    def spans(self, project: str) -> list[Span]:
        """All spans of a project that it gives out; none if there is no such project yet."""
        spans: list[Span] = []
        cursor: str | None = ""
        while cursor is not None:
            parameters = urlencode({"limit": 1000, **({"cursor": cursor} if cursor else {})})
            try:
                answer = json.loads(fetch(f"{self.url}/v1/projects/{quote(project)}/spans?{parameters}"))
            except HTTPError as error:
                with error:
                    if error.code == 404:
                        return []
                    raise
            spans += map(_span, answer["data"])
            cursor = answer["next_cursor"]
        return spans


def _span(told: dict[str, Any]) -> Span:
    context = told["context"]
    return Span(context["trace_id"], context["span_id"], told["parent_id"], told["name"], told["attributes"])


def shapes(spans: Iterable[Span]) -> Counter[tuple[tuple[str, str], ...]]:
    """Each trace as its sorted pairs of a span's name and its parent's: ``-`` a root has, ``?`` is missing."""
    traces: defaultdict[str, list[Span]] = defaultdict(list)
    for span in spans:
        traces[span.trace].append(span)
    return Counter(_shape(members) for members in traces.values())


def _shape(members: list[Span]) -> tuple[tuple[str, str], ...]:
    names = {span.id: span.name for span in members}
    return tuple(sorted((span.name, names.get(span.parent, "?") if span.parent else "-") for span in members))


def photograph(phoenix: Phoenix, project: str, picture: Path) -> None:
    """Write a PNG of the page of a project's largest transaction. ServiceMissingError: there is no Chromium."""
    counts = Counter(span.trace for span in phoenix.spans(project))
    page = f"{phoenix.url}/redirects/traces/{counts.most_common(1)[0][0]}"
    with tempfile.TemporaryDirectory() as profile:
        argv = [
            find("chromium", "chromium-browser", "google-chrome"),
            "--headless=new",
            "--disable-gpu",
            "--no-sandbox",
        ]
        argv += ["--hide-scrollbars", f"--user-data-dir={profile}", f"--window-size={_WINDOW}"]
        # The page draws what it has fetched: time passes for it until it is done.
        argv += ["--virtual-time-budget=20000", f"--screenshot={picture.absolute()}", page]
        subprocess.run(argv, check=True, capture_output=True, timeout=120)
