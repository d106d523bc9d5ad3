"""The part of ``multiagents-otel doctor`` that runs inside the user's program."""
