"""Built-in operations, which the server performs as its own worker, independent of any language: one module for each kind.

An operation takes a work item and returns a report (`runtime.api.Operation`); `runtime.work.runner` claims the items, renews
their leases and writes the reports. The modules here know how an operation is performed (what may go wrong, which limits apply)
and nothing about a language's syntax: a language supplies two pure translations, from the item's input to the request and from
the outcome to a report, and registers the result under its own name. An operation may be performed twice: its item is handed out
again if the server dies between performing and reporting it.

Called by the languages; imports `runtime.api` and the port of what it uses (`net` for HTTP), never the commit room or the store.
"""
