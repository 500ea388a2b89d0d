"""Handlers and filters: which handlers an event concerns, and why the others stay quiet. Imports expressions."""
