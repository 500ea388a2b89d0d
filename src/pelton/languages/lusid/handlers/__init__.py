"""Event handlers: their validation, and their compilation for the engine's matching.

Called by the language's compiler and by its routes. Imports filters, schedules and task definitions; independent of HTTP.
"""
