"""Searching workflows and tasks: the query language, and what it finds. The routes call it; it reads through the engine."""
