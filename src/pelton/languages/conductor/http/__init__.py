"""The REST API: routes by subject, their shared context, and errors in this language's JSON. Called by `language` only."""
