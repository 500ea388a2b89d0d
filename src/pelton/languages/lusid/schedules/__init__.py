"""Schedules of handlers: recurrence patterns, non-business days, and the runs that wait for the next occurrence."""
