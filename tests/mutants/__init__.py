"""``python -m tests.mutants``: small faults put into the library one at a time, each to be caught by a test."""
