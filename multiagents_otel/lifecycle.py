"""The end of a process and its forks: what is queued leaves in bounded time, a child is a process of its own."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Iterable
from typing import Any

from opentelemetry.sdk.resources import Resource

from multiagents_otel import semconv
from multiagents_otel.ending import ENDING, bounded
from multiagents_otel.fork_safe import forget_measurements
from multiagents_otel.telemetry.drops import DROPS
from multiagents_otel.telemetry.forking import on_fork

_logger = logging.getLogger("multiagents_otel")


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

    def install(self) -> None:
        """Register for the end of the process, and for forks."""
        ENDING.add(self._at_exit)
        on_fork(in_child=self._in_child)

    def _at_exit(self) -> None:
        if self._done:
            return
        self._done = True
        others = [each for each in self._providers if not any(each is owned for owned in self._owned)]
        calls = [_method(provider, "shutdown") for provider in self._owned]
        calls += [_method(provider, "force_flush") for provider in others]
        if not bounded(calls, self._timeout):
            lost = DROPS.close()
            _logger.warning(
                "telemetry was still queued when the process ended: the backend did not take it within %g s "
                "(flush_timeout)%s",
                self._timeout,
                f"; dropped: {lost}" if lost else "",
            )

    def _in_child(self) -> None:
        self._done = False
        resource = Resource({semconv.SERVICE_INSTANCE_ID: str(uuid.uuid4())})
        for provider in self._owned:
            forget_measurements(provider)
            add_to_resource(provider, resource)


def _method(provider: Any, name: str) -> Callable[[], Any]:
    method: Callable[[], Any] = getattr(provider, name, lambda: None)
    return method


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
