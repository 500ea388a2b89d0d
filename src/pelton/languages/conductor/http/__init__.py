"""The REST API: routes by subject, the context that they share, and errors in this language's JSON. Called by `language` only."""
