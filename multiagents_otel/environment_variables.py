"""The options' environment variables, for ``opentelemetry-instrument``'s command line.

The launcher makes a flag of every name here: ``--multiagents_detailed_timing false``.
"""

from multiagents_otel.config import ENV_PREFIXES, OPTIONS

for _option in OPTIONS:
    if _option.env:
        _name = ENV_PREFIXES[1] + _option.name.upper()
        globals()[_name] = _name
