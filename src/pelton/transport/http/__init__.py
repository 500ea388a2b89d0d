"""HTTP for every API: routing on the raw path, bounded bodies, queries, responses."""
