"""The framework's own source release, which holds its monitoring guide and its examples; ``make setup`` fetches it."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Final, NamedTuple

SOURCE: Final = Path(sys.prefix) / "framework-source"
GUIDE: Final = SOURCE / "docs" / "guides" / "monitoring.md"
EXAMPLE: Final = SOURCE / "examples" / "monitoring_example.py"

_FENCE: Final = re.compile(r"^```(\w+)\n(.*?)^```$|^#{2,4} ([^\n]+)$", re.DOTALL | re.MULTILINE)
_THEIRS: Final = "from multiagents.monitoring import"
_OURS: Final = "from multiagents_otel import"


class Snippet(NamedTuple):
    """A block of code of the guide.

    Attributes:
        title: the heading that it stands under.
        language: as the fence says it.
        code: the text; only the import line is ours.
    """

    title: str
    language: str
    code: str


def snippets() -> list[Snippet]:
    """Every block of code of the guide that names its language, in order."""
    found, title = [], ""
    for match in _FENCE.finditer(GUIDE.read_text("utf-8")):
        language, code, heading = match.groups()
        if heading:
            title = heading
        else:
            found.append(Snippet(title, language, code.replace(_THEIRS, _OURS)))
    return found


def example() -> str:
    """The framework's monitoring example; only the import line is ours."""
    return EXAMPLE.read_text("utf-8").replace("from multiagents.monitoring import (", "from multiagents_otel import (")
