"""Log files as a test reads them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def entries(path: Path) -> list[dict[str, Any]]:
    """Every line of a log and of its old files, the oldest first; a torn line fails."""
    files = sorted(path.parent.glob(f"{path.name}*"), key=lambda file: -int(file.suffix[1:]) if file != path else 1)
    return [json.loads(line) for file in files for line in file.read_text("utf-8").splitlines()]


def messages(path: Path) -> list[str]:
    return [entry["message"] for entry in entries(path)]
