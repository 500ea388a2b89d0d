"""The Conductor language: definitions in its JSON, its REST API, and its view of a run. See `language.register`."""
