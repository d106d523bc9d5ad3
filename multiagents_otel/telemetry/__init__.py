"""What a patched call records: operations, their context across processes, instruments and sums."""
