"""Benchmarks: ratios against a floor that is measured beside us in the same run. Run by `make bench`."""
