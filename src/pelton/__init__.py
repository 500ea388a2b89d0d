"""Pelton: events in, durable work, events out."""

__version__ = "0.1.0.dev0"
