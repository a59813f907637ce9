"""Tests of trio_sessions."""
