"""Benchmarks of pgq: `python -m benchmarks list | run SCENARIO… | report`."""
