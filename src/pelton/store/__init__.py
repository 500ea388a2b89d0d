"""Durable state behind one protocol."""
