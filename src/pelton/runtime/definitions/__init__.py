"""Compiled definitions, and the current handler set of each namespace."""
