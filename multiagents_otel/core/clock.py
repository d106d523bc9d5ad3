"""Clock of deadlines."""

from __future__ import annotations

import time
from functools import partial
from typing import Final

monotonic: Final = partial(time.perf_counter)
"""Seconds on a clock that goes on where an application's tests freeze time.

Such libraries replace the functions of ``time``, and each module's reference to one of them; the partial is neither.
"""
