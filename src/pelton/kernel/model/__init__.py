"""The kernel's plain data: process graphs, the rows of a run, signals, what may be read, and transitions.

Imports expressions only.
"""
