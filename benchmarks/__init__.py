"""The side-by-side comparison. `python -m benchmarks --help` says how to run it."""
