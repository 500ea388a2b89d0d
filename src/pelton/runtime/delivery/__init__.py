"""Outgoing messages, in order and at least once; and subscriptions to sources of events."""
