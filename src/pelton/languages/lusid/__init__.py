"""The LUSID Workflow language: task definitions, tasks and event handlers over its REST API."""
