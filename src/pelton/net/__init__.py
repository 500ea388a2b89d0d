"""The one guarded way out by HTTP: which addresses may be called is decided here.

Called by connectors, languages and the server. Imports no other room.
"""
