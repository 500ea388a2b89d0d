"""Runs of workflows: starting them, workers' reports, and the views of runs and tasks. Independent of HTTP routes."""
