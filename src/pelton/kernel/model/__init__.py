"""The kernel's plain data: process graphs, the rows of a run, signals, what may be read, and transitions.

Every other room uses it: languages build graphs, the store keeps rows, the runtime makes signals and performs transitions. It
has no behaviour beyond small derived properties. It imports `expressions` only.
"""
