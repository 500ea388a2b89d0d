"""Puts the faces together into one running service."""
