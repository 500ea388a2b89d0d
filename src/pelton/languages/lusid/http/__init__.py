"""The REST API: one module for the routes of each resource, and what they share (context, lists, page tokens, stored things).

Called by the language's registration alone. Imports every other part of the language.
"""
