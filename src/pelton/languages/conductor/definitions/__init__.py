"""Definitions of workflows and tasks: their validation, and their compilation to process graphs. Imports expressions and
forms."""
