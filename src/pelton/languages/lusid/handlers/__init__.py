"""Event handlers: their checks, and what they are compiled to for the engine's matching.

Called by the language's compiler and by its routes. Imports filters, schedules and task definitions; knows no HTTP.
"""
