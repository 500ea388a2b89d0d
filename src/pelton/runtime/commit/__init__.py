"""The one place where runs change: requests become units of work, units of work become commit groups."""
