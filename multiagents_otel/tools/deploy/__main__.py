"""Generates the derived files of a checkout's ``collector-config/``: ``python -m multiagents_otel.tools.deploy``."""

from __future__ import annotations

from multiagents_otel.tools.deploy.export import exported, write
from multiagents_otel.tools.deploy.files import folder
from multiagents_otel.tools.deploy.parameters import values

write(folder(), exported(values()))
