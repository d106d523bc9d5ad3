"""What stands between a thing seen and a thing emitted: the guard and the scrubbing of secrets."""
