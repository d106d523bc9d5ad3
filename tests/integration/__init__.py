"""Real Redis, real processes, real OTLP: what a user has running."""
