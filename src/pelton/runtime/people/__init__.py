"""Steps for people: a task that somebody answers, as a child run with a record. `process` has the graph, `record` the rules of
the record, `forms` the check of answers, `desk` what callers do with tasks.
"""
