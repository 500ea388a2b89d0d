"""A complete store in the memory of one process, for tests and trials; nothing survives the process.

Called by the server (store URL `memory:`) and by `pelton.testing`; imports the store's port, rows and packing.
"""
