"""Every option, with its type, default, environment variable and place in a file: one table, and what reads it.

The rows are in :mod:`.options` (the instrumentation's, which are arguments too) and :mod:`.sections` (those of the
monitors and of logging).
"""

from multiagents_otel.config.monitoring import MonitoringConfig
from multiagents_otel.config.option import Option, OptionError
from multiagents_otel.config.options import OPTIONS, Options, matches
from multiagents_otel.config.sections import MONITORING
from multiagents_otel.config.sources import ENV_PREFIXES

__all__ = ["ENV_PREFIXES", "MONITORING", "OPTIONS", "MonitoringConfig", "Option", "OptionError", "Options", "matches"]
