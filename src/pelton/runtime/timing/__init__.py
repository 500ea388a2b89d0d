"""Things that become due: timers of runs, and expiry of held events."""
