"""Expressions as values: each bounded, and each sees nothing but the context given to it."""
