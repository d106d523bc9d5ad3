"""What the system's instruments read: CPU and memory whenever they are collected, the rest as a collector saw it."""

from __future__ import annotations

import time
import weakref
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple, Protocol

import psutil

from multiagents_otel import semconv
from multiagents_otel.telemetry.instruments import Instruments, Reading
from multiagents_otel.telemetry.ledger import Key

_SHORTEST_SECONDS: Final = 0.1
"""The kernel counts CPU time in ticks of a hundredth of a second: what is measured over less says nothing."""

_INTERFACES: Final = 1_000


class CpuUsage:
    """The share of the machine's CPU time that was used since the last look.

    Not ``psutil.cpu_percent()``, whose last look is another one in each thread, and 0.0 the first time.
    """

    def __init__(self) -> None:
        self._last: tuple[float, float, float] = (*_cpu_seconds(), time.monotonic())
        self._percent: float | None = None

    def percent(self, *, wait: bool = False) -> float | None:
        """Percent, 0 to 100; None while too little time has passed since the first look.

        Args:
            wait: the calling thread may be kept for a tenth of a second, so as to have a figure.
        """
        used, total, at = self._last
        passed = time.monotonic() - at
        if passed < _SHORTEST_SECONDS:
            if self._percent is not None or not wait:
                return self._percent
            time.sleep(_SHORTEST_SECONDS - passed)
        used_now, total_now = _cpu_seconds()
        if total_now > total:
            self._percent = min(100.0, max(0.0, 100.0 * (used_now - used) / (total_now - total)))
            self._last = (used_now, total_now, time.monotonic())
        return self._percent


def _cpu_seconds() -> tuple[float, float]:
    """CPU time of all cores since boot: used, and all of it."""
    times = psutil.cpu_times()
    # Linux counts what guests use as user time too, and waiting for a disk apart from idling.
    total = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
    return total - times.idle - getattr(times, "iowait", 0.0), total


class NetworkBytes:
    """Bytes sent and received since boot, which never fall.

    An interface that goes (a container's) takes its bytes out of psutil's sum, and backends take a counter that falls
    for one that has started anew from 0.
    """

    def __init__(self) -> None:
        self._last: dict[str, tuple[int, int]] = {}
        self.sent = 0
        self.received = 0

    def look(self) -> tuple[int, int]:
        """Bytes sent and bytes received."""
        # nowrap=False: psutil's own correction takes a lock, which a forked child may find taken for ever.
        seen = {name: (io.bytes_sent, io.bytes_recv) for name, io in _interfaces().items()}
        for name, (sent, received) in seen.items():
            sent_before, received_before = self._last.get(name, (0, 0))
            self.sent += sent - sent_before if sent >= sent_before else sent
            self.received += received - received_before if received >= received_before else received
        # One that has gone may come back with its bytes; names that run wild (a container's each) are let go.
        self._last = {**self._last, **seen} if len(self._last) < _INTERFACES else seen
        return self.sent, self.received


def _interfaces() -> Mapping[str, Any]:
    return psutil.net_io_counters(pernic=True, nowrap=False) or {}


class Seen(NamedTuple):
    """What a collector saw last, off the event loop, and cannot be asked for while instruments are collected.

    Attributes:
        disk_percent: space in use on the root file system.
        redis_clients: by server (its run id, by its own account), the clients that it has.
    """

    disk_percent: float | None
    redis_clients: Mapping[str, int]


class Sees(Protocol):
    """A collector that is on."""

    seen: Seen | None


class System:
    """The machine, as this process tells of it."""

    def __init__(self) -> None:
        self._collectors: tuple[weakref.ref[Sees], ...] = ()

    def add(self, collector: Sees) -> None:
        """A collector is on: what it sees is told, for as long as it lives."""
        self.remove(collector)
        self._collectors = (*self._collectors, weakref.ref(collector))

    def remove(self, collector: Sees) -> None:
        """A collector is off."""
        self._collectors = tuple(ref for ref in self._collectors if ref() not in (None, collector))

    def install(self, instruments: Instruments) -> None:
        """Have the instruments read what is here."""
        cpu, network = CpuUsage(), NetworkBytes()  # of their own: nobody else's look comes between theirs
        readings: dict[semconv.Instrument, Reading] = {
            semconv.SYSTEM_CPU: lambda: _value(cpu.percent()),
            semconv.SYSTEM_MEMORY: lambda: {(): memory_percent()},
            semconv.SYSTEM_DISK: lambda: _value(next((seen.disk_percent for seen in self._seen()), None)),
            semconv.SYSTEM_NETWORK_IO: lambda: _directions(*network.look()) if self._seen() else {},
            semconv.REDIS_CONNECTIONS: lambda: _value(clients_of(self._seen())),
        }
        instruments.readings.update((row.name, reading) for row, reading in readings.items())

    def _seen(self) -> list[Seen]:
        collectors = [collector for ref in self._collectors if (collector := ref()) is not None]
        return [collector.seen for collector in collectors if collector.seen is not None]


def memory_percent() -> float:
    """Memory of the machine in use: what can't be had without swapping."""
    percent: float = psutil.virtual_memory().percent
    return percent


def clients_of(seen: Iterable[Seen]) -> int | None:
    """The clients of all Redis servers that were seen, each server once; None if none was."""
    servers = {server: clients for one in seen for server, clients in one.redis_clients.items()}
    return sum(servers.values()) if servers else None


def _directions(sent: int, received: int) -> dict[Key, float]:
    return {(semconv.TRANSMIT,): sent, (semconv.RECEIVE,): received}


def _value(value: float | None) -> dict[Key, float]:
    return {} if value is None else {(): value}


SYSTEM: Final = System()
"""The one of this process."""
