"""What is due, and when: timers of runs, expiry of held events."""
