"""A notebook's kernel in which a cell raises before the last one records."""

from __future__ import annotations

from jupyter_client.manager import KernelManager, start_new_kernel

DEADLINE = 60.0

manager: KernelManager
manager, client = start_new_kernel(startup_timeout=DEADLINE)
manager.shutdown_wait_time = DEADLINE
for cell, outcome in (("from tests.ends.recording import record", "ok"), ("1 / 0", "error"), ("record()", "ok")):
    reply = client.execute_interactive(cell, timeout=DEADLINE, output_hook=lambda message: None)
    assert reply["content"]["status"] == outcome, reply
manager.shutdown_kernel()
client.stop_channels()
del client, manager  # their finalizers log, which is too late at the end of this program
