"""Compiled definitions, and the set of handlers that each namespace has at a moment."""
