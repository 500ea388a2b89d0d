"""Definitions to start from, and what `pelton demo` uses."""
