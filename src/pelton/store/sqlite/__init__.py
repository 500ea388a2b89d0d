"""The store of one node: a SQLite file, written by a separate process. Kept empty, since the writer imports it too."""
