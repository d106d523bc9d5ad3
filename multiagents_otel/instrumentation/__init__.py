"""The instrumentation of multiagents-framework: the table of patches, a module for each patched component."""

from multiagents_otel.instrumentation.instrumentor import PROVIDERS, MultiAgentsInstrumentor

__all__ = ["PROVIDERS", "MultiAgentsInstrumentor"]
