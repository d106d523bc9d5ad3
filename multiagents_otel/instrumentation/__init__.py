"""The instrumentation of multiagents-framework: the table of patches, a module for each patched component."""

from multiagents_otel.instrumentation.instrumentor import MultiAgentsInstrumentor

__all__ = ["MultiAgentsInstrumentor"]
