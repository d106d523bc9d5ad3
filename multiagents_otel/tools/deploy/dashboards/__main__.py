"""Write every dashboard as a JSON file: ``python -m multiagents_otel.tools.deploy.dashboards [FOLDER]``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Final

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from multiagents_otel.tools.deploy.dashboards import events, overview, pipeline, system, workers, workflows

_FOLDER: Final = Path(__file__).resolve().parents[4] / "collector-config" / "grafana" / "dashboards"


def main(folder: Path) -> None:
    """Write the files into the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for module in (overview, workflows, workers, events, system, pipeline):
        board = module.board()
        text = json.dumps(board, cls=JSONEncoder, indent=2, sort_keys=True)
        (folder / f"{module.__name__.rpartition('.')[2]}.json").write_text(f"{text}\n", encoding="utf-8")


main(Path(sys.argv[1]) if len(sys.argv) > 1 else _FOLDER)
