"""Taking a finished run back: retry what failed, start over, or run again from one step.

`frames` reads what is left of a run, `threads` says which of its threads go on, `reopening` opens rows again, `ways` finds the
tokens that are missing, and `rewinds` puts them together. Each imports those before it.
"""
