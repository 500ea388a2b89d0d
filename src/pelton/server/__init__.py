"""Assembles store, engine, languages and APIs into one running server."""
