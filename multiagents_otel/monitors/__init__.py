"""Monitors: what the guide's figures are asked of."""
