"""Scripts that may run long, in processes that can be killed."""
