"""The pure core: processes, runs, handlers and expressions, without I/O, clock or randomness."""
