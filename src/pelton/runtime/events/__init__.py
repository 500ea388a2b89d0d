"""Incoming events: accepted once, matched, and turned into effects; keyed events are correlated with waits here."""
