"""The LUSID Workflow language: task definitions, tasks and event handlers over its REST API.

The server finds it through `language.register`, the command line through `detect.detect`. Its rooms, in order: the ground (names,
moments, forms, errors), `filters`, `schedules`, `definitions`, `workers`, `handlers`, `tasks`, `http`. It may import the kernel,
the runtime's public part and the shared transport; never another language, and never the store.
"""
