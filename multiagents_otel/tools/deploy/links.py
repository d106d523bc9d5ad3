"""What the links in messages begin with: of itself a program takes its machine's name, where nobody may reach it."""

from __future__ import annotations

__all__ = ["links_to"]


def links_to(url: str) -> tuple[str, str]:
    """Options of Prometheus and Alertmanager. What answers at this URL may be a proxy, that takes a path off."""
    return f"--web.external-url={url}", "--web.route-prefix=/"
