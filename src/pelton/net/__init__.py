"""Outgoing HTTP: one guarded client, which decides which addresses may be called.

Called by connectors, languages and the server. Imports no other room.
"""
