"""What the server does as a worker of its own, in no language's words: one module for each kind of operation.

An operation takes a work item and answers with a report (`runtime.api.Operation`); `runtime.work.runner` claims the items, renews
their leases and writes the reports. The modules here know how a thing is done (what may go wrong, which bounds hold) and nothing
of how a language spells it: a language brings two pure translations, from the item's input to what is asked and from the outcome
to a report, and registers the result under a name of its own. An operation may be done twice: its item is handed out again when
the server dies between the deed and the report.

Called by the languages; imports `runtime.api` and the port of what it uses (`net` for HTTP), never the commit room or the store.
"""
