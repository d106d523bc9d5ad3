"""The Collector that we ship, run for real: what comes in, what goes out, who may send."""
