"""The native API under /v1: events, runs, work and dead letters, in Pelton's own terms."""
