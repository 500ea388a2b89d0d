"""The server's own things under this language's addresses: secrets, its version, queues, what became of events."""
