"""How tokens move: along edges, into waits and joins, through scopes and threads, from the start of a run to its end.

Called by the modules that apply signals (`advance`, `reports`, `arrivals`, `operator`) and by `nodes`. Imports the draft, the
scene, the table of legality and the records of the machine.
"""
