"""The only place where runs change: requests become units of work, and units of work become commit groups."""
