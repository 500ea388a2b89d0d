"""The pure core: how a run goes on, how expressions are evaluated, which handlers an event concerns.

Nothing here does I/O, reads a clock or draws a random number: every answer follows from the arguments, and a test of the source
enforces it. The runtime calls it for each signal and writes what it answers; languages compile their definitions to its graphs
and filters. It imports `pelton.errors` and nothing else of Pelton, and it knows no language's words.

Start reading at `machine/advance.py`. Below it are `model` (the plain data) and `expressions`; `matching` is about handlers.
"""
