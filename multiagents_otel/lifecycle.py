"""The end of a process and its forks: what is queued leaves in bounded time, a child is a process of its own."""

from __future__ import annotations

import _thread
import atexit
import logging
import os
import signal
import sys
import time
import uuid
from collections.abc import Callable, Iterable
from typing import Any

from opentelemetry.sdk.resources import Resource

from multiagents_otel import semconv
from multiagents_otel.fork import forget_measurements
from multiagents_otel.telemetry.forking import on_fork

_logger = logging.getLogger("multiagents_otel")

_LAST = -100
"""Priority of multiprocessing's finalizers: after the others."""


class Lifecycle:
    """Flushes providers at exit and on SIGTERM, and gives a forked child an identity of its own.

    Args:
        providers: every provider to flush at the end.
        owned: those that were built here: they are shut down at exit, and get a new
            ``service.instance.id`` in a child.
        timeout: seconds that all of it may take, whatever state the backend is in.
    """

    def __init__(self, providers: Iterable[Any], owned: Iterable[Any], timeout: float) -> None:
        self._providers = list(providers)
        self._owned = list(owned)
        self._timeout = timeout
        self._done = False
        self._told_multiprocessing = False

    def install(self) -> None:
        """Register at exit, for SIGTERM where nobody else handles it, and for forks."""
        atexit.register(self._at_exit)
        self._tell_multiprocessing()
        process = sys.modules.get("multiprocessing.process")
        if process is not None and process.parent_process() is not None:
            self._in_multiprocessing_child()
        try:
            if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
                signal.signal(signal.SIGTERM, self._on_sigterm)
        except ValueError:
            pass  # not the main thread: signals are not ours to handle
        on_fork(in_child=self._in_child)

    def _at_exit(self) -> None:
        if self._done:
            return
        self._done = True
        others = [provider for provider in self._providers if provider not in self._owned]
        calls = [_method(provider, "shutdown") for provider in self._owned]
        calls += [_method(provider, "force_flush") for provider in others]
        if not _bounded(calls, self._timeout):
            _logger.warning(
                "telemetry was still queued when the process ended: the backend did not take it within %g s "
                "(flush_timeout)",
                self._timeout,
            )

    def _on_sigterm(self, signum: int, _frame: Any) -> None:
        self._at_exit()
        # What would have happened without us: the process ends by the signal.
        signal.signal(signum, signal.SIG_DFL)
        os.kill(os.getpid(), signum)

    def _in_child(self) -> None:
        self._done = False
        resource = Resource({semconv.SERVICE_INSTANCE_ID: str(uuid.uuid4())})
        for provider in self._owned:
            forget_measurements(provider)
            add_to_resource(provider, resource)
        self._tell_multiprocessing()

    def _tell_multiprocessing(self) -> None:
        # A child of multiprocessing's ends by os._exit(), after the finalizers that multiprocessing knows of; when it
        # starts, which may be after its main module was imported, those that it knew of are forgotten.
        multiprocessing_util = sys.modules.get("multiprocessing.util")
        if multiprocessing_util is not None and not self._told_multiprocessing:
            self._told_multiprocessing = True
            multiprocessing_util.register_after_fork(self, Lifecycle._in_multiprocessing_child)

    def _in_multiprocessing_child(self) -> None:
        sys.modules["multiprocessing.util"].Finalize(None, self._at_exit, exitpriority=_LAST)


def _method(provider: Any, name: str) -> Callable[[], Any]:
    method: Callable[[], Any] = getattr(provider, name, lambda: None)
    return method


def _bounded(calls: list[Callable[[], Any]], timeout: float) -> bool:
    """Run calls side by side in daemon threads, since none of them keeps a timeout that it is given."""
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
        _logger.debug("a provider could not be flushed", exc_info=True)
    finally:
        done.release()


def resource_of(provider: Any) -> Resource | None:
    """The resource of one of the SDK's providers; None for any other's."""
    holder = getattr(provider, "_sdk_config", provider)
    resource = getattr(holder, "resource", None)
    return resource if isinstance(resource, Resource) else None


def add_to_resource(provider: Any, resource: Resource) -> None:
    """Give a provider and what it has handed out a changed resource; the SDK does so for its own detectors only."""
    try:
        update = getattr(provider, "_update_resource", None)
        if update is not None:
            update(resource)
            return
        # Before 1.43 the SDK had no way to: whatever a provider has handed out holds the one resource.
        held: Any = resource_of(provider)
        if held is not None:
            held._attributes = held.merge(resource)._attributes
    except Exception:
        _logger.debug("the resource of a provider could not be changed", exc_info=True)
