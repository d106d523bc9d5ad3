"""The options' environment variables, for ``opentelemetry-instrument``'s command line.

The launcher makes a flag of every name here: ``--multiagents_detailed_timing false``,
``--multiagents_config monitoring.yaml``.
"""

from multiagents_otel.config import CONFIG, ENV_PREFIXES, OPTIONS

for _name in (CONFIG, *(_option.name.upper() for _option in OPTIONS if _option.env)):
    globals()[ENV_PREFIXES[1] + _name] = ENV_PREFIXES[1] + _name
