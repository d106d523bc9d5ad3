"""The end of a process: at exit, on SIGTERM, or as a child of multiprocessing's.

Who has something to send or to write before that adds a call here, and one place sees to it that it is made.
"""

from __future__ import annotations

import _thread
import atexit
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

_logger = logging.getLogger("multiagents_otel")

_LAST = -100
"""Priority of multiprocessing's finalizers: after the others."""


class Ending:
    """The calls to make when this process ends; the one instance of a process is :data:`ENDING`."""

    def __init__(self) -> None:
        self._calls: list[Callable[[], None]] = []
        self._installed = False
        self._begun = False
        self._told_multiprocessing = False

    def add(self, call: Callable[[], None]) -> None:
        """Have a call made at the end, before those that were added earlier; once, however often it is added.

        It must not raise, must be bounded in time, and must do nothing when it is made again.
        """
        self.watch()
        if call not in self._calls:
            self._calls.append(call)
        try:
            if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
                signal.signal(signal.SIGTERM, self._on_sigterm)
        except ValueError:
            pass  # not the main thread: signals are not ours to handle

    def watch(self) -> None:
        """Take note of the end, whether or not there is a call to make then; signals are left alone."""
        if not self._installed:
            self._installed = True
            self._install()

    @property
    def begun(self) -> bool:
        """Whether the process is ending, one way or the other."""
        return self._begun

    @property
    def in_order(self) -> bool:
        """Whether the process is ending, and not by an exception that nobody caught."""
        # The interpreter keeps that one before it exits. Ctrl-C is no Exception.
        return self._begun and not isinstance(getattr(sys, "last_value", None), Exception)

    def _install(self) -> None:
        atexit.register(self._end)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._tell_multiprocessing)
        self._tell_multiprocessing()
        process = sys.modules.get("multiprocessing.process")
        if process is not None and process.parent_process() is not None:
            self._in_multiprocessing_child()

    def _end(self) -> None:
        self._begun = True
        for call in reversed(self._calls):
            call()

    def _on_sigterm(self, signum: int, _frame: Any) -> None:
        self._end()
        # What would have happened without us: the process ends by the signal.
        signal.signal(signum, signal.SIG_DFL)
        os.kill(os.getpid(), signum)

    def _tell_multiprocessing(self) -> None:
        # A child of multiprocessing's ends by os._exit(), after the finalizers that multiprocessing knows of; when it
        # starts, which may be after its main module was imported, those that it knew of are forgotten.
        multiprocessing_util = sys.modules.get("multiprocessing.util")
        if multiprocessing_util is not None and not self._told_multiprocessing:
            self._told_multiprocessing = True
            multiprocessing_util.register_after_fork(self, Ending._in_multiprocessing_child)

    def _in_multiprocessing_child(self) -> None:
        sys.modules["multiprocessing.util"].Finalize(None, self._end, exitpriority=_LAST)


ENDING = Ending()


def bounded(calls: Iterable[Callable[[], Any]], timeout: float) -> bool:
    """Run calls side by side in daemon threads; False if they took longer than that and were given up."""
    deadline = time.monotonic() + timeout
    done = []
    for call in calls:
        # Not threading.Thread: a signal may have interrupted the main thread while it holds threading's locks.
        lock = _thread.allocate_lock()
        lock.acquire()
        try:
            _thread.start_new_thread(_quietly, (call, lock))
        except RuntimeError:  # the interpreter is too far gone for threads
            return False
        done.append(lock)
    return all(lock.acquire(timeout=max(0.0, deadline - time.monotonic())) for lock in done)


def _quietly(call: Callable[[], Any], done: _thread.LockType) -> None:
    try:
        call()
    except Exception:
        _logger.debug("the end of the process: a call failed", exc_info=True)
    finally:
        done.release()
