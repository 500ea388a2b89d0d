"""Events in: accepted once, matched, and turned into effects; keyed events meet their waits here."""
