"""Durable state: the rows, the commit group that writes them, the `Store` protocol (port), and its implementations.

Called by the runtime and the server; imports the kernel. Kept empty, since the writer process imports this package too."""
