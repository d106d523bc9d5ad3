"""Fork registry: what functions and objects do before a fork, and after it on either side."""

from __future__ import annotations

import logging
import os
import threading
import weakref
from collections.abc import Callable, Iterable
from functools import partial
from inspect import ismethod

_logger = logging.getLogger("multiagents_otel")

_Method = Callable[[], object]
_Ref = Callable[[], "_Method | None"]

_lock = threading.RLock()
_before: list[_Ref] = []
_in_parent: list[_Ref] = []
_in_child: list[_Ref] = []
_hooked = False


def on_fork(
    *, before: _Method | None = None, in_parent: _Method | None = None, in_child: _Method | None = None
) -> None:
    """Register functions and bound methods to be called at forks, each once; methods do not keep their objects alive.

    The process' own hook, which can't be taken back, is set by the first call: importing this sets none.
    """
    global _hooked
    with _lock:
        for refs, method in ((_before, before), (_in_parent, in_parent), (_in_child, in_child)):
            refs[:] = [ref for ref in refs if ref() not in (None, method)]
            if method is not None:
                refs.append(weakref.WeakMethod(method) if ismethod(method) else partial(_itself, method))
        if not _hooked and hasattr(os, "register_at_fork"):
            _hooked = True
            os.register_at_fork(
                before=lambda: _call(reversed(_before)),
                after_in_parent=lambda: _call(_in_parent),
                after_in_child=_forked,
            )


def _itself(function: _Method) -> _Method:
    return function


def _forked() -> None:
    global _lock
    _lock = threading.RLock()  # a thread of the parent's may have held it
    _call(_in_child)


def _call(refs: Iterable[_Ref]) -> None:
    for ref in list(refs):
        if (method := ref()) is not None:
            try:
                method()
            except BaseException:  # Ctrl-C: the interpreter drops it here, and each lock must be released
                _logger.debug("%s failed at a fork", method, exc_info=True)
