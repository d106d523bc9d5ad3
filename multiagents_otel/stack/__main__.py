"""Makes anew what is generated in a checkout's ``collector-config/``: ``python -m multiagents_otel.stack``."""

from __future__ import annotations

from multiagents_otel.stack.export import exported, write
from multiagents_otel.stack.files import folder
from multiagents_otel.stack.parameters import values

write(folder(), exported(values()))
