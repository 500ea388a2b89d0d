"""Tasks as shown in responses, the stacks that they form, and the forms of requests about them.

Called by the routes. Reads records through the engine; imports task definitions and filters.
"""
