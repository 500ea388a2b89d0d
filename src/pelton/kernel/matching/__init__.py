"""Which handlers an event concerns: filters that explain themselves, and an index over them.

The runtime's event room asks it for every event; languages compile their conditions to its filters. It imports `expressions`.
"""
