"""Times at which handlers act: recurrence patterns, the days without business, and the runs that wait for what is due."""
