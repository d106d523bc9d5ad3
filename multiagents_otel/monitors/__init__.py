"""Monitors: what happened in this process, counted from the core's operations, asked for by the application."""
