"""The Python client and worker."""
