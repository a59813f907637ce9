"""Tools for tests, ours and our users': imported by nothing else of the library."""

from trio_sessions.testing._deterministic import deterministic_schedule

__all__ = ["deterministic_schedule"]
