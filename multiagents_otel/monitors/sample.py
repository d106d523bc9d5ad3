"""One look at the machine, this process and Redis; it may block, and belongs into a thread."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import psutil
from opentelemetry import context as context_api

from multiagents_otel.core import scope
from multiagents_otel.telemetry.system import CpuUsage, NetworkBytes, Seen, clients_of, memory_percent

_REDIS_SECONDS: Final = 1.0
_MEBIBYTE: Final = 1024 * 1024
_ROOT: Final = Path(os.sep).resolve()


class Sample(NamedTuple):
    """What was seen. ``None``: it could not be, or not yet.

    Attributes:
        cpu_usage_percent: CPU of the machine in use since the sampler's last look, 0 to 100.
        memory_usage_percent: memory of the machine in use.
        disk_usage_percent: space in use on the root file system.
        network_bytes_sent: through all interfaces, since boot.
        network_bytes_received: the same.
        active_connections: clients of the Redis servers in use; None if there is none, or none answers.
        event_queue_size: commands that this process has published or executes, and that are not finished.
        cpu_percent: CPU of this process since the last look, 100 for each core that is busy.
        memory_rss_mb: its resident memory, MiB.
        memory_vms_mb: its virtual memory, MiB.
    """

    cpu_usage_percent: float | None
    memory_usage_percent: float | None
    disk_usage_percent: float | None
    network_bytes_sent: int | None
    network_bytes_received: int | None
    active_connections: int | None
    event_queue_size: int
    cpu_percent: float | None
    memory_rss_mb: float | None
    memory_vms_mb: float | None


NOTHING_SEEN: Final = Sample(None, None, None, None, None, None, 0, None, None, None)


class Sampler:
    """Takes samples, one after the other; a figure that is of a time span is of that since its own last look.

    Args:
        redis_url: a Redis server that is asked for its clients too, beside those of the event buses.
    """

    def __init__(self, redis_url: str | None) -> None:
        self._redis_url = redis_url
        self._lock = threading.Lock()
        self._cpu = CpuUsage()
        self._process = _ProcessCpu()
        self._network = NetworkBytes()

    def take(self, *, wait: bool) -> tuple[Sample, Seen]:
        """A sample, and of it what instruments tell.

        Args:
            wait: a first figure of the CPU is worth a tenth of a second.
        """
        with self._lock:
            return self._take(wait)

    def _take(self, wait: bool) -> tuple[Sample, Seen]:
        cpu = _try(lambda: self._cpu.percent(wait=wait))
        disk = _try(lambda: psutil.disk_usage(str(_ROOT)).percent)
        sent, received = _try(self._network.look) or (None, None)
        memory = _try(lambda: psutil.Process().memory_info())
        seen = Seen(disk, redis_clients(self._urls()))
        return Sample(
            cpu_usage_percent=cpu,
            memory_usage_percent=_try(memory_percent),
            disk_usage_percent=disk,
            network_bytes_sent=sent,
            network_bytes_received=received,
            active_connections=clients_of([seen]),
            event_queue_size=scope.unfinished_commands(),
            cpu_percent=self._process.percent(),
            memory_rss_mb=memory.rss / _MEBIBYTE if memory else None,
            memory_vms_mb=memory.vms / _MEBIBYTE if memory else None,
        ), seen

    def _urls(self) -> list[str]:
        urls = [getattr(bus, "redis_url", None) for bus in scope.buses()]
        return [url for url in (self._redis_url, *urls) if isinstance(url, str)]


class _ProcessCpu:
    """The CPU that this process has used since the last look."""

    def __init__(self) -> None:
        self._last = (time.process_time(), time.monotonic())

    def percent(self) -> float | None:
        used, at = self._last
        used_now, now = self._last = (time.process_time(), time.monotonic())
        # A forked child's CPU time starts at 0.
        return 100.0 * (used_now - used) / (now - at) if now > at and used_now >= used else None


def _try(look: Any) -> Any:
    # What a container or a platform does not show is not known: no reason to have no sample.
    try:
        return look()
    except (OSError, RuntimeError, psutil.Error):
        return None


def redis_clients(urls: Iterable[str]) -> Mapping[str, int]:
    """The clients that each server has by its own account, without the connection that asks.

    Each URL is asked once, over a short connection of our own: the application's are left alone.
    """
    return dict(answer for url in dict.fromkeys(urls) if (answer := _clients(url)) is not None)


def _clients(url: str) -> tuple[str, int] | None:
    """A server's run id, by which it is known under whatever address, and its clients; None if it does not tell."""
    token = context_api.attach(context_api.set_value("suppress_instrumentation", True))
    try:
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        with redis.Redis.from_url(
            url, socket_connect_timeout=_REDIS_SECONDS, socket_timeout=_REDIS_SECONDS, retry=Retry(NoBackoff(), 0)
        ) as client:
            clients = int(client.info("clients")["connected_clients"])
            return str(client.info("server").get("run_id", url)), max(0, clients - 1)
    except Exception:
        return None  # unreachable, no permission, no Redis: not known, and not ours to complain of
    finally:
        context_api.detach(token)
