"""Runs of workflows: how one is started, what workers report, and how runs and tasks are shown. Knows no route."""
