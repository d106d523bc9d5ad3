"""The end of a process and its forks: what is queued leaves in bounded time, a child is a process of its own."""

from __future__ import annotations

import contextlib
import functools
import logging
import uuid
from collections.abc import Collection, Mapping
from numbers import Real
from typing import Any

from opentelemetry.sdk.resources import Resource

from multiagents_otel import semconv
from multiagents_otel.config.values import seconds
from multiagents_otel.core.forking import on_fork
from multiagents_otel.ending import ENDING
from multiagents_otel.flushing import Causes, Job, Outlet, wait
from multiagents_otel.fork_safe import forget_measurements
from multiagents_otel.local_log import warn_locally
from multiagents_otel.logs.processor import WorkflowIds
from multiagents_otel.telemetry.drops import DROPS
from multiagents_otel.telemetry.providers import attribute

_logger = logging.getLogger("multiagents_otel")


class Lifecycle:
    """Flushes providers at exit and on fatal signals, and gives a forked child an identity of its own.

    Args:
        providers: every provider to flush at the end, by signal.
        built: the signals whose providers were built here: these are shut down at exit, and get a new
            ``service.instance.id`` in a child.
        timeout: seconds that the end may wait for backends.
        failed: the signals whose exporters could not be made: what is recorded of them never leaves.
    """

    def __init__(
        self, providers: Mapping[str, Any], built: Collection[str], timeout: float, failed: Collection[str] = ()
    ) -> None:
        self.providers = providers
        self._built = built
        self._failed = failed
        self._timeout = timeout
        self._outlets: list[tuple[Any, Outlet]] = []
        self._closed = False
        self._warned = False

    def install(self) -> None:
        """Register for the end of the process, and for forks."""
        on_fork(in_child=self._in_child)
        ENDING.add(self._at_end, self._start)
        ENDING.flush_soon = self._flush_soon

    def flush(self, timeout: float | None = None) -> bool:
        """Flush every provider; True if all has left, which is never so of a signal without the exporters it needs."""
        if self._closed:
            return True
        ENDING.use()
        jobs = [outlet.flush() for _, outlet in self._current()]
        wait(jobs, self._seconds(timeout))
        return not self._failed and all(job.succeeded for job in jobs)

    def _seconds(self, timeout: object) -> float:
        """Return the timeout of a call; the option's value for None, and for what is no number of seconds."""
        if timeout is None:
            return self._timeout
        number = isinstance(timeout, Real) and not isinstance(timeout, bool)
        with contextlib.suppress(ValueError, OverflowError):
            if number:
                return seconds(float(timeout))  # type: ignore[arg-type]
        if not self._warned:
            self._warned = True
            _logger.warning(
                "flush() can't wait for %s: the timeout is a finite number of seconds, 0 or more; "
                "flush_timeout (%g s) is used instead",
                f"{timeout!r:.50}" if number or isinstance(timeout, str) else type(timeout).__name__,
                self._timeout,
            )
        return self._timeout

    def _flush_soon(self) -> None:
        if not self._closed and not ENDING.begun:
            for _, outlet in self._current():
                if outlet.idle:
                    outlet.flush()

    def _start(self) -> None:
        for _, outlet in self._current():
            outlet.start()

    def _current(self) -> list[tuple[Any, Outlet]]:
        """The outlets; the application may have added a processor since the last look."""
        parts = [
            (signal, part)
            for signal, provider in self.providers.items()
            for part in (_parts(provider) if signal in self._built else [provider])
        ]
        known = {id(part): outlet for part, outlet in self._outlets}
        self._outlets = [
            (part, known.get(id(part)) or Outlet(signal, part, _exporter_of(part))) for signal, part in parts
        ]
        return self._outlets

    def _at_end(self, last: bool) -> None:
        if self._closed or not ENDING.in_use:
            return  # a child that has recorded nothing
        self._closed = last
        with Causes().collect() as causes:
            jobs = [
                outlet.close() if last and outlet.signal in self._built else outlet.flush()
                for _, outlet in self._current()
            ]
            late = wait(jobs, self._timeout)
        failed = [job for job in jobs if not job.succeeded]
        # An export that fails in time is reported by DROPS, which watches the pipelines that were built here.
        if late or any(job.outlet.signal not in self._built for job in failed):
            self._report(failed, bool(late), list(causes.texts))

    def _report(self, failed: list[Job], late: bool, causes: list[str]) -> None:
        if late:
            causes = [f"the backend did not take it within {self._timeout:g} s (flush_timeout)", *causes]
        causes += dict.fromkeys(job.error for job in failed if job.error)
        dropped = DROPS.close()
        if dropped:
            causes.append(f"dropped: {dropped}")
        warn_locally(
            _logger,
            "telemetry was still queued when the process ended and is lost (%s): %s",
            ", ".join(sorted({job.outlet.signal for job in failed})),
            "; ".join(causes) or "the backend refused it",
        )

    def _in_child(self) -> None:
        self._closed = False
        resource = Resource({semconv.SERVICE_INSTANCE_ID: str(uuid.uuid4())})
        for signal, provider in self.providers.items():
            if signal in self._built:
                forget_measurements(provider)
                add_to_resource(provider, resource)
            if not _watch_use(provider):
                ENDING.in_use = True


def _parts(provider: Any) -> list[Any]:
    """The processors and readers of one of the SDK's providers; itself if it has others."""
    for path in (
        ("_active_span_processor", "_span_processors"),
        ("_multi_log_record_processor", "_log_record_processors"),
        ("_measurement_consumer", "_reader_storages"),
    ):
        parts = functools.reduce(attribute, path, provider)
        if parts is not None:
            return [part for part in parts if not isinstance(part, WorkflowIds)]
    return [provider]


def _exporter_of(part: Any) -> Any:
    holder = attribute(part, "_batch_processor", part)
    return attribute(holder, "_exporter", attribute(holder, "span_exporter"))


def _watch_use(provider: Any) -> bool:
    """Notice the first record of a provider in a forked child; False if that can't be done."""
    for holder, method in (
        ("_active_span_processor", "on_start"),
        ("_multi_log_record_processor", "on_emit"),
        ("_measurement_consumer", "consume_measurement"),
    ):
        if attribute(owner := attribute(provider, holder), method) is not None:
            return before_first_call(owner, method)
    return False


def before_first_call(owner: Any, method: str) -> bool:
    """In a forked child: make the process ready for its end when a method of an object is called."""
    original = getattr(owner, method)

    def first(*args: Any, **kwargs: Any) -> Any:
        with contextlib.suppress(Exception):
            if ENDING.use() and vars(owner).get(method) is first:
                delattr(owner, method)
        return original(*args, **kwargs)

    try:
        if method in vars(owner):
            return True  # a child's child, whose parent has recorded nothing
        setattr(owner, method, first)
    except Exception:
        return False
    return True


def resource_of(provider: Any) -> Resource | None:
    """The resource of one of the SDK's providers; None for any other's."""
    resource = attribute(attribute(provider, "_sdk_config", provider), "resource")
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
