"""The longest that a test waits for a condition."""

from __future__ import annotations

from typing import Final

DEADLINE: Final = 60.0
"""Seconds; a busy machine needs many of them, and a wait ends as soon as its condition holds."""
