"""Loggers that serve as the framework's ``ILogger``."""
