"""Every option, with its type, default, environment variable and place in a file: one table, and what reads it.

The rows are in :mod:`.options` (the instrumentation's, which are arguments too) and :mod:`.sections` (those of the
monitors and of logging).
"""

from multiagents_otel.config.option import Option, OptionError
from multiagents_otel.config.options import NAMES, OPTIONS, OptionArguments, Options, describe_options, matches
from multiagents_otel.config.sections import MONITORING
from multiagents_otel.config.sources import CONFIG, ENV_PREFIXES, file_of_environment

__all__ = [
    "CONFIG",
    "ENV_PREFIXES",
    "MONITORING",
    "NAMES",
    "OPTIONS",
    "Option",
    "OptionArguments",
    "OptionError",
    "Options",
    "file_of_environment",
    "describe_options",
    "matches",
]
