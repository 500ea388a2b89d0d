"""The store of one node: a SQLite file, written by a process of its own. Kept empty: the writer imports it too."""
