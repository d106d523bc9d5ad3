"""What a configuration turns on: the monitors of a process, and its logger."""

from __future__ import annotations

import inspect
import logging
import sys
from collections.abc import Callable, Mapping
from functools import cached_property, partial
from importlib import import_module
from typing import Any, Final

from multiagents_otel.configuration import MonitoringConfig

_logger = logging.getLogger("multiagents_otel")

_MONITORS: Final = {
    "event_monitor": ("event_monitoring", "EventMonitor"),
    "worker_monitor": ("worker_monitoring", "WorkerMonitor"),
    "metrics_collector": ("metrics_collection", "MetricsCollector"),
}
_ATTRIBUTES: Final = {cls: attribute for attribute, (_section, cls) in _MONITORS.items()}


class Monitoring:
    """The monitors of this process, as its configuration has them; what :func:`auto_instrument` returns.

    A monitor that the configuration does not turn on is None. They see the process from here on.

    Args:
        config: the configuration.
        asked: whether somebody has asked for monitoring with it: then every enabled section has its monitor, else
            only those that are configured, by the environment say.
    """

    event_monitor: Any
    """An ``EventMonitor``, or None."""
    worker_monitor: Any
    """A ``WorkerMonitor``, or None."""
    metrics_collector: Any
    """A ``MetricsCollector``, or None. It takes samples once it is started."""

    def __init__(self, config: MonitoringConfig, asked: bool) -> None:
        self.config = config
        self.asked = asked
        sections = {row[0] for row in _MONITORS.values() if asked or config.is_given(row[0])}
        sections = {section for section in sections if getattr(config, section).enabled}
        # A log file appears where somebody has said so, or asks for the logger.
        logger = _made("logger", lambda: self.logger) if sections and config.is_given("logging") else None
        for name, (section, cls) in _MONITORS.items():
            make = partial(_monitor, cls, config.options_of(section), logger)
            setattr(self, name, _made(cls, make) if section in sections else None)

    @cached_property
    def logger(self) -> Any:
        """The logger of the configuration, made when it is first asked for."""
        return self.config.create_logger()

    async def start(self) -> None:
        """Start what is on: samples of the system are taken from now on. Once is enough, twice does no harm."""
        for monitor in self._on():
            await monitor.start()

    async def stop(self) -> None:
        """Stop what is on; what was seen can still be asked for."""
        for monitor in self._on():
            await monitor.stop()

    def start_soon(self) -> None:
        """Start, if this is called by an event loop's own code."""
        if "asyncio" not in sys.modules:
            return  # no event loop runs, and the import is slow
        import asyncio

        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return
        self._starting = loop.create_task(self.start())  # the loop itself does not keep it

    def _on(self) -> list[Any]:
        return [monitor for name in _MONITORS if (monitor := getattr(self, name)) is not None]

    def __repr__(self) -> str:
        return f"Monitoring({', '.join(f'{name}={getattr(self, name)!r}' for name in _MONITORS)})"


def class_of(name: str) -> Any:
    """Import the class of a monitor (``EventMonitor``)."""
    return getattr(import_module(f"multiagents_otel.monitors.{_ATTRIBUTES[name]}"), name)


def _monitor(cls: str, options: Mapping[str, Any], logger: Any) -> Any:
    """A monitor with those options of its section that it has parameters for."""
    kind = class_of(cls)
    taken = inspect.signature(kind).parameters.keys() & options.keys()
    return kind(logger=logger, **{name: options[name] for name in taken})


def _made(what: str, make: Callable[[], Any]) -> Any:
    try:
        return make()
    except Exception as exception:
        _logger.error("the %s of the configuration could not be made: %s", what, exception)
        return None


_current: Monitoring | None = None


def current() -> Monitoring | None:
    """The monitoring of this process; None before there is any."""
    return _current


def configured(cls: str) -> Any:
    """The monitor of a class (``EventMonitor``) that the configuration has turned on; None if it has not."""
    return getattr(_current, _ATTRIBUTES[cls]) if _current is not None and cls in _ATTRIBUTES else None


def configured_logger() -> Any:
    """The logger that the configuration tells of; None if it does not."""
    return _current.logger if _current is not None and _current.config.is_given("logging") else None


def turn_on(config: MonitoringConfig, asked: bool) -> Monitoring:
    """Make the monitoring of this process, in the place of an earlier one."""
    global _current
    _current = Monitoring(config, asked)
    _current.start_soon()
    return _current
