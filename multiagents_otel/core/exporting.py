"""Mark of the threads that export: a flush in one of them would wait for itself."""

from __future__ import annotations

import threading
from typing import Final


class Exporting(threading.local):
    """Whether this thread collects, redacts or exports.

    Attributes:
        depth: how many ``with`` blocks of :data:`EXPORTING` the thread is in.
    """

    depth = 0

    def __enter__(self) -> None:
        self.depth += 1

    def __exit__(self, *_error: object) -> None:
        self.depth -= 1


EXPORTING: Final = Exporting()
"""The mark of each thread of this process."""
