"""Watched directories as sources of events."""
