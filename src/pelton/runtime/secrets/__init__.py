"""Secrets: how they are kept, and how their values reach the work that needs them.

The engine sets, lists and removes them; the exchange with workers puts them into what it hands out, and the server into the
credentials of its connections. May import the store. A value is never in a row of a run, a view, a log or an error.
"""
