"""Providers as other libraries make them: proxies of the SDK's, with equality, hash and truth of their own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import wrapt


@dataclass
class ProxyProvider:
    """A dataclass: it compares by value, and so can't be hashed. Called as OpenTelemetry's placeholder is."""

    wrapped: Any

    def __getattr__(self, name: str) -> Any:
        return getattr(self.wrapped, name)


class Incomparable(ProxyProvider):
    """It refuses to be compared or hashed, and is false."""

    def __eq__(self, other: object) -> bool:
        raise TypeError("not to be compared")

    def __hash__(self) -> int:
        raise TypeError("not to be hashed")

    def __bool__(self) -> bool:
        return False


class Slotted:
    """Neither a ``__dict__`` nor weak references."""

    __slots__ = ("wrapped",)

    def __init__(self, wrapped: Any) -> None:
        self.wrapped = wrapped

    def __getattr__(self, name: str) -> Any:
        return getattr(self.wrapped, name)


class EqualToAll(ProxyProvider):
    """Equal to whatever it is compared with."""

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 1


for _placeholder in ("_ProxyMeterProvider", "ProxyTracerProvider", "ProxyLoggerProvider"):
    globals()[_placeholder] = type(_placeholder, (ProxyProvider,), {})

KINDS: Final[dict[str, Callable[[Any], Any]]] = {
    "a dataclass": ProxyProvider,
    "incomparable": Incomparable,
    "slotted": Slotted,
    "equal to all": EqualToAll,
    "an object proxy": wrapt.ObjectProxy,
    "called as the placeholder": globals()["_ProxyMeterProvider"],
}
