"""When something is to happen: recurrence, days without business, and the instants that follow from local times. Pure.

`occurrences.Schedule` goes by dates and times of day, and says what comes next after an instant; other ways of writing a schedule
stand beside it. Languages translate their own forms into these, and keep the run that waits for the next occurrence. Imports
nothing of Pelton, and no zone database: zones are given as `tzinfo`.
"""
