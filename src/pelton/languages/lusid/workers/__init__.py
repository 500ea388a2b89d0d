"""Workers: their configurations, the built-in operation that performs them, and the process of a run without a task.

Called by the language's compiler, which registers the operation, and by the routes.
"""
