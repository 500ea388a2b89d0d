"""Watched directories as sources of events. Called through its entry point; imports the connectors' port and health."""

TYPES = frozenset({"FileCreated", "FileUpdated", "FileDeleted"})
"""The types of the events."""
