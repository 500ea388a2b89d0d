"""Work for workers and for built-in operations: queued, leased and reported."""
