"""Task definitions: their validation, their compilation to processes, and the rules by which their tasks change.

Called by the language's compiler and its other parts, which follow these rules. Imports the forms, filters and names of the
language and the kernel; independent of HTTP.
"""
