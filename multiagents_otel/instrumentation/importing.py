"""Calls for modules that are imported later, or whose import is under way in this thread or in another one."""

from __future__ import annotations

import importlib
import logging
import math
import sys
import threading
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any, Final

import wrapt

_logger = logging.getLogger("multiagents_otel")

_FOUND_SECONDS: Final = 0.05
"""The search for a module takes a moment only; a slow one is waited for in a thread."""

_registering = threading.local()


def is_ready(name: str) -> bool:
    """Whether a module has been imported to its end."""
    module = sys.modules.get(name)
    return module is not None and not _is_under_way(module)


def when_ready(name: str, call: Callable[[ModuleType], object]) -> None:
    """Call with the module when it has been imported, from the thread that imports it.

    The call can't be taken back. A module that is ready already is left out.
    """
    if (module := sys.modules.get(name)) is not None:
        _at_end(module, call)
        return

    def imported(module: ModuleType) -> None:
        if getattr(_registering, "name", None) == name:  # it has come in between: perhaps not to its end
            _at_end(module, call, late=True)
        else:
            call(module)

    _registering.name = name
    try:
        wrapt.register_post_import_hook(imported, name)
    finally:
        _registering.name = None
    # Another thread that looked for the module before this finds it without the hook, and is about to load it.
    if not _loaded(name, call, _FOUND_SECONDS):
        threading.Thread(target=_loaded, args=(name, call, math.inf), daemon=True).start()


def _loaded(name: str, call: Callable[[ModuleType], object], seconds: float) -> bool:
    """Wait while a module is looked for, and call when it has been imported; False if it took longer than that."""
    deadline = time.monotonic() + seconds
    while name not in sys.modules and name in _locks():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.001)
    if (module := sys.modules.get(name)) is not None:
        _at_end(module, call, late=True)
    return True


def _locks() -> Any:
    """The names of the modules that some thread is importing."""
    return getattr(getattr(importlib, "_bootstrap", None), "_module_locks", ())


def _is_under_way(module: ModuleType) -> bool:
    return bool(getattr(getattr(module, "__spec__", None), "_initializing", False))


def _at_end(module: ModuleType, call: Callable[[ModuleType], object], *, late: bool = False) -> None:
    """Call when the import that is under way has come to its end; ``late``: also if it has already."""
    if not _is_under_way(module):
        if late:
            call(module)
        return
    spec: Any = module.__spec__
    kind = type(spec)

    class Spec(kind):  # type: ignore[misc,valid-type]
        """The import system ends an import by this one assignment."""

        def __setattr__(self, name: str, value: Any) -> None:
            super().__setattr__(name, value)
            if name == "_initializing" and not value and type(self) is Spec:
                _ended(self, kind, call)

    try:
        spec.__class__ = Spec
    except TypeError:
        _logger.warning("%s is being imported and can't be instrumented: instrument before or after it", spec.name)
        return
    if not spec._initializing and type(spec) is Spec:  # it has come to its end in the meantime
        _ended(spec, kind, call)


def _ended(spec: Any, kind: type, call: Callable[[ModuleType], object]) -> None:
    spec.__class__ = kind
    if (module := sys.modules.get(spec.name)) is not None:  # else the import has failed
        try:
            call(module)
        except Exception:
            _logger.exception("%s could not be instrumented", spec.name)
