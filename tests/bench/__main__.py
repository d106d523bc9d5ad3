"""``make bench``: every bench, each in a process of its own, so that none warms up the next."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from typing import Final

BENCHES: Final = ("cpu", "instructions", "wired", "monitors", "logs", "imports", "scrub", "outage", "collector")


def main() -> int:
    """Run them, and return how many failed."""
    found = [module for name in BENCHES if find_spec(module := f"tests.bench.{name}")]
    return sum(subprocess.run([sys.executable, "-m", module], check=False).returncode != 0 for module in found)


if __name__ == "__main__":
    sys.exit(main())
