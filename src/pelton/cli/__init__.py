"""The `pelton` command. Only `serve` imports the server; the other commands talk to a running server over HTTP."""
