"""Measurements of trio_sessions; each module is a command of its own."""
