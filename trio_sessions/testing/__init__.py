"""Tools for tests, ours and our users': imported by nothing else of the library."""

from trio_sessions.testing._deterministic import deterministic_schedule
from trio_sessions.testing._sweep import sweep
from trio_sessions.testing._sweep_result import Found, SweepResult, Violation, Visited

__all__ = ["Found", "SweepResult", "Violation", "Visited", "deterministic_schedule", "sweep"]
