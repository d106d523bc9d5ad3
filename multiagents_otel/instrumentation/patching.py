"""Patches: a declarative table of them, and the set of those that are applied, exact on undo."""

from __future__ import annotations

import functools
import inspect
import logging
import operator
import sys
import threading
import weakref
from collections.abc import Callable, Iterable
from types import FunctionType, ModuleType
from typing import Any, Final, NamedTuple

_logger = logging.getLogger("multiagents_otel")

_MISSING: Any = object()


class Switch:
    """Shared by a set's replacements. Off: each of them only calls what it replaced.

    A replacement that somebody else has wrapped can't be taken out without taking theirs out too.
    """

    __slots__ = ("on",)

    def __init__(self) -> None:
        self.on = True


class Patch(NamedTuple):
    """One row: what to replace, and by what.

    Attributes:
        module: the module that owns it; patched when (and if) it is imported.
        owner: a class or an object of that module, or "" for the module itself.
        name: the attribute.
        build: gives the replacement for an original.
    """

    module: str
    owner: str
    name: str
    build: Callable[[Any], Any]


class _Applied:
    """One replacement. It lives as long as the replacement, which the owner holds: a class is not kept alive."""

    __slots__ = ("__weakref__", "name", "original", "owner", "replacement")

    def __init__(self, owner: Any, name: str, original: Any) -> None:
        self.owner = owner
        self.name = name
        self.original = original  # as it stood in the owner's __dict__; _MISSING if it was inherited
        self.replacement: Any = None


class _Choice(functools.partial):  # type: ignore[type-arg]
    """The function that stands for an original.

    A class of ``__main__`` or of a notebook is pickled by value, its functions and what they refer to included. This
    is all that a replacement refers to, and it is pickled as the original.
    """

    applied: _Applied
    original: Callable[..., Any]

    def __reduce__(self) -> Any:
        # Who unpickles it need not have this package.
        return itself(self.original)


def itself(value: Any) -> Any:
    """A ``__reduce__`` that is unpickled as this value, by the standard library alone."""
    return operator.itemgetter(0), ((value,),)


_LIBRARIES: Final = ("multiagents", "redis")
"""Their classes are pickled by reference, wherever they are used."""


def _may_be_pickled_by_value(owner: Any) -> bool:
    return (
        isinstance(owner, (type, ModuleType)) and getattr(owner, "__module__", "").partition(".")[0] not in _LIBRARIES
    )


def _picklable(original: Callable[..., Any], function: Callable[..., Any], applied: _Applied) -> Any:
    """The function in a form that is pickled by value: its code refers to no global name."""
    choice = _Choice(function)
    choice.applied, choice.original = applied, original
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def replacement_async(*args: Any, **kwargs: Any) -> Any:
            return await choice(*args, **kwargs)

        replacement_async.__wrapped__ = original
        return replacement_async

    @functools.wraps(function)
    def replacement(*args: Any, **kwargs: Any) -> Any:
        return choice(*args, **kwargs)

    replacement.__wrapped__ = original
    return replacement


def _unbound(owner: Any, original: Any) -> Callable[..., Any]:
    """An original as it is called with its ``self``, whatever kind of descriptor stands in the class.

    A static method, a ``partialmethod`` or a wrapt wrapper must be bound as the class itself would do it.
    """
    bind = getattr(type(original), "__get__", None)
    if type(original) is FunctionType or bind is None or not isinstance(owner, type):
        unbound: Callable[..., Any] = original
        return unbound
    if inspect.iscoroutinefunction(original):

        @functools.wraps(original)
        async def bound_async(self: Any, *args: Any, **kwargs: Any) -> Any:
            return await bind(original, self, type(self))(*args, **kwargs)

        return bound_async

    @functools.wraps(original)
    def bound(self: Any, *args: Any, **kwargs: Any) -> Any:
        return bind(original, self, type(self))(*args, **kwargs)

    return bound


class PatchSet:
    """Applied patches: undoing puts the originals back, in reverse."""

    def __init__(self, switch: Switch) -> None:
        self.switch = switch
        self._lock = threading.RLock()  # a module may be imported by one thread while another one patches
        self._refs: list[Callable[[], _Applied | None]] = []
        self._odd: set[str] = set()
        self._extensible: list[tuple[type, str, Callable[[Any], Any]]] = []

    def apply(self, patches: Iterable[Patch]) -> bool:
        """Apply rows whose module is imported; False if that failed.

        A row whose target is not there (another version of the framework) is skipped, with one warning for
        all of them. On any other fault every row is undone, one error is logged, and the application runs
        uninstrumented.
        """
        missing: list[str] = []
        try:
            for patch in patches:
                owner: Any = sys.modules.get(patch.module)
                if patch.owner and owner is not None:
                    owner = getattr(owner, patch.owner, None)
                if owner is None or not hasattr(owner, patch.name):
                    missing.append(".".join(part for part in (patch.module, patch.owner, patch.name) if part))
                else:
                    self.replace(owner, patch.name, patch.build)
                    if isinstance(owner, type) and patch.name != "__init__":
                        self._extensible.append((owner, patch.name, patch.build))
        except Exception:
            self.undo()
            _logger.exception("multiagents-framework could not be instrumented and runs as it is")
            return False
        if missing:
            _logger.warning(
                "multiagents-framework has no %s: this version is not known, and what hangs on it is not recorded",
                ", ".join(missing),
            )
        return True

    def replace(self, owner: Any, name: str, build: Callable[[Any], Any]) -> None:
        """Replace one attribute of a class, a module or an object; once, however often it is asked for."""
        with self._lock:
            if self.has_replaced(owner, name):
                return
            original = vars(owner).get(name, _MISSING)
            unbound = getattr(owner, name) if original is _MISSING else _unbound(owner, original)
            applied = _Applied(owner, name, original)
            function = build(unbound)
            by_value = type(function) is FunctionType and _may_be_pickled_by_value(owner)
            applied.replacement = _picklable(unbound, function, applied) if by_value else function
            setattr(owner, name, applied.replacement)
            held = by_value and isinstance(owner, type)  # what is no function of ours does not hold the row
            self._refs.append(weakref.ref(applied) if held else lambda: applied)

    @property
    def _applied(self) -> list[_Applied]:
        rows = [applied for ref in self._refs if (applied := ref()) is not None]
        if len(rows) < len(self._refs):
            with self._lock:
                self._refs[:] = [ref for ref in self._refs if ref() is not None]
        return rows

    def extend(self, cls: type) -> None:
        """Apply what is applied to a base class to what a subclass overrides of it, wherever in its bases that stands.

        A constructor is left alone, and, with one warning, an override that is no coroutine function any more or
        has become one.
        """
        for base, name, build in self._extensible:
            if cls is base or not issubclass(cls, base):
                continue
            owner = next(each for each in cls.__mro__ if name in vars(each))
            if issubclass(base, owner) or self.has_replaced(owner, name):
                continue
            if inspect.iscoroutinefunction(getattr(owner, name)) == inspect.iscoroutinefunction(getattr(base, name)):
                self.replace(owner, name, build)
            elif (odd := f"{owner.__module__}.{owner.__qualname__}.{name}") not in self._odd:
                self._odd.add(odd)
                _logger.warning(
                    "%s.%s is %s coroutine function, unlike the one that it overrides: what it does is not recorded",
                    owner.__qualname__,
                    name,
                    "a" if inspect.iscoroutinefunction(getattr(owner, name)) else "no",
                )

    def has_replaced(self, owner: Any, name: str) -> bool:
        """Whether an attribute is replaced, though somebody else may have wrapped the replacement since."""
        return any(row.owner is owner and row.name == name for row in self._applied)

    def originals(self) -> dict[int, str]:
        """The names of the replaced functions, by the functions' ids: they need not be hashable."""
        return {id(row.original): row.name for row in self._applied if callable(row.original)}

    def replacements(self) -> dict[int, str]:
        """The names of the functions in the originals' places, by the functions' ids."""
        return {id(row.replacement): row.name for row in self._applied if callable(row.replacement)}

    def targets(self) -> list[tuple[Any, str]]:
        """What is patched: owners, and the names of their attributes."""
        return [(row.owner, row.name) for row in self._applied]

    def undo(self) -> None:
        """Put every original back; a replacement under somebody else's wrapper stays, and does nothing."""
        self.switch.on = False
        self._extensible.clear()
        rows = self._applied
        self._refs.clear()
        for row in reversed(rows):
            if vars(row.owner).get(row.name, _MISSING) is not row.replacement:
                continue
            if row.original is _MISSING:
                delattr(row.owner, row.name)
            else:
                setattr(row.owner, row.name, row.original)
