"""Definitions of workflows and tasks: what must hold of them, and how they become process graphs. Knows expressions and forms."""
