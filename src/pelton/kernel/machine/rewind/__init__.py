"""Taking a run back: retry what failed, start over, run again from one step, or rescue a thread.

`frames` reads what is left of a run, `threads` says which of its threads go on, `reopening` opens rows again, `ways` finds the
tokens that are missing, `rewinds` puts them together, and `rescue` does so for one thread. Each imports those before it.
"""
