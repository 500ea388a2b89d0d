"""Durable state: the `Store` protocol (base) and its implementations. Kept empty: the writer process imports this package too."""
