"""Task definitions: their checks, the process that one compiles to, and the rules by which its tasks change.

Called by the language's compiler and its other parts, which follow these rules. Imports the forms, filters and names of the
language and the kernel; knows no HTTP.
"""
