"""The REST API: one module of routes per resource, and what they share (context, lists, page tokens, stored entities).

Called only by the language's registration. Imports every other part of the language.
"""
