"""Scripts that may take long, in processes that can be ended."""
