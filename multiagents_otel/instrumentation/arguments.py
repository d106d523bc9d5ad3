"""The arguments of a call, as a method of the framework names them.

A subclass's override may take more of them or call them differently: a replacement hands them on as they came.
"""

from __future__ import annotations

from typing import Any


def argument(args: tuple[Any, ...], kwargs: dict[str, Any], at: int, name: str) -> Any:
    """The argument at a place, or of a name; None without one."""
    return args[at] if len(args) > at else kwargs.get(name)


def with_argument(
    args: tuple[Any, ...], kwargs: dict[str, Any], at: int, name: str, value: Any
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments with another value in that place."""
    if len(args) > at:
        return (*args[:at], value, *args[at + 1 :]), kwargs
    return args, {**kwargs, name: value}
