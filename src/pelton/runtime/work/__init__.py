"""Work for workers, and for the operations built into the server: queued, leased, reported."""
