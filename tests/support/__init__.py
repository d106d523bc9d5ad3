"""The test harness: real servers, real processes, a deterministic bus, readable span trees.

Only ``buses`` and ``sagas`` import the framework, since importing it costs a second.
"""
