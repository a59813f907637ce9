"""The works of the benchmarks: one module for those that measure the same thing."""
