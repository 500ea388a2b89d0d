"""What every HTTP face shares: routing on the raw path, bounded bodies, queries, and answers."""
