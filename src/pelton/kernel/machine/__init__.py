"""The state machine of a run: `advance` takes a signal and answers with a transition, a refusal, or what it needs to read.

The runtime's unit of work calls it, and nothing else does; languages use `scene` (what their expressions see) and `records`. It
imports `model` and `expressions`. Start reading at `advance.py`; `draft.py` is the state of one call, `legality.py` says which
signal may do something in which status, and the other modules are what a signal or a token may set off.
"""
