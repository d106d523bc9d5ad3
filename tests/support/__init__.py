"""The test harness: real servers, real processes, a deterministic bus, readable span trees.

Only ``buses``, ``sagas`` and ``windows`` import the framework, since importing it costs a second.
"""
